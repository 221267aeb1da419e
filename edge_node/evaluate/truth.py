"""Sequences whose truth is known: what every kind of them gives, frame by frame."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_node.data import Box, Image, KeypointArray

FEWEST_VISIBLE = 5
"""Somebody of a crowd with fewer visible keypoints is hidden: nobody is asked to find them."""


@dataclass(frozen=True, slots=True)
class TruePerson:
    """One person of one frame. ``id`` stays with the person through the sequence.

    ``keypoints_px``: float32 [17, 3], x, y in frame pixels and COCO's visibility: 0 not known (or out of the picture), 1
    hidden, 2 visible. ``area_px``: of the person's outline, for OKS. ``demanded``: nobody who must be found when False
    (covered by another); finding them is no mistake either.
    """

    id: int
    keypoints_px: KeypointArray
    area_px: float
    demanded: bool = True

    @property
    def known(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """bool [17]: the keypoints whose place is known."""
        return np.asarray(self.keypoints_px[:, 2] > 0)

    @property
    def box_px(self) -> Box:
        """Around the known keypoints."""
        return box_around(self.keypoints_px)

    @property
    def size_px(self) -> float:
        """The person's size, by which errors are divided: the longer side of the box around the known keypoints."""
        x0, y0, x1, y1 = self.box_px
        return max(x1 - x0, y1 - y0, 1.0)


@dataclass(frozen=True, slots=True)
class TrueFrame:
    """One frame. ``cut``: it does not go on from the frame before. ``ignore_px``: boxes in which finding somebody is
    neither right nor wrong, because who is there was not annotated.
    """

    image: Image
    people: tuple[TruePerson, ...]
    cut: bool = False
    ignore_px: tuple[Box, ...] = ()


class Sequence(Protocol):
    """A sequence with truth."""

    @property
    def name(self) -> str:
        """Short, for the report."""

    @property
    def fps(self) -> float:
        """Frames per second: the capture times that the node is told."""

    def frames(self) -> Iterator[TrueFrame]:
        """From the first frame, the same each time."""


def box_around(keypoints_px: KeypointArray) -> Box:
    """Around the keypoints whose third value is above 0; zeros when there are none."""
    points = keypoints_px[keypoints_px[:, 2] > 0, :2]
    if not len(points):
        return (0.0, 0.0, 0.0, 0.0)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return (float(x0), float(y0), float(x1), float(y1))


def default_area_px(keypoints_px: KeypointArray) -> float:
    """An outline's area where none is given: 0.75 of the box around the known keypoints, which is the median of COCO's
    people, the box taken as at least a quarter as wide as it is long (somebody seen from the side is no thinner).
    """
    x0, y0, x1, y1 = box_around(keypoints_px)
    longer, shorter = max(x1 - x0, y1 - y0), min(x1 - x0, y1 - y0)
    return 0.75 * longer * max(shorter, longer / 4)
