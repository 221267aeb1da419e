"""Steadying joints over time: a One-Euro filter on each joint, in the frame of the moving body.

Source: Casiez, Roussel, Vogel 2012, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems".
It runs on the time line of the source, and on lengths measured in sizes of the person, so that somebody far away is filtered
like somebody near. Four things are added, the first three each worth more than any choice of parameters (benchmarks/accuracy.md):

- The filter moves along with the body. The motion common to all joints is the median of their steps: it is known far better
  than any one joint's, so it needs little smoothing, and a person who walks (or a camera that pans) is not lagged behind.
- A joint that leaps where no limb can go (left and right confused, a joint of somebody else) drags the filter only as far as a
  limb can move in the time. A plain One-Euro filter opens to a leap, because a leap is speed.
- The model's own doubt about a joint lowers both that limit and the cut-off.
- A limb that moves is carried on at most of its own speed, so that it can be filtered harder at no more lag.

Where most joints leap at once it is no joint that leaps: the picture was cut, or this is somebody else. The filter starts afresh.
So it does, nearly, where all that it was given so far was rough (``was_rough``).

Plain Python, in which a place, a step or a speed is one complex number, x + yi: for 17 joints that is quicker than numpy.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Smoothing
from edge_node.data import KeypointArray

Floats = NDArray[np.float32]

OPENING = 7.0
"""How much motion opens the filter: hertz of cut-off for a joint that moves by the size of the body in a second."""
STILL_SIZES_PER_S = 0.3
"""Speed up to here opens nothing: the model's noise on a joint at rest looks like as much."""
CARRIED = 0.6
"""Before the next place of a joint comes, the last one is carried on at this share of its own speed."""
SPEED_CUTOFF_HZ = 3.2
"""Cut-off of each joint's speed."""
BODY_CUTOFF_HZ = 3.0
"""Cut-off of the body's own motion."""
SURE_SCORE = 0.6
"""A joint with this score is filtered as it comes; below, in proportion to its score ..."""
LEAST_TRUST = 0.1
"""... but never with less than this share of the limit."""
DOUBT_POWER = 1.5
"""The cut-off goes by this power of that share: a joint in doubt jitters most where it stands."""
LEAP_SIZES = 0.03
"""A joint may always go so far from one frame to the next, relative to the body, in sizes of the person ..."""
LEAP_SIZES_PER_S = 1.5
"""... and this much more for each second between them, besides what its own speed so far explains."""
NEW_POSE_SIZES = 0.2
"""Half of the joints so far from where they were, relative to the body, in sizes of the person: another pose, not a leap."""
ROUGH_SHARE = 0.2
"""What rough joints keep of the place of the next ones: too little to hold back joints that are right, and the step is a fifth smaller."""


class BodyFilter:
    """The filter of one person's joints. Scores are not filtered."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._places: list[complex] = []
        self._tamed: list[complex] = []
        self._speeds: list[complex] = []
        self._drift = 0j
        self._rough = False

    def was_rough(self) -> None:
        """What was given so far was rough: the next joints pass with a share of it, and nothing else is kept."""
        self._rough = True

    def apply(self, keypoints_px: KeypointArray, size_px: float, media_ns: int, settings: Smoothing) -> Floats:
        """Filtered positions, float32 [17, 2], of keypoints float32 [17, 3] in frame pixels. ``size_px``: the person's size.

        After a gap of ``settings.reset_after_s``, or in another pose altogether, the filter starts afresh, and positions pass as they are.
        """
        points, scores = [], []
        for x, y, score in keypoints_px.tolist():
            points.append(complex(x, y))
            scores.append(score)
        elapsed_s = (media_ns - self._last_ns) / 1e9
        self._last_ns = media_ns
        rough, self._rough = self._rough, False
        if not self._places or not 0 < elapsed_s <= settings.reset_after_s:
            return self._start(points)
        if rough:
            return self._start(points, self._places)
        size_px = max(size_px, 1.0)
        trusts = [min(max(score / SURE_SCORE, LEAST_TRUST), 1.0) for score in scores]
        body, owns, usual_px = self._motion(points, trusts)
        if usual_px > NEW_POSE_SIZES * size_px:
            return self._start(points)
        self._drift += _gain(BODY_CUTOFF_HZ, elapsed_s) * (body / elapsed_s - self._drift)
        self._follow(body, owns, trusts, elapsed_s=elapsed_s, size_px=size_px, rest_hz=1e3 / (2 * math.pi * settings.time_constant_ms))
        return _pairs(self._places)

    def _start(self, points: list[complex], rough: list[complex] | None = None) -> Floats:
        before = points if rough is None else rough
        self._places = [point + ROUGH_SHARE * (place - point) for point, place in zip(points, before, strict=True)]
        self._tamed, self._speeds = points, [0j] * len(points)
        self._drift = 0j
        return _pairs(self._places)

    def _motion(self, points: Sequence[complex], trusts: Sequence[float]) -> tuple[complex, list[complex], float]:
        """What the body did since the last frame, each joint besides, and how far the usual joint went besides; in pixels."""
        steps = [point - tamed for point, tamed in zip(points, self._tamed, strict=True)]
        sure = [joint for joint, trust in enumerate(trusts) if trust >= 0.5]
        if len(sure) < 3:
            sure = list(range(len(steps)))
        body = complex(_median(steps[joint].real for joint in sure), _median(steps[joint].imag for joint in sure))
        own = [step - body for step in steps]
        return body, own, _median(abs(own[joint]) for joint in sure)

    def _follow(self, body: complex, owns: list[complex], trusts: list[float], *, elapsed_s: float, size_px: float, rest_hz: float) -> None:
        """Filter each joint, which went with the ``body`` and its own way besides; leaps are cut short. ``rest_hz``: cut-off at rest."""
        along = self._drift * elapsed_s
        speed_gain = _gain(SPEED_CUTOFF_HZ, elapsed_s)
        for joint, (own, trust) in enumerate(zip(owns, trusts, strict=True)):
            speed = self._speeds[joint]
            room = LEAP_SIZES + (LEAP_SIZES_PER_S + abs(speed)) * elapsed_s
            step = body + own * min(1.0, trust * room * size_px / max(abs(own), 1e-6))
            self._tamed[joint] += step
            carried = self._places[joint] + along + CARRIED * speed * elapsed_s * size_px
            speed += speed_gain * ((step - along) / (elapsed_s * size_px) - speed)
            self._speeds[joint] = speed
            gain = _gain(trust**DOUBT_POWER * (rest_hz + OPENING * max(abs(speed) - STILL_SIZES_PER_S, 0.0)), elapsed_s)
            self._places[joint] = carried + gain * (self._tamed[joint] - carried)


def _pairs(points: Sequence[complex]) -> Floats:
    """float32 [n, 2], x and y."""
    return np.array(points, np.complex64).view(np.float32).reshape(-1, 2)


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def _gain(cutoff_hz: float, elapsed_s: float) -> float:
    """Share of a new value that a first-order low-pass lets through."""
    return 1 / (1 + 1 / (2 * math.pi * elapsed_s * cutoff_hz))
