"""How alike two poses are, and which of several finds of one person stays."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edge_node.data import Box, KeypointArray, Pose
from edge_node.pose.skeleton import SIGMAS

Floats = NDArray[np.float32]

_SUM = np.ones(len(SIGMAS), np.float32)

PARAMETRIC_LAMBDA, PARAMETRIC_SIGMA, PARAMETRIC_LIMIT = 1.7, 2.65, 22.48
LEAST_ASPECT = 0.4
"""A body is taken to be at least so wide (or high) as a share of its longer side: seen from the side, an arm stretched out."""


def extent_px(keypoints_px: KeypointArray, threshold: float) -> Box:
    """x0, y0, x1, y1 of the keypoints whose score is at least ``threshold``; of all when fewer than three are."""
    # Plain Python: for 17 points it is several times as quick as a handful of numpy calls, and a loop quicker than a list of pairs.
    points = keypoints_px.tolist()
    xs, ys = [], []
    for x, y, score in points:
        if score >= threshold:
            xs.append(x)
            ys.append(y)
    if len(xs) < 3:
        xs, ys = [x for x, _, _ in points], [y for _, y, _ in points]
    return min(xs), min(ys), max(xs), max(ys)


def extents_px(poses: KeypointArray, threshold: float) -> list[Box]:
    """The same for each of several poses [n, 17, 3]."""
    if len(poses) < 6:  # as many as numpy's calls take the time of
        return [extent_px(pose, threshold) for pose in poses]
    ends = np.empty((4, poses.shape[1], len(poses)), np.float32)  # x, y, -x, -y: one search for the lowest finds all four sides
    ends[:2] = poses.T[:2]
    np.negative(ends[:2], out=ends[2:])
    left_out = poses.T[2] < threshold
    left_out &= left_out.sum(axis=0, dtype=np.uint8) <= poses.shape[1] - 3
    np.copyto(ends, np.inf, where=left_out)
    return [(x0, y0, -x1, -y1) for x0, y0, x1, y1 in ends.min(axis=1).T.tolist()]


def pose_of(keypoints_px: KeypointArray, score: float, threshold: float) -> Pose:
    """A pose with the extent of its keypoints whose score is at least ``threshold``."""
    return Pose(keypoints_px, score, extent_px(keypoints_px, threshold))


def side_of(extent: Box) -> float:
    """The longer side of an extent, in pixels; at least 1."""
    x0, y0, x1, y1 = extent
    return max(x1 - x0, y1 - y0, 1.0)


def areas_px(extents: Iterable[Box]) -> Floats:
    """float32 [n]: area of each pose's extent, in square pixels, as OKS wants it; never thin."""
    return np.array([area_of(extent) for extent in extents], np.float32)


def area_of(extent: Box) -> float:
    """The same for one extent."""
    x0, y0, x1, y1 = extent
    width, height = x1 - x0, y1 - y0
    longer, shorter = (width, height) if width > height else (height, width)
    return longer * max(shorter, LEAST_ASPECT * longer) + 1


def oks(a: KeypointArray, b: KeypointArray, area_px: Floats, threshold: float, looseness: float = 1.0) -> Floats:
    """Object keypoint similarity float32 [n, m] of poses ``a`` [n, 17, 3] and ``b`` [m, 17, 3]; ``area_px`` [m] belongs to ``b``.

    Source: COCO's keypoint evaluation. Only joints count whose score reaches ``threshold`` in both; a pair with fewer than three
    of these is compared on all joints. ``looseness`` multiplies the spread of each joint.
    """
    x: Floats = a[:, None, :, 0] - b[:, :, 0]
    y = a[:, None, :, 1] - b[:, :, 1]
    x *= x
    y *= y
    x += y
    x *= _exponents(looseness) / area_px[:, None]
    np.exp(x, out=x)
    counted = (np.minimum(a[:, None, :, 2], b[:, :, 2]) >= threshold).astype(np.float32)
    count = counted @ _SUM  # quicker than a sum along the last axis
    few = count < 3
    if few.any():
        counted[few] = 1
        count[few] = counted.shape[-1]
    x *= counted
    similarity = x @ _SUM
    similarity /= count
    return similarity


@lru_cache(maxsize=4)
def _exponents(looseness: float) -> Floats:
    """float32 [17]: the exponent of each joint's likeness for a distance of 1 in a person of area 1."""
    exponents = np.float32(-0.5) / (2 * looseness * SIGMAS) ** 2
    exponents.setflags(write=False)
    return exponents


def stacked(poses: Sequence[KeypointArray]) -> KeypointArray:
    """float32 [n, 17, 3], a new array; there must be one pose at least."""
    return np.concatenate(poses).reshape(len(poses), -1, 3)  # for a handful several times as quick as np.stack


def suppress(poses: Sequence[Pose], threshold: float, most_alike: float) -> list[int]:
    """Indices of the poses that stay, best first: of poses more alike (OKS) than ``most_alike`` only the best.

    Source: OKS NMS, Papandreou et al. 2017, "Towards Accurate Multi-person Pose Estimation in the Wild".
    """
    if len(poses) < 2:
        return list(range(len(poses)))
    stack = stacked([p.keypoints_px for p in poses])
    return _best_of_each(poses, oks(stack, stack, areas_px(p.extent_px for p in poses), threshold) > most_alike)


def suppress_parametric(poses: Sequence[Pose]) -> list[int]:
    """The same by parametric pose NMS: two poses are one when enough sure joints lie near each other.

    Source: Fang et al. 2017, "RMPE: Regional Multi-person Pose Estimation": the sum over joints of tanh(score) tanh(score) where
    the joints lie within a tenth of the person's size, plus lambda times that of exp(-distance / sigma). The constants are
    the ones its authors learned; distances are in tenths of the better pose's size.
    """
    if len(poses) < 2:
        return list(range(len(poses)))
    stack = stacked([p.keypoints_px for p in poses])
    reach = 0.1 * np.array([side_of(p.extent_px) for p in poses])
    away = np.linalg.norm(stack[:, None, :, :2] - stack[None, :, :, :2], axis=-1) / reach[None, :, None]
    sure = np.tanh(stack[..., 2])
    soft = (sure[:, None] * sure[None, :] * (away <= 1)).sum(axis=-1)
    spatial = np.exp(-away / PARAMETRIC_SIGMA).sum(axis=-1)
    return _best_of_each(poses, soft + PARAMETRIC_LAMBDA * spatial > PARAMETRIC_LIMIT)


def _best_of_each(poses: Sequence[Pose], one: NDArray[np.bool_]) -> list[int]:
    """Greedily from the best score down; ``one[i, k]``: pose i is the same as k, if k is the better one."""
    same = one.tolist()
    kept: list[int] = []
    for index in sorted(range(len(poses)), key=lambda i: -poses[i].score):
        if not any(same[index][better] for better in kept):
            kept.append(index)
    return kept
