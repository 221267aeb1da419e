"""Finds as the model gives them: a standing body, put where a test wants it."""

import numpy as np

from edge_node.data import Pose
from edge_node.pose.similarity import pose_of

THRESHOLD = 0.2
_HEAD = [(0, 4), (-2, 2), (2, 2), (-4, 3), (4, 3)]
_ARMS = [(-11, 18), (11, 18), (-15, 34), (15, 34), (-16, 48), (16, 48)]
_LEGS = [(-7, 50), (7, 50), (-7, 74), (7, 74), (-7, 100), (7, 100)]
_STANDING = np.array([*_HEAD, *_ARMS, *_LEGS], np.float32)
"""x from the middle and y from the top, in hundredths of the height; the topmost joint lies at 2, the lowest at 100."""


def standing(x: float = 300.0, y: float = 300.0, height_px: float = 98.0, score: float = 0.6, joints: float = 0.8) -> Pose:
    """Somebody whose joints' extent has its middle at (x, y) and is ``height_px`` high. ``joints``: score of each joint."""
    points = (_STANDING - (0, 51)) * (height_px / 98) + (x, y)
    return pose_of(np.column_stack([points, np.full(17, joints)]).astype(np.float32), score, THRESHOLD)
