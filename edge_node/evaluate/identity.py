"""How well people are told apart over time: MOTA and HOTA on keypoint similarity."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.evaluate.matching import SAME_PERSON_OKS, Floats, ScoredFrame, assign, oks_table

HOTA_THRESHOLDS = np.arange(0.05, 0.99, 0.05)


@dataclass(frozen=True, slots=True)
class IdentityFigures:
    """``recall``, ``precision``: of persons in frames, a find being right from OKS 0.5 on. ``identity_switches``: how often
    somebody is found under another identity than the last time. ``identities_true``, ``identities_found``: how many
    different ones there were. Shares are NaN where nobody was there (or found).
    """

    recall: float
    precision: float
    identity_switches: int
    mota: float
    hota: float
    detection_accuracy: float
    association_accuracy: float
    identities_true: int
    identities_found: int


@dataclass(frozen=True, slots=True)
class _Clear:
    hits: int
    true: int
    found: int
    switches: int


def identity_figures(frames: Sequence[ScoredFrame]) -> IdentityFigures:
    """The figures of a sequence. After a cut nobody is expected to be known again: true ids are new ones then."""
    tables = [oks_table(frame.true, frame.found) for frame in frames]
    clear = _clear(frames, tables)
    hota, detection, association = _hota(frames, tables)
    wrong = (clear.true - clear.hits) + (clear.found - clear.hits) + clear.switches
    return IdentityFigures(
        recall=_share(clear.hits, clear.true),
        precision=_share(clear.hits, clear.found),
        identity_switches=clear.switches,
        mota=1 - wrong / clear.true if clear.true else math.nan,
        hota=hota,
        detection_accuracy=detection,
        association_accuracy=association,
        identities_true=len({person.id for frame in frames for person in frame.true}),
        identities_found=len({person.id for frame in frames for person in frame.found}),
    )


def _clear(frames: Sequence[ScoredFrame], tables: Sequence[Floats]) -> _Clear:
    """Counts of CLEAR MOT (Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance", 2008): a pair of the
    frame before stays a pair while it fits; the others are assigned anew.
    """
    last: dict[int, int] = {}
    hits = switches = 0
    for frame, table in zip(frames, tables, strict=True):
        pairs = _with_continuity(frame, table, last)
        hits += len(pairs)
        for t, f in pairs:
            true_id, found_id = frame.true[t].id, frame.found[f].id
            switches += last.get(true_id, found_id) != found_id
            last[true_id] = found_id
    return _Clear(hits, sum(len(f.true) for f in frames), sum(len(f.found) for f in frames), switches)


def _with_continuity(frame: ScoredFrame, table: Floats, last: dict[int, int]) -> list[tuple[int, int]]:
    column_of = {person.id: column for column, person in enumerate(frame.found)}
    kept = [(row, column_of[last[person.id]]) for row, person in enumerate(frame.true) if last.get(person.id) in column_of]
    kept = [(row, column) for row, column in kept if table[row, column] >= SAME_PERSON_OKS]
    columns = [column for _, column in kept]
    if len(set(columns)) < len(columns):  # two people were last seen under one identity: the better fit keeps it
        kept = [pair for pair in kept if table[pair] == max(table[row, pair[1]] for row, c in kept if c == pair[1])]
    rest = table.copy()
    for row, column in kept:
        rest[row, :] = 0
        rest[:, column] = 0
    return kept + assign(rest, SAME_PERSON_OKS)


def _hota(frames: Sequence[ScoredFrame], tables: Sequence[Floats]) -> tuple[float, float, float]:
    """HOTA, detection and association accuracy, each the mean over the similarity thresholds.

    Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking", 2020. As in its authors' program, the
    assignment of each frame maximises similarity times how well the two identities overlap over the whole sequence.
    """
    true_frames = Counter(person.id for frame in frames for person in frame.true)
    found_frames = Counter(person.id for frame in frames for person in frame.found)
    if not true_frames or not found_frames:
        return (0.0, 0.0, 0.0) if true_frames or found_frames else (math.nan, math.nan, math.nan)
    alignment = _alignment(frames, tables, true_frames, found_frames)
    pairs: list[tuple[int, int, float]] = []
    for frame, table in zip(frames, tables, strict=True):
        weights = np.array([[alignment.get((t.id, f.id), 0.0) for f in frame.found] for t in frame.true]).reshape(table.shape)
        pairs += [(frame.true[t].id, frame.found[f].id, float(table[t, f])) for t, f in assign(weights * table, 1e-12)]
    detection, association, both = [], [], []
    total = true_frames.total() + found_frames.total()
    for threshold in HOTA_THRESHOLDS:
        together = Counter((t, f) for t, f, similarity in pairs if similarity >= threshold)
        hits = together.total()
        kept = sum(n * n / (true_frames[t] + found_frames[f] - n) for (t, f), n in together.items()) / max(hits, 1)
        accuracy = hits / (total - hits)
        detection.append(accuracy)
        association.append(kept)
        both.append(math.sqrt(accuracy * kept))
    return float(np.mean(both)), float(np.mean(detection)), float(np.mean(association))


def _alignment(
    frames: Sequence[ScoredFrame], tables: Sequence[Floats], true_frames: Counter[int], found_frames: Counter[int]
) -> dict[tuple[int, int], float]:
    """How well two identities overlap over the sequence, by a soft count of the frames in which they are alike."""
    soft: dict[tuple[int, int], float] = {}
    for frame, table in zip(frames, tables, strict=True):
        shared = table.sum(axis=0, keepdims=True) + table.sum(axis=1, keepdims=True) - table
        portion = np.divide(table, shared, out=np.zeros_like(table), where=shared > 1e-9)
        for row, true in enumerate(frame.true):
            for column, found in enumerate(frame.found):
                key = (true.id, found.id)
                soft[key] = soft.get(key, 0.0) + float(portion[row, column])
    return {(t, f): value / (true_frames[t] + found_frames[f] - value) for (t, f), value in soft.items()}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan
