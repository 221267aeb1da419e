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

_NEAR = np.mgrid[-VOTING_REACH : VOTING_REACH + 1, -VOTING_REACH : VOTING_REACH + 1, 1:2].reshape(3, -1).T.astype(np.float32)
"""The cells of a neighbourhood, float32 [25, 3]: rows and columns from its middle, and 1."""

_AROUND = np.ones((3, 3), np.uint8)
_BEFORE = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0]], np.uint8)
"""Of the cells around one, those that come before it when a map is read row by row."""
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

    Of neighbours with the same value only the first counts.
    """
    is_peak = centre > cv2.dilate(centre, _BEFORE)
    is_peak &= centre >= cv2.dilate(centre, _AROUND)
    is_peak &= centre >= threshold
    cells = np.flatnonzero(is_peak)
    values = centre.reshape(-1)[cells]
    order = np.argsort(-values, kind="stable")[:most]
    return cells[order], values[order]


def _joints(heads: Heads, cells: Ints) -> KeypointArray:
    """Keypoints float32 [n, 17, 3] (x, y, score; 0..1 of the square) of the people whose centres are at ``cells``."""
    rows, columns, joints = heads.heatmap.values.shape
    if not cells.size:
        return np.zeros((0, joints, 3), np.float32)
    best = _best_cells(heads.heatmap, _rough_places(heads, cells))
    votes = _voted_places(heads, best)
    found = np.empty((cells.size, joints, 3), np.float32)
    np.divide(votes[..., 1], columns, out=found[..., 0])
    np.divide(votes[..., 0], rows, out=found[..., 1])
    found[..., 2] = heads.heatmap.real(heads.heatmap.values.reshape(-1)[_flat(best, columns, joints)])
    return found


def _voted_places(heads: Heads, best: Ints) -> Floats:
    """Row and column float32 [n, 17, 2], in cells, of joints whose best cells are ``best`` [2, n, 17].

    Each cell of the neighbourhood votes for where its own offset points, with its heatmap value squared for weight: one
    offset is as coarse as its int8 step (0.2 cells), the vote is not. At the border the neighbourhood moves inwards. Source of
    the idea: Papandreou et al. 2017, "Towards Accurate Multi-person Pose Estimation in the Wild" (Hough voting of offsets).
    """
    heatmap, offset = heads.heatmap, heads.offset
    rows, columns, joints = heatmap.values.shape
    middle = np.maximum(best, VOTING_REACH)
    np.minimum(middle, _limits(rows - VOTING_REACH, columns - VOTING_REACH), out=middle)
    cells = _flat(middle, columns, joints)[..., None] + _near_cells(columns, joints)
    weight = _squares(heatmap.scale, heatmap.zero_point, heatmap.logistic).take(heatmap.values.reshape(-1).view(np.uint8).take(cells))
    steps = offset.values.reshape(-1).view(np.int16).take(cells).view(np.int8).reshape(*cells.shape, 2).astype(np.float32)
    votes: Floats = np.matmul(weight[..., None, :], steps)[..., 0, :]
    votes *= offset.scale
    sums = np.matmul(weight, _NEAR)
    votes += sums[..., :2]
    votes /= sums[..., 2:]
    votes -= offset.scale * offset.zero_point
    votes += middle.transpose(1, 2, 0)
    return votes


def _flat(places: Ints, columns: int, joints: int) -> Ints:
    """Index in a flat heatmap of a place [2, n, 17] for each joint."""
    flat: Ints = places[0] * columns
    flat += places[1]
    flat *= joints
    flat += np.arange(joints)
    return flat


@lru_cache(maxsize=4)
def _limits(rows: int, columns: int) -> Ints:
    """Last row and column of a map, [2, 1, 1]."""
    return np.array([[[rows - 1]], [[columns - 1]]])


@lru_cache(maxsize=4)
def _near_cells(columns: int, joints: int) -> Ints:
    """What to add to a cell's flat index in a heatmap to come to each cell of its neighbourhood."""
    return ((_NEAR[:, 0] * columns + _NEAR[:, 1]) * joints).astype(np.intp)


def _rough_places(heads: Heads, cells: Ints) -> Floats:
    """Row and column, in cells, float32 [2, n, 17]: where the regression from each centre puts each joint."""
    rows, columns, channels = heads.regression.values.shape
    steps = heads.regression.real(heads.regression.values.reshape(rows * columns, channels).take(cells, axis=0))
    rough = steps.reshape(cells.size, channels // 2, 2).transpose(2, 0, 1)
    rough = rough + np.array(np.divmod(cells, columns), np.float32)[..., None]
    np.maximum(rough, 0, out=rough)
    return np.minimum(rough, _limits(rows, columns), out=rough)


def _best_cells(heatmap: Quantised, rough: Floats) -> Ints:
    """Row and column, [2, n, 17], of each joint's best cell; its rough place [2, n, 17] where the heatmap is empty."""
    table = _candidates(heatmap)
    away = table[:2, None] - rough[..., None]
    away *= away
    weight = away[0]
    weight += away[1]
    np.sqrt(weight, out=weight)
    weight += DISTANCE_BIAS
    np.divide(table[2], weight, out=weight)
    best = table[:, np.arange(rough.shape[2]), weight.argmax(axis=-1)]
    return np.rint(np.where(best[2] <= 0, rough, best[:2])).astype(np.intp)


def _candidates(heatmap: Quantised) -> Floats:
    """Row, column and value of the heatmap's local maxima above the floor: float32 [3, 17, m], filled up with zeros.

    m is the count of the joint with the most.
    """
    rows, columns, joints = heatmap.values.shape
    levels = heatmap.values.view(np.uint8) ^ _SIGN_BIT
    found = levels == cv2.dilate(levels, _AROUND)
    found &= levels >= _least_level(heatmap.scale, heatmap.zero_point, heatmap.logistic)
    flat = np.flatnonzero(cv2.transpose(found.view(np.uint8).reshape(-1, joints)).view(np.bool_))  # joint by joint
    starts = np.arange(joints + 1) * (rows * columns)
    bounds = flat.searchsorted(starts)
    counts = bounds[1:] - bounds[:-1]
    most = max(1, *counts.tolist())
    joint = np.arange(joints).repeat(counts)
    cell = flat - starts[joint]
    row = cell // columns
    place = np.arange(flat.size) + (np.arange(joints) * most - bounds[:-1])[joint]
    table = np.zeros((3, joints * most), np.float32)
    table[0, place], table[1, place] = row, cell - row * columns
    table[2, place] = heatmap.real(heatmap.values.reshape(-1)[cell * joints + joint])
    return table.reshape(3, joints, most)
