"""How well joints are followed over time: share within reach, jitter, and lag."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.evaluate.matching import FoundPerson, ScoredFrame, distances, nearest_pairs
from edge_node.evaluate.truth import TruePerson

LONGEST_LAG = 6
"""Lags beyond so many frames are not looked for."""
LEAST_SHARE = 0.5
"""Nor are lags at which less than this share of the motion lies side by side: of short stretches a few frames always agree somewhere."""
LEAST_CORRELATION = 0.2
"""Motion that agrees less than this at its best lag has no lag that could be told."""

Floats = NDArray[np.float64]

_STEPS = np.arange(-3, 4, dtype=np.float64)
VELOCITY: Floats = _STEPS / (_STEPS @ _STEPS)
ACCELERATION: Floats = (_STEPS**2 - 4) / 42
"""First and second derivative at the middle of the parabola that fits 7 values best."""


@dataclass(frozen=True, slots=True)
class JointFigures:
    """``pck10``, ``pck20``: share of known joints within 0.1 and 0.2 of the person's size (the longer side of the box
    around their known joints), somebody not found counting as all wrong. ``second_difference``: RMS length of
    p[t-1] - 2 p[t] + p[t+1] in sizes of the person, and the truth's own over the same joints. ``lag_frames``: how many
    frames the estimate's motion comes after the true motion. NaN where nothing could be measured.
    """

    pck10: float
    pck20: float
    second_difference: float
    second_difference_true: float
    lag_frames: float


@dataclass(frozen=True, slots=True)
class Stretch:
    """One person over consecutive frames in which they were found. ``true``, ``found``: float64 [frames, 17, 2] in sizes
    of the person, NaN where the place is not known.
    """

    true: Floats
    found: Floats


def joint_figures(frames: Sequence[ScoredFrame]) -> JointFigures:
    """The figures of a sequence, people matched with finds by nearness, whatever their identities."""
    near, far, known = 0, 0, 0
    pairs_of = [nearest_pairs(frame.true, frame.found) for frame in frames]
    for frame, pairs in zip(frames, pairs_of, strict=True):
        known += sum(int(person.known.sum()) for person in frame.true)
        for t, f in pairs:
            off = distances(frame.true[t], frame.found[f])
            near += int((off <= 0.1).sum())
            far += int((off <= 0.2).sum())
    stretches = _stretches(frames, pairs_of)
    return JointFigures(
        pck10=near / known if known else math.nan,
        pck20=far / known if known else math.nan,
        second_difference=_rms([second_difference(s.found) for s in stretches]),
        second_difference_true=_rms([second_difference(s.true) for s in stretches]),
        lag_frames=lag_frames(stretches),
    )


def second_difference(places: Floats) -> Floats:
    """Lengths of the second differences of ``places`` [frames, 17, 2], flat, of every three known in a row."""
    bend = places[:-2] - 2 * places[1:-1] + places[2:]
    lengths = np.linalg.norm(bend, axis=2).ravel()
    return np.asarray(lengths[np.isfinite(lengths)])


def lag_frames(stretches: Sequence[Stretch]) -> float:
    """The lag of found behind true motion, in frames, with sub-frame precision.

    Velocities come from a parabola through 7 frames (Savitzky and Golay 1964), which leaves times as they are and noise behind.
    Their normalised cross-correlation over all stretches gives the whole lag; the fraction is the shift that explains the
    rest best in the sense of least squares, with the true motion's own acceleration as slope: where motion is slow and the
    peak flat, that is far less noisy than a parabola through the peak. Velocities far beyond any true one are cut short, so that a
    joint that jumps to another place and back does not drown the rest.
    """
    motions = [_Motion(_filtered(s.true, VELOCITY), _filtered(s.true, ACCELERATION), _filtered(s.found, VELOCITY)) for s in stretches]
    speeds = np.concatenate([np.abs(m.velocity[np.isfinite(m.velocity)]) for m in motions]) if motions else np.empty(0)
    limit = 3 * float(np.percentile(speeds, 99)) if speeds.size else 0.0
    if limit == 0:
        return math.nan
    motions = [_Motion(m.velocity, m.acceleration, np.clip(m.found, -limit, limit)) for m in motions]
    together = {lag: sum(motion.aligned(lag)[0].size for motion in motions) for lag in range(-LONGEST_LAG, LONGEST_LAG + 1)}
    lags = [lag for lag, size in together.items() if size >= LEAST_SHARE * together[0]]
    values = [_correlation(motions, lag) for lag in lags]
    best = int(np.argmax(values))
    if values[best] < LEAST_CORRELATION or best in (0, len(values) - 1):
        return math.nan
    return lags[best] + _fraction(motions, lags[best])


@dataclass(frozen=True, slots=True)
class _Motion:
    """True velocity and acceleration, and found velocity, of one stretch: float64 [frames, 17, 2], per frame."""

    velocity: Floats
    acceleration: Floats
    found: Floats

    def aligned(self, lag: int) -> tuple[Floats, Floats, Floats]:
        """The three, found taken ``lag`` frames later, where all are known: flat."""
        count = max(len(self.velocity) - abs(lag), 0)
        start = max(-lag, 0)
        parts = (self.velocity[start:][:count], self.acceleration[start:][:count], self.found[max(lag, 0) :][:count])
        known = np.isfinite(np.stack(parts)).all(axis=0)
        return parts[0][known], parts[1][known], parts[2][known]


def _filtered(places: Floats, kernel: Floats) -> Floats:
    """``places`` [frames, 17, 2] through ``kernel``; NaN wherever it meets a place that is not known."""
    count = len(places) - len(kernel) + 1
    if count < 1:
        return np.empty((0, *places.shape[1:]))
    return np.asarray(sum(weight * places[i : i + count] for i, weight in enumerate(kernel)), dtype=np.float64)


def _correlation(motions: Sequence[_Motion], lag: int) -> float:
    product = true_power = found_power = 0.0
    for motion in motions:
        true, _, found = motion.aligned(lag)
        product += float(true @ found)
        true_power += float(true @ true)
        found_power += float(found @ found)
    power = math.sqrt(true_power * found_power)
    return product / power if power else 0.0


def _fraction(motions: Sequence[_Motion], lag: int) -> float:
    """The remaining shift d in found(t + lag) = gain (velocity(t) - d acceleration(t)), by least squares for gain and d."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for motion in motions:
        velocity, acceleration, found = motion.aligned(lag)
        basis = np.stack([velocity, acceleration])
        normal += basis @ basis.T
        right += basis @ found
    if np.linalg.det(normal) <= 0:
        return 0.0
    gain, slope = np.linalg.solve(normal, right)
    return float(np.clip(-slope / gain, -1, 1)) if gain > 0 else 0.0


def _stretches(frames: Sequence[ScoredFrame], pairs_of: Sequence[list[tuple[int, int]]]) -> list[Stretch]:
    finished: list[Stretch] = []
    running: dict[int, list[tuple[TruePerson, FoundPerson]]] = {}
    for frame, pairs in zip(frames, pairs_of, strict=True):
        now = {frame.true[t].id: (frame.true[t], frame.found[f]) for t, f in pairs}
        ended = [id_ for id_ in running if frame.cut or id_ not in now]
        finished += [_stretch(running.pop(id_)) for id_ in ended]
        for id_, pair in now.items():
            running.setdefault(id_, []).append(pair)
    return finished + [_stretch(pairs_run) for pairs_run in running.values()]


def _stretch(pairs: Sequence[tuple[TruePerson, FoundPerson]]) -> Stretch:
    """One size for the whole stretch: dividing by a size that changes would add its changes to the motion."""
    size = float(np.median([person.size_px for person, _ in pairs]))
    known = np.stack([person.known for person, _ in pairs])[:, :, None]
    true = np.stack([person.keypoints_px[:, :2] for person, _ in pairs]).astype(np.float64) / size
    found = np.stack([person.keypoints_px[:, :2] for _, person in pairs]).astype(np.float64) / size
    return Stretch(np.where(known, true, np.nan), np.where(known, found, np.nan))


def _rms(parts: Sequence[Floats]) -> float:
    values = np.concatenate(parts) if parts else np.empty(0)
    return float(np.sqrt(np.mean(values**2))) if values.size else math.nan
