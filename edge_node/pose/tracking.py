"""Who is who: finds of one frame → people with identities that last over frames."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_node.data import KeypointArray, Pose
from edge_node.pose.attention import Wanted
from edge_node.pose.similarity import areas_px, oks
from edge_node.pose.smoothing import OneEuro

APPEAR_SCORE = 0.3
"""Somebody new needs this score ..."""
SURE_SCORE = 0.5
"""... and a second sighting, unless the first has this one."""
STAY_SCORE = 0.18
"""Somebody who is followed needs only this."""
SAME_PERSON = 0.15
"""Least OKS (loose) of a find with where somebody is expected."""
DUPLICATE = 0.3
"""A find this alike (OKS, loose) to somebody who is followed is no newcomer."""
LOOSENESS = 2.0
FORGET_AFTER_S = 1.0
"""So long the identity of somebody out of sight is kept."""
TENTATIVE_MISSES = 1
PREDICT_AT_MOST_S = 0.4
"""Motion is carried on for so long, then the person is expected to stand still."""
VELOCITY_GAIN = 0.5


@dataclass
class Track:
    """One person as the tracker knows them; ``key`` is internal, ``id`` (from 1) is given at the second sighting."""

    key: int
    keypoints_px: KeypointArray
    score: float
    seen_ns: int
    id: int = 0
    velocity_px_s: tuple[float, float] = (0.0, 0.0)
    waited: int = 0
    misses: int = 0
    hits: int = 1
    seen_now: bool = True
    filter: OneEuro = field(default_factory=OneEuro)

    def expected_px(self, now_ns: int) -> KeypointArray:
        """Where the joints should be by now, float32 [17, 3]."""
        ahead_s = min((now_ns - self.seen_ns) / 1e9, PREDICT_AT_MOST_S)
        moved = self.keypoints_px.copy()
        moved[:, 0] += np.float32(self.velocity_px_s[0] * ahead_s)
        moved[:, 1] += np.float32(self.velocity_px_s[1] * ahead_s)
        return moved


@dataclass(frozen=True, slots=True)
class Sighting:
    """A find, and whose crop it was made in (a track's key; ``None`` in a scanning square)."""

    pose: Pose
    track: int | None


class Tracker:
    """Holds everyone who is followed. ``update`` once a frame."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next_key = 1
        self._next_id = 1

    @property
    def tracks(self) -> Sequence[Track]:
        """Everyone, also who is out of sight at the moment."""
        return self._tracks

    def wanted(self, now_ns: int) -> list[Wanted]:
        """Whom attention should look for, and where."""
        return [Wanted(t.key, t.expected_px(now_ns), t.waited, t.misses > 0) for t in self._tracks]

    def update(self, sightings: Sequence[Sighting], looked: set[int], now_ns: int, max_people: int, threshold: float) -> list[Track]:
        """Takes in what was found in a frame; returns those who are in view. ``looked``: keys of the tracks whose crop was run."""
        for track in self._tracks:
            track.seen_now = False
        free = self._assign(sightings, now_ns, threshold)
        for track in self._tracks:
            self._account(track, looked)
        self._tracks = [t for t in self._tracks if self._keeps(t, now_ns)]
        self._admit(free, now_ns, max_people, threshold)
        for track in self._tracks:
            if not track.id and (track.hits >= 2 or track.score >= SURE_SCORE):
                track.id = self._next_id
                self._next_id += 1
        return [t for t in self._tracks if t.id and (t.seen_now or (t.waited and not t.misses))]

    def _assign(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> list[Sighting]:
        """Gives each track its best find; returns finds that are nobody's."""
        if not self._tracks or not sightings:
            return list(sightings)
        finds = np.stack([s.pose.keypoints_px for s in sightings])
        expected = np.stack([t.expected_px(now_ns) for t in self._tracks])
        alike = oks(finds, expected, areas_px(expected, threshold), threshold, LOOSENESS)
        own = np.array([[s.track == t.key for t in self._tracks] for s in sightings])
        value = np.where(alike >= SAME_PERSON, alike + 0.25 * own, -1.0)
        left = value.copy()
        while left.size and left.max() > 0:
            find, who = np.unravel_index(int(left.argmax()), left.shape)
            pose = sightings[int(find)].pose
            if pose.score >= STAY_SCORE:
                _take(self._tracks[int(who)], pose, now_ns, threshold)
                left[:, who] = -1
            left[find, :] = -1
        taken = [t.keypoints_px for t in self._tracks]
        now = np.stack(taken)
        doubles = oks(finds, now, areas_px(now, threshold), threshold, LOOSENESS).max(axis=1) >= DUPLICATE
        return [s for s, double in zip(sightings, doubles, strict=True) if not double]

    def _account(self, track: Track, looked: set[int]) -> None:
        if track.seen_now:
            track.waited = track.misses = 0
        elif track.key in looked:
            track.misses += 1
            track.waited = 0
        else:
            track.waited += 1

    def _keeps(self, track: Track, now_ns: int) -> bool:
        if not track.id and track.misses >= TENTATIVE_MISSES:
            return False
        return (now_ns - track.seen_ns) / 1e9 <= FORGET_AFTER_S

    def _admit(self, sightings: Sequence[Sighting], now_ns: int, max_people: int, threshold: float) -> None:
        """Starts to follow newcomers, the most prominent first, while there is room."""
        new = [s.pose for s in sightings if s.track is None and s.pose.score >= APPEAR_SCORE]
        areas = areas_px(np.stack([p.keypoints_px for p in new]), threshold) if new else np.zeros(0)
        for index in sorted(range(len(new)), key=lambda i: -new[i].score * float(np.sqrt(areas[i]))):
            if len(self._tracks) >= max_people:
                return
            self._tracks.append(Track(self._next_key, new[index].keypoints_px, new[index].score, now_ns))
            self._next_key += 1


def _take(track: Track, pose: Pose, now_ns: int, threshold: float) -> None:
    elapsed_s = (now_ns - track.seen_ns) / 1e9
    if elapsed_s > 0:
        both = (pose.keypoints_px[:, 2] >= threshold) & (track.keypoints_px[:, 2] >= threshold)
        if both.sum() >= 3:
            step = np.median(pose.keypoints_px[both, :2] - track.keypoints_px[both, :2], axis=0) / elapsed_s
            vx, vy = track.velocity_px_s
            track.velocity_px_s = (vx + VELOCITY_GAIN * (float(step[0]) - vx), vy + VELOCITY_GAIN * (float(step[1]) - vy))
    track.keypoints_px, track.score, track.seen_ns = pose.keypoints_px, pose.score, now_ns
    track.hits += 1
    track.seen_now = True
