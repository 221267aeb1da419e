"""Who of those found is whom of those really there, in one frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.data import Box, KeypointArray
from edge_node.evaluate.precision import require
from edge_node.evaluate.truth import TrueFrame, TruePerson
from edge_node.pose.skeleton import SIGMAS

SAME_PERSON_OKS = 0.5
"""From this OKS on, somebody found is somebody there."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FoundPerson:
    """One person as the node gave them. ``keypoints_px``: float32 [17, 3], x, y in frame pixels, score."""

    id: int
    keypoints_px: KeypointArray


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """What one frame is judged on: those who had to be found, and those found. ``inferences``: what the frame cost."""

    true: tuple[TruePerson, ...]
    found: tuple[FoundPerson, ...]
    cut: bool
    inferences: int


def scored(frame: TrueFrame, found: Sequence[FoundPerson], inferences: int) -> ScoredFrame:
    """The frame less everybody who is neither demanded nor wrong: those hidden, those not annotated, and finds on them."""
    similarity = oks_table(frame.people, found)
    excused = {f for t, f in assign(similarity, SAME_PERSON_OKS) if not frame.people[t].demanded}
    matched = {f for _, f in assign(similarity, SAME_PERSON_OKS)}
    excused |= {i for i, person in enumerate(found) if i not in matched and _lies_in(person.keypoints_px, frame.ignore_px)}
    kept = tuple(person for i, person in enumerate(found) if i not in excused)
    return ScoredFrame(tuple(p for p in frame.people if p.demanded and p.known.any()), kept, frame.cut, inferences)


def oks_table(true: Sequence[TruePerson], found: Sequence[FoundPerson]) -> Floats:
    """Object keypoint similarity of everyone with everyone, float64 [true, found]: COCO's, over the known keypoints."""
    table = np.zeros((len(true), len(found)))
    if not found:
        return table
    places = np.stack([person.keypoints_px[:, :2] for person in found]).astype(np.float64)
    for row, person in enumerate(true):
        known = person.known
        if known.any():
            squared = ((places[:, known] - person.keypoints_px[known, :2]) ** 2).sum(axis=2)
            spread = 2 * (2 * SIGMAS[known].astype(np.float64)) ** 2 * max(person.area_px, 1.0)
            table[row] = np.exp(-squared / spread).mean(axis=1)
    return table


def distances(true: TruePerson, found: FoundPerson) -> Floats:
    """How far each joint is off, float64 [17], in sizes of the person; NaN where its place is not known."""
    off = np.linalg.norm(true.keypoints_px[:, :2].astype(np.float64) - found.keypoints_px[:, :2], axis=1) / true.size_px
    return np.where(true.known, off, np.nan)


def nearest_pairs(true: Sequence[TruePerson], found: Sequence[FoundPerson]) -> list[tuple[int, int]]:
    """Pairs (true, found) with the joints nearest to each other; somebody with no joint within their own size stays alone."""
    closeness = np.zeros((len(true), len(found)))
    for row, person in enumerate(true):
        for column, candidate in enumerate(found):
            closeness[row, column] = np.nanmean(np.clip(1 - distances(person, candidate), 0, None))
    return assign(closeness, 1e-9)


def assign(similarity: Floats, floor: float) -> list[tuple[int, int]]:
    """Pairs (row, column) of the assignment with the largest sum (Hungarian method), each at least ``floor``."""
    optimize = require("scipy", "scipy.optimize")
    allowed = np.where(similarity >= floor, similarity, 0.0)
    rows, columns = optimize.linear_sum_assignment(allowed, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if similarity[r, c] >= floor]


def _lies_in(keypoints_px: KeypointArray, ignored: Sequence[Box]) -> bool:
    """At least half of the keypoints are in one of ``ignored``."""
    x, y = keypoints_px[:, 0], keypoints_px[:, 1]
    return any(bool(np.mean((x >= x0) & (x < x1) & (y >= y0) & (y < y1)) >= 0.5) for x0, y0, x1, y1 in ignored)
