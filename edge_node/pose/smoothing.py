"""Steadying joints over time: a One-Euro filter on each coordinate.

Source: Casiez, Roussel, Vogel 2012, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems".
It runs on the time line of the source, and on lengths measured in sizes of the person, so that somebody far away is filtered like
somebody near.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Smoothing

Floats = NDArray[np.float32]


class OneEuro:
    """The filter of one person's joints. Scores are not its business."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._value: Floats | None = None
        self._raw: Floats | None = None
        self._speed: Floats | None = None

    def reset(self) -> None:
        """Forget everything: the next positions pass as they are."""
        self._value = None

    def apply(self, points_px: Floats, size_px: float, media_ns: int, settings: Smoothing) -> Floats:
        """Filtered positions of float32 [17, 2]. ``size_px``: the person's size, the unit in which speed is measured."""
        elapsed_s = (media_ns - self._last_ns) / 1e9
        self._last_ns = media_ns
        if self._value is None or self._raw is None or self._speed is None or not 0 < elapsed_s <= settings.reset_after_s:
            self._value, self._raw, self._speed = points_px, points_px, np.zeros_like(points_px)
            return points_px
        speed = (points_px - self._raw) / np.float32(elapsed_s * max(size_px, 1.0))
        self._raw = points_px
        self._speed = self._speed + _gain(settings.derivative_cutoff_hz, elapsed_s) * (speed - self._speed)
        cutoff_hz = settings.min_cutoff_hz + settings.beta * np.abs(self._speed)
        gain = 1 / (1 + 1 / (2 * math.pi * elapsed_s * cutoff_hz))
        self._value = (self._value + gain * (points_px - self._value)).astype(np.float32)
        return self._value


def _gain(cutoff_hz: float, elapsed_s: float) -> np.float32:
    """Share of a new value that a first-order low-pass lets through."""
    return np.float32(1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_s)))
