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
LEAST_CORRELATION = 0.2
"""Motion that agrees less than this at its best lag has no lag that could be told."""

Floats = NDArray[np.float64]


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

    The normalised cross-correlation of the joints' velocities over all stretches, at whole lags; its peak is placed between
    them by the parabola through the three values around it. Velocities far beyond any true one are cut short, so that a
    joint that jumps to another place and back does not drown the rest.
    """
    pairs = [(np.diff(s.true, axis=0), np.diff(s.found, axis=0)) for s in stretches if len(s.true) > 2]
    speeds = np.concatenate([np.abs(true[np.isfinite(true)]) for true, _ in pairs]) if pairs else np.empty(0)
    limit = 3 * float(np.percentile(speeds, 99)) if speeds.size else 0.0
    if limit == 0:
        return math.nan
    lags = range(-LONGEST_LAG, LONGEST_LAG + 1)
    values = [_correlation([(true, np.clip(found, -limit, limit)) for true, found in pairs], lag) for lag in lags]
    best = int(np.argmax(values))
    if values[best] < LEAST_CORRELATION or best in (0, len(values) - 1):
        return math.nan
    before, peak, after = values[best - 1], values[best], values[best + 1]
    bend = before - 2 * peak + after
    return lags[best] + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _correlation(pairs: Sequence[tuple[Floats, Floats]], lag: int) -> float:
    product = true_power = found_power = 0.0
    for true, found in pairs:
        count = len(true) - abs(lag)
        if count < 1:
            continue
        a = true[max(-lag, 0) :][:count]
        b = found[max(lag, 0) :][:count]
        both = np.isfinite(a) & np.isfinite(b)
        a, b = a[both], b[both]
        product += float(a @ b)
        true_power += float(a @ a)
        found_power += float(b @ b)
    power = math.sqrt(true_power * found_power)
    return product / power if power else 0.0


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
