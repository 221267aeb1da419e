"""Pictures and their people through one affine transform, so that truth moves as the pixels do."""

import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.data import Image
from edge_node.evaluate.coco import FEWEST_LABELLED, SMALL_AREA_PX, Annotation
from edge_node.evaluate.truth import TruePerson

SENSOR_NOISE = 3.0
"""Standard deviation of the noise added to each pixel: without it, a camera that rests would give the same frame again."""

Affine = NDArray[np.float64]
"""float64 [2, 3]: picture to frame, both with (0, 0) at the outer corner of the first pixel."""
Size = tuple[int, int]
"""Width and height in pixels."""
Opacity = NDArray[np.float32]
"""float32 [H, W], 0 where nothing is to 1 where nothing shines through."""


def similarity(scale: float, angle: float, source: tuple[float, float], target: tuple[float, float]) -> Affine:
    """Scale, turn by ``angle`` radians, and bring the point ``source`` to ``target``."""
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cos, -sin, 0.0], [sin, cos, 0.0]])
    matrix[:, 2] = np.array(target) - matrix[:, :2] @ source
    return matrix


def warped(image: Image, matrix: Affine, size_px: Size, border: int) -> Image:
    """``image`` through ``matrix`` into a frame, bilinear, the outside as OpenCV's ``border``; an image that shrinks much is
    softened first, as optics would.
    """
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 0.6:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / scale), dtype=np.uint8)
    return np.asarray(cv2.warpAffine(image, _by_index(matrix), size_px, flags=cv2.INTER_LINEAR, borderMode=border), dtype=np.uint8)


def warped_opacity(opacity: Opacity, matrix: Affine, size_px: Size) -> Opacity:
    """``opacity`` through ``matrix`` into a frame; nothing is outside."""
    return np.asarray(cv2.warpAffine(opacity, _by_index(matrix), size_px, flags=cv2.INTER_LINEAR), dtype=np.float32)


def moved(person: Annotation, matrix: Affine, id_: int, size_px: Size) -> TruePerson:
    """The person through ``matrix``; keypoints that leave the frame are no longer known."""
    keypoints = person.keypoints_px.copy()
    keypoints[:, :2] = keypoints[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] < size_px)).all(axis=1)
    keypoints[~inside, 2] = 0
    area = person.area_px * abs(float(np.linalg.det(matrix[:, :2])))
    enough = int((keypoints[:, 2] > 0).sum()) >= FEWEST_LABELLED and area > SMALL_AREA_PX
    return TruePerson(id_, keypoints, area, demanded=person.measurable and enough)


def noisy(image: Image, seed: int) -> Image:
    """``image`` with reproducible sensor noise: one plate of noise, shifted differently for each ``seed``."""
    plate = _noise_plate(image.shape[:2])
    dy, dx = (int(v) for v in np.random.default_rng(seed).integers(0, 97, 2))
    return np.asarray(cv2.add(image, np.roll(plate, (dy, dx), axis=(0, 1)), dtype=cv2.CV_8U), dtype=np.uint8)


@functools.cache
def _noise_plate(shape: tuple[int, int]) -> NDArray[np.int16]:
    return np.round(np.random.default_rng(0).normal(0, SENSOR_NOISE, (*shape, 3))).astype(np.int16)


def _by_index(matrix: Affine) -> Affine:
    """``matrix`` for OpenCV, which puts (0, 0) at the middle of the first pixel."""
    by_index = matrix.copy()
    by_index[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    return by_index
