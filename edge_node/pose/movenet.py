"""MoveNet's output → people in the square.

The heads are decoded in float, for everyone: a local maximum of the centre head is a person; the regression from there gives
each joint's rough place; the joint is the peak where heatmap / (distance to the rough place + 1.8) is largest; the
offsets there and around place it within the cell. Source: the model's own post-processing (the ops behind its heads), which does
this for one person, with one offset, in steps of the quantised grid.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.data import KeypointArray
from edge_node.engine import Heads, ModelOutput, Quantised, StockPoses, real_values

DISTANCE_BIAS = 1.8
"""Cells added to the distance from the rough place: the model's own constant."""

HEATMAP_FLOOR = 0.05
"""A local maximum of a heatmap below this is no candidate for a joint; without any candidate the joint stays at its rough place."""

CLOSENESS_FLOOR = 0.05
"""Where the closeness mask is smaller, dividing by it would only raise quantisation noise to people."""

VOTING_REACH = 2
"""Cells on each side of the best one that vote on a joint's place."""

_NEAR = np.mgrid[-VOTING_REACH : VOTING_REACH + 1, -VOTING_REACH : VOTING_REACH + 1].reshape(2, -1).T.astype(np.float32)
"""The cells of a neighbourhood, float32 [25, 2]: rows and columns from its middle."""

_AROUND = np.ones((3, 3), np.uint8)
_SIGN_BIT = np.uint8(0x80)

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Finds:
    """Everyone in one square, best centre first.

    ``keypoints``: float32 [n, 17, 3], x, y, score, 0..1 of the square. ``centre``: float32 [n], how sure the centre head is
    of each, 0..1.
    """

    keypoints: KeypointArray
    centre: Floats


def decode(output: ModelOutput, centre_threshold: float, max_finds: int) -> Finds:
    """Everyone whose centre is at least ``centre_threshold``, at most ``max_finds`` of them."""
    if isinstance(output, StockPoses):
        return _from_stock(output)
    centre = _centre_map(output)
    cells, scores = _peaks(centre, centre_threshold, max_finds)
    return Finds(_joints(output, cells), scores)


def _from_stock(output: StockPoses) -> Finds:
    """The finished output says nothing of centres; the mean keypoint score stands for it."""
    keypoints = np.ascontiguousarray(output.keypoints[..., [1, 0, 2]])
    return Finds(keypoints, keypoints[..., 2].mean(axis=-1))


@lru_cache(maxsize=8)
def _squares(scale: float, zero_point: int, logistic: bool) -> Floats:
    """The squares of ``real_values``, never quite nothing, so that they can be weights."""
    squares: Floats = real_values(scale, zero_point, logistic) ** 2 + np.float32(1e-6)
    squares.setflags(write=False)
    return squares


@lru_cache(maxsize=8)
def _least_level(scale: float, zero_point: int, logistic: bool) -> int:
    """The lowest value, less -128, that is no less than ``HEATMAP_FLOOR`` and not the lowest of all, 1 to 255."""
    rising = real_values(scale, zero_point, logistic)[np.arange(-128, 128).astype(np.int8).view(np.uint8)]
    return int(np.clip(np.searchsorted(rising, np.float32(HEATMAP_FLOOR)), 1, 255))


def _centre_map(heads: Heads) -> Floats:
    """The unweighted centre, float32 [rows, columns]."""
    centre = heads.centre.real(heads.centre.values[..., 0])
    if heads.centre_weighted and heads.closeness is not None:
        return (centre / np.maximum(heads.closeness, CLOSENESS_FLOOR)).astype(np.float32, copy=False)
    return centre


def _peaks(centre: Floats, threshold: float, most: int) -> tuple[Ints, Floats]:
    """Flat indices of the local maxima (3 x 3; the border counts) and their values, largest first.

    Of a plateau only the first cell counts.
    """
    columns = centre.shape[1]
    flat = centre.reshape(-1)
    above = np.flatnonzero(flat >= threshold)
    kept: list[int] = []
    lower: set[int] = set()
    # From the highest down, each cell rules out its neighbours. Rows are counted two cells longer, so that none is beside the next.
    for cell in above[np.argsort(-flat[above], kind="stable")].tolist():
        place = cell + 2 * (cell // columns)
        if place not in lower:
            kept.append(cell)
            if len(kept) == most:
                break
        above_it, below_it = place - columns - 2, place + columns + 2
        lower.update((above_it - 1, above_it, above_it + 1, place - 1, place + 1, below_it - 1, below_it, below_it + 1))
    cells = np.array(kept, dtype=np.intp)
    return cells, flat[cells]


def _joints(heads: Heads, cells: Ints) -> KeypointArray:
    """Keypoints float32 [n, 17, 3] (x, y, score; 0..1 of the square) of the people whose centres are at ``cells``."""
    rows, columns, joints = heads.heatmap.values.shape
    if not cells.size:
        return np.zeros((0, joints, 3), np.float32)
    rough_y, rough_x = _rough_places(heads, cells)
    at_y, at_x = _best_cells(heads.heatmap, rough_y, rough_x)
    found = np.empty((cells.size, joints, 3), np.float32)
    found[..., 1], found[..., 0] = _voted_places(heads, at_y, at_x)
    found[..., :2] /= (columns, rows)
    found[..., 2] = heads.heatmap.real(heads.heatmap.values[at_y, at_x, np.arange(joints)])
    return found


def _voted_places(heads: Heads, at_y: Ints, at_x: Ints) -> tuple[Floats, Floats]:
    """y and x, in cells, of joints whose best cells are ``at_y``, ``at_x`` [n, 17].

    Each cell of the neighbourhood votes for where its own offset points, with its heatmap value squared for weight: one
    offset is as coarse as its int8 step (0.2 cells), the vote is not. At the border the neighbourhood moves inwards. Source of
    the idea: Papandreou et al. 2017, "Towards Accurate Multi-person Pose Estimation in the Wild" (Hough voting of offsets).
    """
    rows, columns, joints = heads.heatmap.values.shape
    y = np.minimum(np.maximum(at_y, VOTING_REACH), rows - 1 - VOTING_REACH)
    x = np.minimum(np.maximum(at_x, VOTING_REACH), columns - 1 - VOTING_REACH)
    middle = (y * columns + x) * joints + np.arange(joints)
    cells = middle[..., None] + _near_cells(columns, joints)
    heatmap = heads.heatmap
    weight = _squares(heatmap.scale, heatmap.zero_point, heatmap.logistic)[heatmap.values.reshape(-1).view(np.uint8)[cells]]
    weight /= weight.sum(axis=-1, keepdims=True)
    steps = heads.offset.values.reshape(-1, 2)[cells].astype(np.float32)
    steps -= heads.offset.zero_point
    steps *= heads.offset.scale
    steps += _NEAR
    moved = np.einsum("njk,njkc->njc", weight, steps)
    return y + moved[..., 0], x + moved[..., 1]


@lru_cache(maxsize=4)
def _near_cells(columns: int, joints: int) -> Ints:
    """What to add to a cell's flat index in a heatmap to come to each cell of its neighbourhood."""
    return ((_NEAR[:, 0] * columns + _NEAR[:, 1]) * joints).astype(np.intp)


def _rough_places(heads: Heads, cells: Ints) -> tuple[Floats, Floats]:
    """y and x, in cells, float32 [n, 17]: where the regression from each centre puts each joint."""
    rows, columns, channels = heads.regression.values.shape
    steps = heads.regression.real(heads.regression.values.reshape(rows * columns, channels)[cells])
    steps = steps.reshape(cells.size, channels // 2, 2)
    row = cells[:, None] // columns
    rough_y = steps[..., 0] + row.astype(np.float32)
    rough_x = steps[..., 1] + (cells[:, None] - row * columns).astype(np.float32)
    return np.minimum(np.maximum(rough_y, 0), rows - 1), np.minimum(np.maximum(rough_x, 0), columns - 1)


def _best_cells(heatmap: Quantised, rough_y: Floats, rough_x: Floats) -> tuple[Ints, Ints]:
    """Row and column, [n, 17], of each joint's best cell; its rough place where the heatmap is empty."""
    row, column, value = _candidates(heatmap)
    weight = (row - rough_y[..., None]) ** 2
    weight += (column - rough_x[..., None]) ** 2
    np.sqrt(weight, out=weight)
    weight += DISTANCE_BIAS
    np.divide(value, weight, out=weight)
    best = weight.argmax(axis=-1)
    joint = np.arange(value.shape[0])
    missing = value[joint, best] <= 0
    at_y = np.where(missing, rough_y, row[joint, best])
    at_x = np.where(missing, rough_x, column[joint, best])
    return np.rint(at_y).astype(np.intp), np.rint(at_x).astype(np.intp)


def _candidates(heatmap: Quantised) -> tuple[Floats, Floats, Floats]:
    """Row, column and value of the heatmap's local maxima above the floor: tables [17, m], filled up with zeros.

    m is the count of the joint with the most.
    """
    _, columns, joints = heatmap.values.shape
    levels = heatmap.values.view(np.uint8) ^ _SIGN_BIT
    found = levels == cv2.dilate(levels, _AROUND)
    found &= levels >= _least_level(heatmap.scale, heatmap.zero_point, heatmap.logistic)
    flat = np.flatnonzero(found)
    joint = flat % joints
    flat = flat[np.argsort(joint.astype(np.uint8), kind="stable")]
    counts = np.bincount(joint, minlength=joints)
    most = max(1, *counts.tolist())
    place = np.arange(flat.size) + np.repeat(np.arange(joints) * most - np.cumsum(counts) + counts, counts)
    cell = flat // joints
    row = cell // columns
    table = np.zeros((3, joints * most), np.float32)
    table[0, place], table[1, place] = row, cell - row * columns
    table[2, place] = heatmap.real(heatmap.values.reshape(-1)[flat])
    table = table.reshape(3, joints, most)
    return table[0], table[1], table[2]
