"""Which squares of a frame to look at: the crops of the people that are followed, and squares that scan for others."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from edge_node.data import Box, Region
from edge_node.pose.region import whole_frame

CROP_FACTOR = 1.4
"""Side of a followed person's square, as a multiple of the longer side of the joints' extent (benchmarks/accuracy.md)."""

LEAST_SIDE_PX = 24.0
"""A crop is never smaller: below this there is nothing to see."""

MISSED_GROWTH = 0.15
"""A person's square grows by this share with each look that missed them ..."""
MISSED_GROWTH_MOST = 1.8
"""... up to so many times its side."""

SCAN_AT_LEAST_EVERY = 6
"""When people in view use up the budget, one frame in so many (or, in a crowd, in one more than there are people) has a scan."""

SCAN_OVERLAP = 1 / 3
"""Neighbouring scan tiles share at least so much of their side, so that nobody is cut by all of them."""


class Look(NamedTuple):
    """A square to look at. ``track``: whose crop it is, a key of the tracker; ``None`` for a scanning square."""

    region: Region
    track: int | None = None


class Wanted(NamedTuple):
    """Somebody who is followed: where the middle of the body is expected and how large it is, in frame pixels.

    ``waited``: frames since they were last looked at; ``misses``: looks in a row that did not find them.
    """

    track: int
    centre_px: tuple[float, float]
    size_px: float
    waited: int
    misses: int


class Attention:
    """Plans the squares of each frame; its only state is where the scan has come to."""

    def __init__(self) -> None:
        self._scanned = 0
        self._frames = 0

    def plan(self, people: Sequence[Wanted], width_px: int, height_px: int, *, budget: int, full: bool) -> list[Look]:
        """At most ``budget`` squares (at least one). ``full``: nobody more can be followed, so no scan is needed."""
        self._frames += 1
        order = sorted(people, key=lambda p: (p.misses > 0, -p.waited))
        crops = order[: budget - self._scans(order, budget, full)]
        looks = [Look(_crop_for(p), p.track) for p in crops]
        if len(looks) < budget and not (full and looks):
            looks.append(Look(self._next_scan(width_px, height_px)))
        return looks

    def _scans(self, people: Sequence[Wanted], budget: int, full: bool) -> int:
        """How many squares of the budget are kept for scanning.

        Where the budget is used up by people in view, it is one in every so many frames; with nobody in view and a budget of
        one, whoever was lost and the scan take turns.
        """
        in_view = sum(not p.misses for p in people)
        if in_view == 0:
            return 1 if budget > 1 or not people else self._frames % 2
        if full:
            return 0
        return 1 if in_view < budget else int(self._frames % max(in_view + 1, SCAN_AT_LEAST_EVERY) == 0)

    def _next_scan(self, width_px: int, height_px: int) -> Region:
        squares = scan_squares(width_px, height_px)
        square = squares[self._scanned % len(squares)]
        self._scanned += 1
        return square


def crop_of(extent_px: Box, factor: float) -> Region:
    """The square around a person's joints, ``factor`` times as large as their extent."""
    x0, y0, x1, y1 = extent_px
    return _square((x0 + x1) / 2, (y0 + y1) / 2, factor * max(x1 - x0, y1 - y0))


def closer_look(extent_px: Box) -> Region:
    """The square around somebody of whom this frame has shown the joints' extent."""
    return crop_of(extent_px, CROP_FACTOR)


def _crop_for(person: Wanted) -> Region:
    """Somebody who was missed is looked for in a wider square."""
    factor = CROP_FACTOR * min(1 + MISSED_GROWTH * person.misses, MISSED_GROWTH_MOST)
    return _square(*person.centre_px, factor * person.size_px)


def _square(x_px: float, y_px: float, side_px: float) -> Region:
    side = max(side_px, LEAST_SIDE_PX)
    return Region(x_px - side / 2, y_px - side / 2, side)


@lru_cache(maxsize=8)
def scan_squares(width_px: int, height_px: int) -> tuple[Region, ...]:
    """The scanning squares in their order: the whole frame, between the tiles of each scale."""
    whole = whole_frame(width_px, height_px)
    short = min(width_px, height_px)
    tiles = [*_tiles(width_px, height_px, short), *_tiles(width_px, height_px, short * 0.6)]
    return tuple(square for tile in tiles for square in (whole, tile)) or (whole,)


def _tiles(width_px: int, height_px: int, side_px: float) -> list[Region]:
    if side_px >= max(width_px, height_px):
        return []
    return [Region(left, top, side_px) for top in _starts(height_px, side_px) for left in _starts(width_px, side_px)]


def _starts(length_px: float, side_px: float) -> list[float]:
    """Where tiles start so that they cover the length evenly and overlap enough."""
    room = length_px - side_px
    if room <= 0:
        return [room / 2]
    count = 1 + -(-room // (side_px * (1 - SCAN_OVERLAP)))
    return [room * i / (count - 1) for i in range(int(count))]
