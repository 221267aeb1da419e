"""Skeletons as pictures: the one place that says how people look when they are drawn."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from edge_node.data import Image, Person
from edge_node.pose.skeleton import EDGES, INDEX

Rgb = tuple[int, int, int]
GOLDEN = 0.618034
"""Steps of this share of the colour circle keep neighbouring identities far apart."""
SHIFT = 4
FACE = frozenset(INDEX[name] for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"))


def black(width_px: int, height_px: int) -> Image:
    """An empty picture."""
    return np.zeros((height_px, width_px, 3), np.uint8)


def colour_of(identity: int) -> Rgb:
    """The colour of one identity, the same in every picture."""
    red, green, blue = colorsys.hsv_to_rgb((0.55 + identity * GOLDEN) % 1.0, 0.65, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_people(image: Image, people: Sequence[Person], score_threshold: float = 0.2, labels: bool = True) -> None:
    """Draw everyone's skeleton into ``image``, RGB uint8 [H, W, 3]; joints below ``score_threshold`` are left out."""
    for person in people:
        _draw_person(image, person, score_threshold)
        if labels:
            _label(image, person)


def _draw_person(image: Image, person: Person, score_threshold: float) -> None:
    height_px, width_px = image.shape[:2]
    colour = colour_of(person.id)
    seen = person.keypoints[:, 2] >= score_threshold
    # OpenCV puts (0, 0) into the middle of the first pixel, we at its corner.
    points = person.keypoints[:, :2].astype(np.float64) * (width_px, height_px) - 0.5
    fixed = np.round(np.clip(points, -4 * width_px, 4 * width_px) * (1 << SHIFT)).astype(int).tolist()
    thickness = max(1, round(min(height_px, width_px) / 180))
    for start, end in EDGES:
        if seen[start] and seen[end]:
            cv2.line(image, fixed[start], fixed[end], colour, thickness, cv2.LINE_AA, SHIFT)
    for index, point in enumerate(fixed):
        if seen[index]:
            radius = thickness * (0.9 if index in FACE else 1.4)
            cv2.circle(image, point, round(radius * (1 << SHIFT)), (255, 255, 255), -1, cv2.LINE_AA, SHIFT)


def _label(image: Image, person: Person) -> None:
    height_px, width_px = image.shape[:2]
    scale = max(0.4, min(height_px, width_px) / 900)
    left, top = round(person.box[0] * width_px), round(person.box[1] * height_px)
    place = (left, max(top - 6, round(22 * scale)))
    cv2.putText(image, str(person.id), place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour_of(person.id), 1, cv2.LINE_AA)
