"""Several looks at one person, made one pose: what most of them agree on."""

from collections.abc import Sequence

import numpy as np

from edge_node.data import Pose
from edge_node.pose.similarity import pose_of, side_of

NEAR_SIZES = 0.1
"""Two looks mean the same place of a joint when it is this near, as a share of the person's size."""


def joined(poses: Sequence[Pose], threshold: float) -> Pose:
    """One pose from ``poses`` of one person in one picture: each joint where they agree, its score and the pose's the mean.

    The places of a joint that lie near each other support each other by their scores; those around the one with most support are
    averaged by score, the others are taken for mistakes. ``threshold``: the score from which a keypoint counts.
    """
    if len(poses) == 1:
        return poses[0]
    stack = np.stack([pose.keypoints_px for pose in poses])
    reach_px = NEAR_SIZES * side_of(poses[0].extent_px)
    away_px = np.linalg.norm(stack[:, None, :, :2] - stack[None, :, :, :2], axis=-1)
    near = away_px < reach_px
    support = (near * stack[None, :, :, 2]).sum(axis=1)
    best = support.argmax(axis=0)
    weights = near[best, :, np.arange(stack.shape[1])].T * (stack[..., 2] + np.float32(1e-6))
    keypoints_px = stack.mean(axis=0)
    keypoints_px[:, :2] = (stack[..., :2] * weights[..., None]).sum(axis=0) / weights.sum(axis=0)[:, None]
    return pose_of(keypoints_px, sum(pose.score for pose in poses) / len(poses), threshold)
