"""Limbs of a pictured person set in motion: joints turn about joints, and the pixels follow.

The bones' ends move exactly; pixels between follow the bones near them by Shepard's interpolation (1968). So a still gives
moving arms and legs whose truth is exact.
"""

import itertools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.data import Image, KeypointArray
from edge_node.evaluate.warp import Opacity
from edge_node.pose.skeleton import INDEX

CHAINS = (
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_hip", "left_knee", "left_ankle"),
    ("right_hip", "right_knee", "right_ankle"),
)
SWING = (0.3, 0.3, 0.18, 0.18)
"""How far the upper part of each limb turns each way, in radians; the lower part turns LOWER times as far."""
LOWER = 1.6
STILL = ("nose", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_hip", "right_hip")
PER_BONE = 6
GRID_PX = 6
"""The field is computed on so coarse a grid and interpolated."""

Points = NDArray[np.float64]
"""float64 [n, 2]: x, y in pixels."""


class Limbs:
    """The limbs of one cut-out, swinging once in ``period_s``; ``reach`` 1 as somebody who walks, 2 twice as far."""

    def __init__(self, keypoints_px: KeypointArray, size_px: tuple[int, int], period_s: float, reach: float = 1.0) -> None:
        self._rest = keypoints_px.astype(np.float64)
        self._size = size_px
        self._period_s = period_s
        self._reach = reach
        columns, rows = (-(-side // GRID_PX) + 1 for side in size_px)
        self._grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1) * float(GRID_PX)

    def keypoints(self, t_s: float) -> KeypointArray:
        """The keypoints at ``t_s``: float32 [17, 3]."""
        moved = self._rest.copy()
        for number, (chain, swing) in enumerate(zip(CHAINS, SWING, strict=True)):
            root, middle, end = (INDEX[name] for name in chain)
            angle = self._reach * swing * math.sin(2 * math.pi * t_s / self._period_s + (math.pi if number in (1, 2) else 0))
            moved[middle, :2] = moved[root, :2] + _turned(self._rest[middle, :2] - self._rest[root, :2], angle)
            moved[end, :2] = moved[middle, :2] + _turned(self._rest[end, :2] - self._rest[middle, :2], LOWER * angle)
        return moved.astype(np.float32)

    def drawn(self, image: Image, opacity: Opacity, t_s: float) -> tuple[Image, Opacity]:
        """The picture and its opacity with the limbs as they are at ``t_s``."""
        now = self.keypoints(t_s)
        target, source = self._along_bones(now), self._along_bones(self._rest)
        apart = ((self._grid[:, :, None] - target) ** 2).sum(axis=3)
        weight = 1 / (apart + 1e-3) ** 2
        offset = weight @ (source - target) / weight.sum(axis=2)[..., None]
        lookup = (self._grid + offset).astype(np.float32)
        width, height = self._size
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        # A pixel's middle, in steps of the grid; its source is again counted from the middle of the first pixel.
        fine = cv2.remap(lookup, (x + 0.5) / GRID_PX, (y + 0.5) / GRID_PX, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - np.float32(
            0.5
        )
        pixels = cv2.remap(image, fine, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(pixels, np.uint8), np.asarray(cv2.remap(opacity, fine, None, cv2.INTER_LINEAR), np.float32)

    def _along_bones(self, keypoints: NDArray[np.floating]) -> Points:
        """Points that lead the pixels: along each limb, and those that stay."""
        known = self._rest[:, 2] > 0
        points = [keypoints[INDEX[name], :2] for name in STILL if known[INDEX[name]]]
        share = np.linspace(0, 1, PER_BONE)[:, None]
        for chain in CHAINS:
            for a, b in itertools.pairwise(chain):
                start, end = keypoints[INDEX[a]], keypoints[INDEX[b]]
                if known[INDEX[a]] and known[INDEX[b]]:
                    points += list(start[:2] + share * (end[:2] - start[:2]))
        return np.array(points, dtype=np.float64)


def _turned(vector: Points, angle: float) -> Points:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])
