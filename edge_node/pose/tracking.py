"""Who is who: finds of one frame → people with identities that last over frames."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from edge_node.data import Pose
from edge_node.pose.attention import Wanted
from edge_node.pose.similarity import area_of, areas_px, oks, side_of, stacked
from edge_node.pose.track import Track

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


class Sighting(NamedTuple):
    """A find, and whose crop it was made in (a track's key; ``None`` in a scanning square)."""

    pose: Pose
    track: int | None


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

    def correct(self, track: Track, finds: Sequence[Pose], threshold: float) -> None:
        """Takes in a closer look, in the same frame, at somebody whom ``update`` has told of: what it found of them, if anything."""
        alike = [(_alike(pose, track.pose, threshold, LOOSENESS), pose) for pose in finds if pose.score >= STAY_SCORE]
        likeness, pose = max(alike, key=lambda a: a[0], default=(0.0, track.pose))
        if likeness >= SAME_PERSON:
            track.correct(pose)

    def _assign(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> list[Sighting]:
        """Gives each track its best find; returns the finds that are like nobody in view."""
        if not sightings or not self._tracks:
            return list(sightings)
        among, alike = self._likeness(sightings, now_ns, threshold)
        claimed, known = [False] * len(sightings), [False] * len(sightings)
        for find, track in self._claims(sightings, alike):
            if track.seen_now or claimed[find]:
                continue
            track.take(sightings[find].pose, now_ns, threshold, in_own_square=sightings[find].track == track.key)
            for other, row in enumerate(among):
                if row[find] >= KNOWN:
                    known[other] = True
                    claimed[other] |= row[find] >= SAME_FIND
        for who, track in enumerate(self._tracks):
            if not track.seen_now and not track.misses:
                known = [k or row[who] >= KNOWN for k, row in zip(known, alike, strict=True)]
        return [s for s, k in zip(sightings, known, strict=True) if not k]

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

    def _likeness(self, sightings: Sequence[Sighting], now_ns: int, threshold: float) -> tuple[_Table, _Table]:
        """Loose OKS of each of the finds with all of them, and with where each track is expected."""
        count = len(sightings)
        poses = [*(s.pose for s in sightings), *(t.pose for t in self._tracks)]
        places = stacked([p.keypoints_px for p in poses])
        places[count:, :, :2] += np.array([t.way_px(now_ns) for t in self._tracks], np.float32)[:, None]
        alike = oks(places[:count], places, areas_px(p.extent_px for p in poses), threshold, LOOSENESS)
        return alike[:, :count].tolist(), alike[:, count:].tolist()

    def _admit(self, strangers: Sequence[Sighting], now_ns: int, max_people: int, threshold: float) -> None:
        """Strangers, the most prominent first: somebody who was lost and comes back, or somebody new while there is room.

        In a crop of somebody's own only that person is looked for.
        """
        new = sorted((s for s in strangers if s.pose.score >= NOTICE_SCORE), key=lambda s: -_prominence(s.pose))
        taken: list[Pose] = []
        for stranger in new:
            if any(_alike(stranger.pose, t, threshold) >= KNOWN for t in taken):
                continue
            back = self._who_comes_back(stranger, now_ns) if stranger.pose.score >= APPEAR_SCORE else None
            if back is not None:
                back.take(stranger.pose, now_ns, threshold, in_own_square=stranger.track == back.key)
            elif stranger.track is not None or len(self._tracks) >= max_people:
                continue
            else:
                self._tracks.append(Track(self._next_key, stranger.pose, now_ns))
                self._next_key += 1
            taken.append(stranger.pose)

    def _who_comes_back(self, stranger: Sighting, now_ns: int) -> Track | None:
        """The lost track this find may be, the nearest if several."""
        x0, y0, x1, y1 = stranger.pose.extent_px
        near: list[tuple[float, Track]] = []
        for track in self._tracks:
            if not track.misses or stranger.track not in (None, track.key):
                continue
            if not 1 / RETURN_GROWTH <= side_of(stranger.pose.extent_px) / track.size_px <= RETURN_GROWTH:
                continue
            x, y = track.expected_middle_px(now_ns)
            away = math.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y) / track.size_px
            if away <= RETURN_SIZES + RETURN_SIZES_PER_S * track.unseen_s(now_ns):
                near.append((away, track))
        return min(near, key=lambda n: n[0])[1] if near else None

    def _name(self, now_ns: int, threshold: float) -> None:
        """An identity for everyone who is believed by now: their old one if they may be somebody who was lost."""
        company = any(t.id and t.seen_now for t in self._tracks)
        for track in list(self._tracks):
            if track.id or track.pose.score < (AT_ONCE_SCORE if company and track.hits < 2 else APPEAR_SCORE):
                continue
            back = self._who_comes_back(Sighting(track.pose, None), now_ns)
            if back is not None:
                back.take(track.pose, now_ns, threshold, in_own_square=not track.rough)
                self._tracks.remove(track)
            else:
                track.id = self._next_id
                self._next_id += 1


def _prominence(pose: Pose) -> float:
    return pose.score * math.sqrt(area_of(pose.extent_px))


def _alike(a: Pose, b: Pose, threshold: float, looseness: float = 1.0) -> float:
    return float(oks(a.keypoints_px[None], b.keypoints_px[None], areas_px([b.extent_px]), threshold, looseness)[0, 0])


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
    if not track.id and (track.misses or (track.hits >= 2 and track.pose.score < APPEAR_SCORE)):
        return False
    waits = bool(track.id) and not track.misses and not paused
    return waits or track.unseen_s(now_ns) <= FORGET_AFTER_S


def _within(tracks: list[Track], most: int) -> list[Track]:
    """When fewer are asked for than before: those in view stay before those who were lost, and of each whoever came first."""
    return tracks if len(tracks) <= most else sorted(tracks, key=lambda t: t.misses > 0)[:most]
