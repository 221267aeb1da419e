"""How much somebody moves: the mean speed of their joints in body heights a second, so that distance does not matter."""

import math

import numpy as np
from numpy.typing import NDArray

_BASELINE_S = 0.2
"""Positions this far apart are compared: long enough for the joints' jitter to stay small."""
_STALE_S = 1.5
_SMOOTH_S = 0.6
_JITTER = 0.08
"""Speed, in body heights a second, that a body at rest seems to have."""
_FULL = 1.0
"""Speed at which activity is 1: every joint a body height a second, as in jumping or running."""

Joints = NDArray[np.float32]


class ActivityMemory:
    """One person's activity, 0..1."""

    def __init__(self) -> None:
        self.level = 0.0
        self._speed = 0.0
        self._since_s = -math.inf
        self._joints: Joints | None = None

    def due(self, at_s: float) -> bool:
        """Whether it is time for another ``update``; earlier ones would measure jitter."""
        return at_s - self._since_s >= _BASELINE_S

    def update(self, joints_px: Joints, seen: NDArray[np.bool_], height_px: float, at_s: float) -> None:
        """Take in joints (float32 [17, 2], frame pixels) of a body ``height_px`` tall; ``seen`` (bool [17]) says which count."""
        elapsed_s = at_s - self._since_s
        before, self._joints, self._since_s = self._joints, np.where(seen[:, None], joints_px, np.nan), at_s
        if before is None or elapsed_s > _STALE_S:
            return
        moved_px = np.hypot(*(self._joints - before).T)
        both = moved_px[~np.isnan(moved_px)]
        if both.size == 0:
            return
        speed = float(both.mean()) / height_px / elapsed_s
        self._speed += (1.0 - math.exp(-elapsed_s / _SMOOTH_S)) * (speed - self._speed)
        self.level = min(1.0, max(0.0, (self._speed - _JITTER) / (_FULL - _JITTER)))
