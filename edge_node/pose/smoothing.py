"""Steadying joints over time: a One-Euro filter on each joint, behind a limit on how far a joint may jump.

Source: Casiez, Roussel, Vogel 2012, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems".
It runs on the time line of the source, and on lengths measured in sizes of the person, so that somebody far away is filtered
like somebody near. Two things are added, each worth more than any choice of parameters (benchmarks/accuracy.md): a joint that
leaps where no limb can go (left and right confused, a joint of somebody else) drags the filter only as far as a limb can move
in the time; and the model's own doubt about a joint lowers both that limit and the cut-off.
"""

import math

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Smoothing
from edge_node.data import KeypointArray

Floats = NDArray[np.float32]

LEAP_SIZES = 0.03
"""A joint may always go so far from one frame to the next, relative to the body, in sizes of the person ..."""
LEAP_SIZES_PER_S = 1.5
"""... and this much more for each second between them, besides what its own speed so far explains."""
SURE_SCORE = 0.6
"""A joint with this score is filtered as it comes; below, in proportion to its score ..."""
LEAST_TRUST = 0.1
"""... but never with less than this share of limit and cut-off."""


class OneEuro:
    """The filter of one person's joints. Scores are not filtered."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._value: Floats | None = None
        self._tamed: Floats | None = None
        self._speed: Floats | None = None

    def apply(self, keypoints_px: KeypointArray, size_px: float, media_ns: int, settings: Smoothing) -> Floats:
        """Filtered positions, float32 [17, 2], of keypoints float32 [17, 3] in frame pixels. ``size_px``: the person's size.

        After a gap of ``settings.reset_after_s`` the filter starts afresh, and positions pass as they are.
        """
        points = keypoints_px[:, :2]
        elapsed_s = (media_ns - self._last_ns) / 1e9
        self._last_ns = media_ns
        if self._value is None or self._tamed is None or self._speed is None or not 0 < elapsed_s <= settings.reset_after_s:
            self._value, self._tamed, self._speed = points, points, np.zeros_like(points)
            return points
        trust = np.clip(keypoints_px[:, 2:] / SURE_SCORE, LEAST_TRUST, 1)
        step = _tamed(points - self._tamed, trust, np.float32(elapsed_s), self._speed, np.float32(max(size_px, 1.0)))
        self._tamed = self._tamed + step
        speed = step / np.float32(elapsed_s * max(size_px, 1.0))
        self._speed = self._speed + _gain(settings.derivative_cutoff_hz, elapsed_s) * (speed - self._speed)
        cutoff_hz = trust * (settings.min_cutoff_hz + settings.beta * np.linalg.norm(self._speed, axis=1, keepdims=True))
        gain = 1 / (1 + 1 / (2 * math.pi * elapsed_s * cutoff_hz))
        self._value = (self._value + gain * (self._tamed - self._value)).astype(np.float32)
        return self._value


def _tamed(step: Floats, trust: Floats, elapsed_s: np.float32, speed: Floats, size_px: np.float32) -> Floats:
    """The step [17, 2] in pixels, shortened where it leaps relative to the body; the body's own motion, the median step, is free."""
    body = np.median(step, axis=0)
    own = step - body
    room = LEAP_SIZES + (LEAP_SIZES_PER_S + np.linalg.norm(speed, axis=1, keepdims=True)) * elapsed_s
    length = np.linalg.norm(own, axis=1, keepdims=True)
    share = np.minimum(1, trust * room * size_px / np.maximum(length, np.float32(1e-6)))
    tamed: Floats = (body + own * share).astype(np.float32)
    return tamed


def _gain(cutoff_hz: float, elapsed_s: float) -> np.float32:
    """Share of a new value that a first-order low-pass lets through."""
    return np.float32(1 / (1 + 1 / (2 * math.pi * cutoff_hz * elapsed_s)))
