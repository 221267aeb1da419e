"""Steadying joints over time: for each joint an alpha-beta filter that doubts what the model doubts.

The filter carries a position and a velocity, so what moves evenly is followed without lag; its two gains come from one time
constant by critical damping (Brookner 1998, "Tracking and Kalman Filtering Made Easy", the g-h filter of fading memory). Two things
are added, each worth more than any choice of parameters (benchmarks/accuracy.md): both gains fall with the score of a joint, and
a joint that leaps from where it was expected (left and right confused, a joint of somebody else) draws the filter only as far as a
limb can move in the time. A One-Euro filter does worse here: it opens with speed, and a leap is speed.

It runs on the time line of the source, and on lengths measured in sizes of the person, so that somebody far away is filtered
like somebody near.
"""

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Smoothing
from edge_node.data import KeypointArray

Floats = NDArray[np.float32]

SURE_SCORE = 0.4
"""A joint with this score is believed; below, in proportion to its score ..."""
LEAST_TRUST = 0.1
"""... but never less than this share."""
LEAP_SIZES = 0.05
"""A joint may always be so far from where it was expected, relative to the body, in sizes of the person ..."""
LEAP_SIZES_PER_S = 4.0
"""... and this much more for each second since the last frame, besides its own way in that time."""
VELOCITY_LASTS_S = 0.3
"""A velocity fades so fast when nothing confirms it: limbs stop."""


class AlphaBeta:
    """The filter of one person's joints. Scores are not filtered."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._place: Floats | None = None
        self._velocity: Floats = np.zeros((1, 2), np.float32)

    def apply(self, keypoints_px: KeypointArray, size_px: float, media_ns: int, settings: Smoothing) -> Floats:
        """Filtered positions, float32 [17, 2], of keypoints float32 [17, 3] in frame pixels. ``size_px``: the person's size.

        After a gap of ``settings.reset_after_s`` the filter starts afresh, and positions pass as they are.
        """
        points = keypoints_px[:, :2]
        elapsed_s = (media_ns - self._last_ns) / 1e9
        self._last_ns = media_ns
        if self._place is None or not 0 < elapsed_s <= settings.reset_after_s:
            self._place, self._velocity = points, np.zeros_like(points)
            return points
        fade = np.float32(np.exp(-1e3 * elapsed_s / settings.time_constant_ms))
        trust = np.minimum(np.maximum(keypoints_px[:, 2:] / np.float32(SURE_SCORE), np.float32(LEAST_TRUST)), np.float32(1))
        velocity = self._velocity * np.float32(np.exp(-elapsed_s / VELOCITY_LASTS_S))
        expected = self._place + velocity * np.float32(elapsed_s)
        room_px = (LEAP_SIZES + LEAP_SIZES_PER_S * elapsed_s) * max(size_px, 1.0) + _lengths(velocity) * elapsed_s
        news = trust * _tamed(points - expected, trust * room_px)
        self._place = (expected + (1 - fade**2) * news).astype(np.float32)
        self._velocity = (velocity + (1 - fade) ** 2 / np.float32(elapsed_s) * news).astype(np.float32)
        return self._place


def _tamed(news: Floats, room_px: Floats) -> Floats:
    """What is new [17, 2], shortened to ``room_px`` where it leaps relative to the body; the body's own, the median, is free."""
    body = np.sort(news, axis=0)[len(news) // 2]  # the median of 17
    own = news - body
    length = _lengths(own)
    return np.asarray(body + own * np.minimum(1, room_px / np.maximum(length, np.float32(1e-6))), dtype=np.float32)


def _lengths(vectors: Floats) -> Floats:
    """Of float32 [n, 2]: float32 [n, 1]."""
    return np.asarray(np.sqrt((vectors * vectors).sum(axis=1, keepdims=True)), dtype=np.float32)
