"""People cut out of annotated pictures at run time, to be put elsewhere with their joints."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.data import Box, Image
from edge_node.evaluate.coco import Annotation, AnnotationError, Picture
from edge_node.pose.skeleton import EDGES, INDEX

LEAST_HEIGHT_PX = 150
FEWEST_LABELLED = 13
WHOLE_BODY = tuple(INDEX[name] for name in ("left_shoulder", "right_shoulder", "left_hip", "right_hip", "left_ankle", "right_ankle"))
MARGIN = 0.1
"""Of the person's height, around their box."""


@dataclass(frozen=True, slots=True)
class Cutout:
    """``image`` RGB uint8 [h, w, 3] and ``opacity`` float32 [h, w], 0..1. ``person``: the annotation, in the cut-out's pixels."""

    image: Image
    opacity: NDArray[np.float32]
    person: Annotation

    @property
    def height_px(self) -> float:
        """From top to toe."""
        return self.person.box_px[3] - self.person.box_px[1]


def cutouts(pictures: Iterable[Picture], wanted: int) -> list[Cutout]:
    """The first ``wanted`` people who stand alone, upright and whole. Raises ``AnnotationError`` when there are fewer."""
    found: list[Cutout] = []
    for picture in pictures:
        fitting = [person for person in picture.people if _fits(person, picture.people)]
        if fitting:
            image = picture.read()
            inside = [person for person in fitting if _is_in(image, person)]
            found += [_cut(image, person) for person in inside[: wanted - len(found)]]
        if len(found) == wanted:
            return found
    raise AnnotationError(f"a crowd of {wanted} needs as many people who stand alone, upright and whole; the pictures show {len(found)}")


def _fits(person: Annotation, everyone: Iterable[Annotation]) -> bool:
    x0, y0, x1, y1 = person.box_px
    if not person.measurable or person.labelled < FEWEST_LABELLED or x1 <= x0 or y1 - y0 < max(LEAST_HEIGHT_PX, 1.3 * (x1 - x0)):
        return False
    if (person.keypoints_px[list(WHOLE_BODY), 2] == 0).any():
        return False
    return not any(_shared(person.box_px, other.box_px) > 0.1 for other in everyone if other is not person)


def _is_in(image: Image, person: Annotation) -> bool:
    """The box is in the picture, and the keypoints are in what is cut out around it."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = person.box_px
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return False
    margin = MARGIN * (y1 - y0)
    places = person.keypoints_px[person.keypoints_px[:, 2] > 0, :2]
    return bool(((places >= (x0 - margin, y0 - margin)) & (places <= (x1 + margin, y1 + margin))).all())


def _shared(box: Box, other: Box) -> float:
    """Share of ``box`` that ``other`` covers."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    return max(width, 0) * max(height, 0) / ((box[2] - box[0]) * (box[3] - box[1]))


def _cut(image: Image, person: Annotation) -> Cutout:
    x0, y0, x1, y1 = person.box_px
    margin = MARGIN * (y1 - y0)
    left, top = max(int(x0 - margin), 0), max(int(y0 - margin), 0)
    part = np.ascontiguousarray(image[top : int(y1 + margin), left : int(x1 + margin)])
    keypoints = person.keypoints_px - np.array([left, top, 0], np.float32)
    moved = Annotation(keypoints, (x0 - left, y0 - top, x1 - left, y1 - top), person.area_px, crowd=False)
    return Cutout(part, _opacity(part, moved), moved)


def _opacity(part: Image, person: Annotation) -> NDArray[np.float32]:
    """Who is the person and who the background, by GrabCut (Rother, Kolmogorov, Blake 2004): outside the box surely
    background, along the bones surely the person; its border softened.
    """
    mask = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    x0, y0, x1, y1 = (round(v) for v in person.box_px)
    mask[y0:y1, x0:x1] = cv2.GC_PR_BGD
    thick = max(round(0.05 * (y1 - y0)), 2)
    for likely, width in ((cv2.GC_PR_FGD, 3 * thick), (cv2.GC_FGD, thick)):
        for a, b in EDGES:
            if person.keypoints_px[a, 2] > 0 and person.keypoints_px[b, 2] > 0:
                ends = [tuple(round(float(v)) for v in person.keypoints_px[k, :2]) for k in (a, b)]
                cv2.line(mask, ends[0], ends[1], likely, width)
    cv2.setRNGSeed(1)
    cv2.grabCut(part, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    solid = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(solid, (0, 0), 1.5), dtype=np.float32)
