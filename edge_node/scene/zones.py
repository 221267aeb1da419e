"""Who stands in which zone.

A zone is entered once somebody's foot point has been inside for a moment, and left once it has been clearly outside (beyond a
margin) for a moment.
"""

from collections.abc import Container, Sequence

import cv2
import numpy as np

from edge_node.config.models import Zone
from edge_node.scene.body import Point
from edge_node.scene.hysteresis import SteadyFlag

ENTER_S = 0.3
LEAVE_S = 0.7
MARGIN = 0.015
"""To leave, the foot point must be further outside than this, in frame diagonals."""


class ZoneMap:
    """The configured zones in frame pixels."""

    def __init__(self, zones: Sequence[Zone], width_px: int, height_px: int) -> None:
        self.names = tuple(zone.name for zone in zones)
        size = np.array([width_px, height_px], np.float32)
        self._width_px, self._height_px = float(width_px), float(height_px)
        self._outlines = [np.array(zone.polygon, np.float32) * size for zone in zones]
        self._margin_px = MARGIN * float(np.hypot(width_px, height_px))

    def inside(self, foot_px: Point, before: Sequence[bool]) -> list[bool]:
        """For each zone whether the point is inside; for those where it was ``before``, with the margin.

        No zone can be drawn beyond the frame, so a point out there is taken to be where the frame ends.
        """
        at_px = min(max(foot_px[0], 0.0), self._width_px), min(max(foot_px[1], 0.0), self._height_px)
        depths_px = (cv2.pointPolygonTest(outline, at_px, measureDist=True) for outline in self._outlines)
        return [depth >= (-self._margin_px if was else 0.0) for depth, was in zip(depths_px, before, strict=True)]


class ZoneMemory:
    """The zones one person is in."""

    def __init__(self, zones: ZoneMap) -> None:
        self._flags = {name: SteadyFlag(ENTER_S, LEAVE_S) for name in zones.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Of the zones this person is in."""
        return tuple(name for name, flag in self._flags.items() if flag.value)

    def use(self, zones: ZoneMap, gone: Container[str]) -> list[str]:
        """Go by ``zones`` from now on, of which those ``gone`` before are new; returns which of the gone ones the person was in."""
        left = [name for name in self.names if name in gone]
        kept = {name: flag for name, flag in self._flags.items() if name not in gone}
        self._flags = {name: kept.get(name) or SteadyFlag(ENTER_S, LEAVE_S) for name in zones.names}
        return left

    def update(self, zones: ZoneMap, foot_px: Point | None, at_s: float) -> list[tuple[str, bool]]:
        """Take in where the person stands (``None``: nothing to go by, so nothing changes); returns (zone, entered) changes."""
        if foot_px is None or not self._flags:
            return []
        inside = zones.inside(foot_px, [flag.value for flag in self._flags.values()])
        return [(name, flag.value) for (name, flag), now in zip(self._flags.items(), inside, strict=True) if flag.update(now, at_s)]
