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
Levels = NDArray[np.uint8]


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
    centres, scores = _centres(output, centre_threshold, max_finds)
    return Finds(_joints(output, centres), scores)


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
def _least_level(scale: float, zero_point: int, logistic: bool, least: float) -> int:
    """The lowest level (see ``_levels``) whose value is no less than ``least`` and not the lowest of all, 1 to 255."""
    rising = real_values(scale, zero_point, logistic)[np.arange(-128, 128).astype(np.int8).view(np.uint8)]
    return int(np.clip(np.searchsorted(rising, np.float32(least)), 1, 255))


def _levels(head: Quantised) -> Levels:
    """The stored values from 0 to 255, which OpenCV can compare; a higher level is a higher value, or the same."""
    return head.values.view(np.uint8) ^ _SIGN_BIT


def _centres(heads: Heads, threshold: float, most: int) -> tuple[Ints, Floats]:
    """People's centres: cells, and how sure the unweighted centre is of each; the surest first."""
    centre = heads.centre
    if heads.centre_weighted and heads.closeness is not None:
        unweighted = (centre.real(centre.values[..., 0]) / np.maximum(heads.closeness, CLOSENESS_FLOOR)).astype(np.float32, copy=False)
        cells = _peaks(unweighted, threshold)
        scores = unweighted.reshape(-1)[cells]
    else:
        cells = _peaks(_levels(centre)[..., 0], _least_level(centre.scale, centre.zero_point, centre.logistic, threshold))
        scores = centre.real(centre.values.reshape(-1)[cells])
    order = np.argsort(-scores, kind="stable")[:most]
    return cells[order], scores[order]


def _peaks(centre: Floats | Levels, least: float) -> Ints:
    """Cells of the local maxima of at least ``least`` (3 x 3; the border counts), of neighbours with the same value only the first."""
    is_peak = centre > cv2.dilate(centre, _BEFORE)
    is_peak &= centre >= cv2.dilate(centre, _AROUND)
    is_peak &= centre >= least
    return np.flatnonzero(is_peak)


def _joints(heads: Heads, centres: Ints) -> KeypointArray:
    """Keypoints float32 [n, 17, 3] (x, y, score; 0..1 of the square) of the people whose centres are in the cells ``centres``."""
    heatmap = heads.heatmap
    rows, columns, joints = heatmap.values.shape
    if not centres.size:
        return np.zeros((0, joints, 3), np.float32)
    best = _best_cells(heatmap, _rough_places(heads, centres))
    places = _voted_places(heads, best)
    found = np.empty((centres.size, joints, 3), np.float32)
    np.divide(places[..., 1], columns, out=found[..., 0])
    np.divide(places[..., 0], rows, out=found[..., 1])
    found[..., 2] = heatmap.real(heatmap.values.reshape(-1)[_flat(best, joints)])
    return found


def _voted_places(heads: Heads, best: Ints) -> Floats:
    """Row and column float32 [n, 17, 2] of joints whose best cells are ``best`` [n, 17].

    Each cell of the neighbourhood votes for where its own offset points, with its heatmap value squared for weight: one
    offset is as coarse as its int8 step (0.2 cells), the vote is not. At the border the neighbourhood moves inwards. Source of
    the idea: Papandreou et al. 2017, "Towards Accurate Multi-person Pose Estimation in the Wild" (Hough voting of offsets).
    """
    heatmap, offset = heads.heatmap, heads.offset
    rows, columns, joints = heatmap.values.shape
    middle = _inner_cells(rows, columns)[best]
    near = _flat(middle, joints)[..., None] + _near_cells(columns, joints)
    weight = _squares(heatmap.scale, heatmap.zero_point, heatmap.logistic).take(heatmap.values.reshape(-1).view(np.uint8).take(near))
    steps = offset.values.reshape(-1).view(np.int16).take(near).view(np.int8).reshape(*near.shape, 2).astype(np.float32)
    votes: Floats = np.matmul(weight[..., None, :], steps)[..., 0, :]
    votes *= offset.scale
    sums = np.matmul(weight, _NEAR)
    votes += sums[..., :2]
    votes /= sums[..., 2:]
    votes -= offset.scale * offset.zero_point
    votes += _grid(rows, columns)[middle]
    return votes


def _rough_places(heads: Heads, centres: Ints) -> Floats:
    """Row and column float32 [2, n, 17]: where the regression from each centre puts each joint."""
    rows, columns, channels = heads.regression.values.shape
    steps = heads.regression.real(heads.regression.values.reshape(rows * columns, channels)[centres])
    rough = np.ascontiguousarray(steps.reshape(centres.size, channels // 2, 2).transpose(2, 0, 1))
    rough += _grid(rows, columns)[centres].T[..., None]
    np.maximum(rough, 0, out=rough)
    return np.minimum(rough, _last(rows, columns), out=rough)


def _best_cells(heatmap: Quantised, rough: Floats) -> Ints:
    """Each joint's best cell [n, 17]; the one at its rough place [2, n, 17] where the heatmap is empty."""
    cells, first, table = _candidates(heatmap)
    away = table[:2, None] - rough[..., None]
    away *= away
    weight = away[0]
    weight += away[1]
    np.sqrt(weight, out=weight)
    weight += DISTANCE_BIAS
    np.divide(table[2], weight, out=weight)
    best = weight.argmax(axis=-1)
    best += first[:-1]
    empty = first[1:] == first[:-1]
    if not empty.any():
        chosen: Ints = cells[best]
    else:
        row, column = np.rint(rough).astype(np.intp)
        chosen = np.where(empty, row * heatmap.values.shape[1] + column, np.append(cells, 0)[best])
    return chosen


def _candidates(heatmap: Quantised) -> tuple[Ints, Ints, Floats]:
    """The heatmap's local maxima above the floor, joint by joint.

    Their cells [c], the number of each joint's first among them [17], at the end c, and row, column and value as float32
    [3, 17, m], filled up with zeros; m is the count of the joint with the most.
    """
    rows, columns, joints = heatmap.values.shape
    levels = _levels(heatmap)
    found = levels == cv2.dilate(levels, _AROUND)
    found &= levels >= _least_level(heatmap.scale, heatmap.zero_point, heatmap.logistic, HEATMAP_FLOOR)
    flat = np.flatnonzero(cv2.transpose(found.view(np.uint8).reshape(-1, joints)).view(np.bool_))  # joint by joint
    joint, cells = np.divmod(flat, rows * columns)
    first = joint.searchsorted(np.arange(joints + 1))
    most = max(1, *(first[1:] - first[:-1]).tolist())
    place = np.arange(flat.size) + (np.arange(joints) * most - first[:-1])[joint]
    table = np.zeros((3, joints * most), np.float32)
    row, column = _grid(rows, columns).T
    table[0, place], table[1, place] = row[cells], column[cells]
    table[2, place] = heatmap.real(heatmap.values.reshape(-1)[cells * joints + joint])
    return cells, first, table.reshape(3, joints, most)


def _flat(cells: Ints, joints: int) -> Ints:
    """Index in a flat heatmap of the cells [n, 17], each for its joint."""
    flat: Ints = cells * joints
    flat += np.arange(joints)
    return flat


@lru_cache(maxsize=4)
def _grid(rows: int, columns: int) -> Floats:
    """Row and column of each cell of a map, float32 [cells, 2]."""
    return np.mgrid[:rows, :columns].reshape(2, -1).T.astype(np.float32)


@lru_cache(maxsize=4)
def _last(rows: int, columns: int) -> Floats:
    """Last row and column of a map, float32 [2, 1, 1]."""
    return np.array([[[rows - 1]], [[columns - 1]]], np.float32)


@lru_cache(maxsize=4)
def _inner_cells(rows: int, columns: int) -> Ints:
    """For each cell of a map the nearest one whose neighbourhood lies within, [cells]."""
    row, column = np.mgrid[:rows, :columns]
    last_row, last_column = rows - 1 - VOTING_REACH, columns - 1 - VOTING_REACH
    inner: Ints = row.clip(VOTING_REACH, last_row) * columns + column.clip(VOTING_REACH, last_column)
    return inner.reshape(-1)


@lru_cache(maxsize=4)
def _near_cells(columns: int, joints: int) -> Ints:
    """What to add to a cell's index in a flat heatmap to come to each cell of its neighbourhood, [25]."""
    return ((_NEAR[:, 0] * columns + _NEAR[:, 1]) * joints).astype(np.intp)
