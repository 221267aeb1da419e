"""Steadying joints over time: a One-Euro filter on each joint, in the frame of the moving body.

Source: Casiez, Roussel, Vogel 2012, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems".
It runs on the time line of the source, and on lengths measured in sizes of the person, so that somebody far away is filtered
like somebody near. Three things are added, each worth more than any choice of parameters (benchmarks/accuracy.md):

- The filter moves along with the body. The motion common to all joints is the median of their steps: it is known far better
  than any one joint's, so it needs little smoothing, and a person who walks (or a camera that pans) is not lagged behind.
- A joint that leaps where no limb can go (left and right confused, a joint of somebody else) drags the filter only as far as a
  limb can move in the time. A plain One-Euro filter opens to a leap, because a leap is speed.
- The model's own doubt about a joint lowers both that limit and the cut-off.

Where most joints leap at once it is no joint that leaps: the picture was cut, or this is somebody else. The filter starts afresh.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Smoothing
from edge_node.data import KeypointArray

Floats = NDArray[np.floating[Any]]

OPENING = 7.0
"""How much motion opens the filter: hertz of cut-off for a joint that moves by the size of the body in a second."""
SPEED_CUTOFF_HZ = 2.5
"""Cut-off of each joint's speed."""
BODY_CUTOFF_HZ = 6.0
"""Cut-off of the body's own motion."""
SURE_SCORE = 0.6
"""A joint with this score is filtered as it comes; below, in proportion to its score ..."""
LEAST_TRUST = 0.1
"""... but never with less than this share of limit and cut-off."""
LEAP_SIZES = 0.03
"""A joint may always go so far from one frame to the next, relative to the body, in sizes of the person ..."""
NEW_POSE_SIZES = 0.2
"""Half of the joints so far from where they were, relative to the body, in sizes of the person: another pose, not a leap."""
LEAP_SIZES_PER_S = 1.5
"""... and this much more for each second between them, besides what its own speed so far explains."""


class BodyFilter:
    """The filter of one person's joints. Scores are not filtered."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._place: Floats | None = None
        self._tamed: Floats = np.zeros((1, 2), np.float32)
        self._speed: Floats = np.zeros((1, 2), np.float32)
        self._drift: Floats = np.zeros(2, np.float32)

    def apply(self, keypoints_px: KeypointArray, size_px: float, media_ns: int, settings: Smoothing) -> Floats:
        """Filtered positions, float32 [17, 2], of keypoints float32 [17, 3] in frame pixels. ``size_px``: the person's size.

        After a gap of ``settings.reset_after_s``, or in another pose altogether, the filter starts afresh, and positions pass as they are.
        """
        points = keypoints_px[:, :2].copy()
        elapsed_s = (media_ns - self._last_ns) / 1e9
        self._last_ns = media_ns
        if self._place is None or not 0 < elapsed_s <= settings.reset_after_s:
            return self._start(points)
        size_px = max(size_px, 1.0)
        trust = np.minimum(np.maximum(keypoints_px[:, 2:] / SURE_SCORE, LEAST_TRUST), 1)
        body, own, usual_px = self._motion(points, trust)
        if usual_px > NEW_POSE_SIZES * size_px:
            return self._start(points)
        step = body + self._tame(own, trust, elapsed_s, size_px)
        self._tamed = self._tamed + step
        self._drift = self._drift + _gain(BODY_CUTOFF_HZ, elapsed_s) * (body / elapsed_s - self._drift)
        along = self._drift * elapsed_s
        speed = (step - along) / (elapsed_s * size_px)
        self._speed = self._speed + _gain(SPEED_CUTOFF_HZ, elapsed_s) * (speed - self._speed)
        cutoff_hz = trust * (1e3 / (2 * math.pi * settings.time_constant_ms) + OPENING * _length(self._speed))
        carried = self._place + along
        self._place = (carried + _gain(cutoff_hz, elapsed_s) * (self._tamed - carried)).astype(np.float32)
        return self._place.copy()

    def _start(self, points: Floats) -> Floats:
        self._place = self._tamed = points
        self._speed, self._drift = np.zeros_like(points), np.zeros_like(points[0])
        return points.copy()

    def _motion(self, points: Floats, trust: Floats) -> tuple[Floats, Floats, float]:
        """What the body did since the last frame, [2], each joint besides, [17, 2], and how far the usual joint went besides; in pixels."""
        step = points - self._tamed
        sure = trust[:, 0] >= 0.5
        if np.count_nonzero(sure) < 3:
            sure[:] = True
        body = _median(step[sure])
        own = step - body
        return body, own, float(_median(_length(own[sure]))[0])

    def _tame(self, own: Floats, trust: Floats, elapsed_s: float, size_px: float) -> Floats:
        """The joints' own steps [17, 2], leaps cut short."""
        room = LEAP_SIZES + (LEAP_SIZES_PER_S + _length(self._speed)) * elapsed_s
        own *= np.minimum(1, trust * room * size_px / np.maximum(_length(own), 1e-6))
        return own


def _median(vectors: Floats) -> Floats:
    """[d] of [n, d]; np.median takes three times as long."""
    ordered = np.sort(vectors, axis=0)
    middle: Floats = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return middle


def _length(vectors: Floats) -> Floats:
    """[n, 1] of [n, 2]."""
    length: Floats = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return length


def _gain(cutoff_hz: Floats | float, elapsed_s: float) -> Floats | float:
    """Share of a new value that a first-order low-pass lets through."""
    return 1 / (1 + 1 / (2 * math.pi * elapsed_s * cutoff_hz))
