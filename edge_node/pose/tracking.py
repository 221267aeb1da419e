"""Who is who: finds of one frame → people with identities that last over frames."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.data import KeypointArray, Pose
from edge_node.pose.attention import Wanted
from edge_node.pose.similarity import Box, area_of, extents_px, oks
from edge_node.pose.track import Track, side_of

_Table = list[list[float]]

NOTICE_SCORE = 0.22
"""Somebody new with this score is looked at more closely;"""
APPEAR_SCORE = 0.3
"""they are believed with this one, at the first look or the closer one, in a crop of their own;"""
AT_ONCE_SCORE = 0.33
"""beside somebody in view, at the first look only with this one: they can wait for a frame, and a ghost does not stand it."""
STAY_SCORE = 0.24
"""Somebody who is followed needs only this."""

LOOSENESS = 2.0
"""People move between frames: OKS against an expectation is taken with the spread of each joint so many times as wide."""
SAME_PERSON = 0.15
"""Least loose OKS of a find with where somebody is expected."""
OWN_CROP_BONUS = 0.25
"""A find in somebody's own crop is theirs before anybody else's."""
SAME_FIND = 0.85
"""Finds more alike (loose OKS) are the same body, seen in two squares."""
KNOWN = 0.3
"""A find so alike (loose OKS) to somebody in view is no newcomer."""

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


@dataclass(frozen=True, slots=True)
class _Stranger:
    """A find that is nobody's, and the extent of its joints."""

    sighting: Sighting
    extent: Box

    @property
    def pose(self) -> Pose:
        return self.sighting.pose


class Tracker:
    """Holds everyone who is followed. ``update`` once a frame."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._next_key = 1
        self._next_id = 1
        self._last_ns = 0

    @property
    def tracks(self) -> Sequence[Track]:
        """Everyone, also who is out of sight at the moment."""
        return self._tracks

    def forget(self) -> None:
        """Follow nobody any more: what comes is another picture. Identities are not given again."""
        self._tracks = []

    def wanted(self, now_ns: int) -> list[Wanted]:
        """Whom attention should look for, and where."""
        return [Wanted(t.key, t.expected_middle_px(now_ns), t.size_px, t.waited, t.misses) for t in self._tracks]

    def update(self, sightings: Sequence[Sighting], looked: set[int], now_ns: int, max_people: int, threshold: float) -> list[Track]:
        """Takes in what was found in a frame; returns those to tell of: seen now, or carried on because nobody looked, or
        a blink of the model missed them.

        ``looked``: keys of the tracks whose crop was run. ``now_ns``: the frame's time on the source's time line.
        """
        paused, self._last_ns = now_ns - self._last_ns > FORGET_AFTER_S * 1e9, now_ns
        for track in self._tracks:
            track.seen_now = False
        free = self._assign(sightings, now_ns, threshold)
        for track in self._tracks:
            _count_look(track, looked, now_ns)
        self._tracks = _within([t for t in self._tracks if _keeps(t, now_ns, paused=paused)], max_people)
        self._admit(free, now_ns, max_people, threshold)
        self._name(now_ns, threshold)
        return [t for t in self._tracks if t.id and t.in_view]

    def _assign(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> list[_Stranger]:
        """Gives each track its best find; returns the finds that are like nobody in view."""
        if not sightings:
            return []
        poses = self._placed(sightings, now_ns)
        extents = extents_px(poses[: len(sightings)], threshold)
        if not self._tracks:
            return [_Stranger(s, e) for s, e in zip(sightings, extents, strict=True)]
        among, alike = self._likeness(poses, extents, threshold)
        claimed, known = [False] * len(sightings), [False] * len(sightings)
        for find, track in self._claims(sightings, alike):
            if track.seen_now or claimed[find]:
                continue
            track.take(sightings[find].pose, extents[find], now_ns, threshold)
            for other, row in enumerate(among):
                if row[find] >= KNOWN:
                    known[other] = True
                    claimed[other] |= row[find] >= SAME_FIND
        for who, track in enumerate(self._tracks):
            if not track.seen_now and not track.misses:
                known = [k or row[who] >= KNOWN for k, row in zip(known, alike, strict=True)]
        return [_Stranger(s, e) for s, e, k in zip(sightings, extents, known, strict=True) if not k]

    def _claims(self, sightings: Sequence[Sighting], alike: Sequence[Sequence[float]]) -> list[tuple[int, Track]]:
        """The finds (by number) that may be somebody followed, and who; the likeliest first."""
        claims = [
            (likeness + OWN_CROP_BONUS * (sighting.track == track.key), find, track)
            for find, sighting in enumerate(sightings)
            if sighting.pose.score >= STAY_SCORE
            for track, likeness in zip(self._tracks, alike[find], strict=True)
            if likeness >= SAME_PERSON
        ]
        return [(find, track) for _, find, track in sorted(claims, key=lambda claim: -claim[0])]

    def _placed(self, sightings: Sequence[Sighting], now_ns: int) -> KeypointArray:
        """The finds, and behind them everybody where they are expected; float32 [n + m, 17, 3]."""
        each = [*(s.pose.keypoints_px for s in sightings), *(t.keypoints_px for t in self._tracks)]
        poses = np.concatenate(each).reshape(len(each), -1, 3)  # for a handful several times as quick as np.stack
        if self._tracks:
            poses[len(sightings) :, :, :2] += np.array([t.way_px(now_ns) for t in self._tracks], np.float32)[:, None]
        return poses

    def _likeness(self, poses: KeypointArray, extents: Sequence[Box], threshold: float) -> tuple[_Table, _Table]:
        """Loose OKS of each of the finds with all of them, and with where each track is expected; ``poses`` as ``_placed`` gives them."""
        areas = np.array([area_of(e) for e in (*extents, *(t.extent for t in self._tracks))], np.float32)
        alike = oks(poses[: len(extents)], poses, areas, threshold, LOOSENESS)
        return alike[:, : len(extents)].tolist(), alike[:, len(extents) :].tolist()

    def _admit(self, strangers: Sequence[_Stranger], now_ns: int, max_people: int, threshold: float) -> None:
        """Strangers, the most prominent first: somebody who was lost and comes back, or somebody new while there is room.

        In a crop of somebody's own only that person is looked for.
        """
        new = sorted((s for s in strangers if s.pose.score >= NOTICE_SCORE), key=lambda s: -s.pose.score * math.sqrt(area_of(s.extent)))
        taken: list[_Stranger] = []
        for stranger in new:
            if any(_alike(stranger, t, threshold) >= KNOWN for t in taken):
                continue
            back = self._who_comes_back(stranger, now_ns) if stranger.pose.score >= APPEAR_SCORE else None
            if back is not None:
                back.take(stranger.pose, stranger.extent, now_ns, threshold)
            elif stranger.sighting.track is not None or len(self._tracks) >= max_people:
                continue
            else:
                self._follow(stranger, now_ns)
            taken.append(stranger)

    def _who_comes_back(self, stranger: _Stranger, now_ns: int) -> Track | None:
        """The lost track this find may be, the nearest if several."""
        x0, y0, x1, y1 = stranger.extent
        near: list[tuple[float, Track]] = []
        for track in self._tracks:
            if not track.misses or stranger.sighting.track not in (None, track.key):
                continue
            if not 1 / RETURN_GROWTH <= side_of(stranger.extent) / track.size_px <= RETURN_GROWTH:
                continue
            x, y = track.expected_middle_px(now_ns)
            away = math.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y) / track.size_px
            if away <= RETURN_SIZES + RETURN_SIZES_PER_S * track.unseen_s(now_ns):
                near.append((away, track))
        return min(near, key=lambda n: n[0])[1] if near else None

    def _follow(self, stranger: _Stranger, now_ns: int) -> None:
        pose, extent = stranger.pose, stranger.extent
        self._tracks.append(Track(self._next_key, pose.keypoints_px, pose.score, now_ns, extent, side_of(extent)))
        self._next_key += 1

    def _name(self, now_ns: int, threshold: float) -> None:
        """An identity for everyone who is believed by now: their old one if they may be somebody who was lost."""
        company = any(t.id and t.seen_now for t in self._tracks)
        for track in list(self._tracks):
            if track.id or track.score < (AT_ONCE_SCORE if company and track.hits < 2 else APPEAR_SCORE):
                continue
            pose = Pose(track.keypoints_px, track.score)
            back = self._who_comes_back(_Stranger(Sighting(pose, None), track.extent), now_ns)
            if back is not None:
                back.take(pose, track.extent, now_ns, threshold)
                self._tracks.remove(track)
            else:
                track.id = self._next_id
                self._next_id += 1


def _alike(a: _Stranger, b: _Stranger, threshold: float) -> float:
    area = np.array([area_of(b.extent)], np.float32)
    return float(oks(a.pose.keypoints_px[None], b.pose.keypoints_px[None], area, threshold)[0, 0])


def _count_look(track: Track, looked: set[int], now_ns: int) -> None:
    if track.seen_now:
        return
    if track.key in looked:
        track.miss(now_ns)
    else:
        track.waited += 1


def _keeps(track: Track, now_ns: int, *, paused: bool) -> bool:
    """Whoever was only noticed must stand the closer look; everybody else is remembered for a while, and as long as they wait for their
    turn to be looked at, which with few frames a second may be longer. ``paused``: there was no frame for that while.
    """
    if not track.id and (track.misses or (track.hits >= 2 and track.score < APPEAR_SCORE)):
        return False
    waits = bool(track.id) and not track.misses and not paused
    return waits or track.unseen_s(now_ns) <= FORGET_AFTER_S


def _within(tracks: list[Track], most: int) -> list[Track]:
    """When fewer are asked for than before: those in view stay before those who were lost, and of each whoever came first."""
    return tracks if len(tracks) <= most else sorted(tracks, key=lambda t: t.misses > 0)[:most]
