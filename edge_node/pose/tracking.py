"""Who is who: finds of one frame → people with identities that last over frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.data import Pose
from edge_node.pose.attention import Wanted
from edge_node.pose.similarity import areas_px, extent_px, oks
from edge_node.pose.track import Track, extent_side

NOTICE_SCORE = 0.22
"""Somebody new with this score is looked at more closely;"""
APPEAR_SCORE = 0.33
"""they are believed when the closer look, in a crop of their own, gives this score ..."""
SURE_SCORE = 0.5
"""... or the first look had this one."""
STAY_SCORE = 0.24
"""Somebody who is followed needs only this."""

LOOSENESS = 2.0
"""People move between frames: OKS against an expectation is taken with the spread of each joint so many times as wide."""
SAME_PERSON = 0.15
"""Least loose OKS of a find with where somebody is expected."""
OWN_CROP_BONUS = 0.25
"""A find in somebody's own crop is theirs before anybody else's."""
SAME_FIND = 0.6
"""Finds more alike (strict OKS) are the same body, seen in two squares."""
KNOWN = 0.3
"""A find so alike (loose OKS) to somebody who is followed is no newcomer."""

FORGET_AFTER_S = 1.5
"""So long the identity of somebody out of sight is kept."""
RETURN_SIZES = 0.4
"""Somebody out of sight may come back within this distance of where they are expected, in their own sizes ..."""
RETURN_SIZES_PER_S = 1.2
"""... and this much more for each second they were gone."""
RETURN_GROWTH = 1.8
"""... at most so many times larger or smaller."""


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

    def wanted(self, now_ns: int, threshold: float) -> list[Wanted]:
        """Whom attention should look for, and where."""
        people = []
        for track in self._tracks:
            x0, y0, x1, y1 = extent_px(track.expected_px(now_ns), threshold)
            people.append(Wanted(track.key, ((x0 + x1) / 2, (y0 + y1) / 2), track.size_px, track.waited, track.misses))
        return people

    def update(self, sightings: Sequence[Sighting], looked: set[int], now_ns: int, max_people: int, threshold: float) -> list[Track]:
        """Takes in what was found in a frame; returns those to tell of: seen now, or not looked at and carried on.

        ``looked``: keys of the tracks whose crop was run. ``now_ns``: the frame's time on the source's time line.
        """
        for track in self._tracks:
            track.seen_now = False
        free = self._assign(sightings, now_ns, threshold)
        for track in self._tracks:
            _count_look(track, looked)
        self._tracks = [t for t in self._tracks if _keeps(t, now_ns)]
        self._admit(free, now_ns, max_people, threshold)
        self._name(now_ns, threshold)
        return [t for t in self._tracks if t.id and (t.seen_now or not t.misses)]

    def _assign(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> list[Sighting]:
        """Gives each track its best find; returns the finds that are nobody's."""
        if not self._tracks or not sightings:
            return list(sightings)
        finds = np.stack([s.pose.keypoints_px for s in sightings])
        expected = np.stack([t.expected_px(now_ns) for t in self._tracks])
        alike = oks(finds, expected, areas_px(expected, threshold), threshold, LOOSENESS)
        own = np.array([[s.track == t.key for t in self._tracks] for s in sightings])
        fit = np.array([s.pose.score >= STAY_SCORE for s in sightings])
        value = np.where((alike >= SAME_PERSON) & fit[:, None], alike + OWN_CROP_BONUS * own, -1.0)
        same = oks(finds, finds, areas_px(finds, threshold), threshold) if len(finds) > 1 else np.ones((1, 1), np.float32)
        taken: set[int] = set()
        while value.max() > 0:
            find, who = divmod(int(value.argmax()), value.shape[1])
            taken.add(find)
            self._tracks[who].take(sightings[find].pose, now_ns, threshold)
            value[:, who] = -1
            value[same[:, find] >= SAME_FIND] = -1
        return self._strangers([s for i, s in enumerate(sightings) if i not in taken], now_ns, threshold)

    def _strangers(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> list[Sighting]:
        """Those of the finds that are like nobody who is in view."""
        in_view = [t.expected_px(now_ns) for t in self._tracks if t.seen_now or not t.misses]
        if not in_view or not sightings:
            return list(sightings)
        finds, known = np.stack([s.pose.keypoints_px for s in sightings]), np.stack(in_view)
        alike = oks(finds, known, areas_px(known, threshold), threshold, LOOSENESS).max(axis=1)
        return [s for s, a in zip(sightings, alike, strict=True) if a < KNOWN]

    def _admit(self, sightings: Sequence[Sighting], now_ns: int, max_people: int, threshold: float) -> None:
        """Strangers, the most prominent first: somebody who was lost and comes back, or somebody new while there is room.

        In a crop of somebody's own only that person is looked for.
        """
        new = [s for s in sightings if s.pose.score >= NOTICE_SCORE]
        if not new:
            return
        stack = np.stack([s.pose.keypoints_px for s in new])
        areas = areas_px(stack, threshold)
        alike = oks(stack, stack, areas, threshold)
        taken: list[int] = []
        for index in sorted(range(len(new)), key=lambda i: -new[i].pose.score * float(np.sqrt(areas[i]))):
            if any(alike[index, t] >= KNOWN for t in taken):
                continue
            back = self._who_comes_back(new[index], now_ns, threshold) if new[index].pose.score >= APPEAR_SCORE else None
            if back is not None:
                back.take(new[index].pose, now_ns, threshold)
            elif new[index].track is not None or len(self._tracks) >= max_people:
                continue
            else:
                self._follow(new[index].pose, now_ns, threshold)
            taken.append(index)

    def _who_comes_back(self, sighting: Sighting, now_ns: int, threshold: float) -> Track | None:
        """The lost track this find may be, the nearest if several."""
        pose = sighting.pose
        x0, y0, x1, y1 = extent_px(pose.keypoints_px, threshold)
        side = extent_side(pose.keypoints_px, threshold)
        near: list[tuple[float, Track]] = []
        for track in self._tracks:
            if not track.id or track.seen_now or not track.misses or sighting.track not in (None, track.key):
                continue
            if not 1 / RETURN_GROWTH <= side / track.size_px <= RETURN_GROWTH:
                continue
            a0, b0, a1, b1 = extent_px(track.expected_px(now_ns), threshold)
            away = float(np.hypot((x0 + x1 - a0 - a1) / 2, (y0 + y1 - b0 - b1) / 2)) / track.size_px
            if away <= RETURN_SIZES + RETURN_SIZES_PER_S * track.unseen_s(now_ns):
                near.append((away, track))
        return min(near, key=lambda n: n[0])[1] if near else None

    def _follow(self, pose: Pose, now_ns: int, threshold: float) -> None:
        side = extent_side(pose.keypoints_px, threshold)
        self._tracks.append(Track(self._next_key, pose.keypoints_px, pose.score, now_ns, side))
        self._next_key += 1

    def _name(self, now_ns: int, threshold: float) -> None:
        """An identity for everyone who is believed by now: their old one if they may be somebody who was lost."""
        for track in list(self._tracks):
            if track.id or track.score < (APPEAR_SCORE if track.hits >= 2 else SURE_SCORE):
                continue
            pose = Pose(track.keypoints_px, track.score)
            back = self._who_comes_back(Sighting(pose, None), now_ns, threshold)
            if back is not None and track.seen_now:
                back.take(pose, now_ns, threshold)
                self._tracks.remove(track)
            else:
                track.id = self._next_id
                self._next_id += 1


def _count_look(track: Track, looked: set[int]) -> None:
    if track.seen_now:
        return
    if track.key in looked:
        track.miss()
    else:
        track.waited += 1


def _keeps(track: Track, now_ns: int) -> bool:
    """Whoever was only noticed must stand the closer look; everybody else is remembered for a while."""
    if not track.id and (track.misses or (track.hits >= 2 and track.score < APPEAR_SCORE)):
        return False
    return track.unseen_s(now_ns) <= FORGET_AFTER_S
