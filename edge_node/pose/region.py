"""Squares of the frame: taking their pixels for the model, and bringing what it found back into the frame."""

from dataclasses import dataclass

import cv2
import numpy as np

from edge_node.data import Image, KeypointArray, Region
from edge_node.engine import Fill


@dataclass(frozen=True, slots=True)
class Span:
    """Along one axis: the frame's pixels ``start`` to ``end`` lie at ``first`` to ``last`` of the model's input."""

    start: int
    end: int
    first: int
    last: int

    @property
    def scale(self) -> float:
        """Pixels of the frame for each of the input."""
        return (self.end - self.start) / (self.last - self.first)


@dataclass(frozen=True, slots=True)
class Placement:
    """A region of a frame on whole pixels: what of the frame lies where in a model's input of ``size_px`` squared.

    The input is black around that. Both edges of an axis are rounded, so the two axes' scales may differ by a pixel over the whole
    length; the way back is exact.
    """

    size_px: int
    across: Span
    down: Span


def whole_frame(width_px: int, height_px: int) -> Region:
    """The smallest square that holds the frame, with the frame in its middle."""
    side = max(width_px, height_px)
    return Region((width_px - side) / 2, (height_px - side) / 2, side)


def placed(region: Region, width_px: int, height_px: int, size_px: int) -> Placement:
    """``region`` of a frame as a model with an input of ``size_px`` squared gets it."""
    across = _span(region.left_px, region.side_px, width_px, size_px)
    return Placement(size_px, across, _span(region.top_px, region.side_px, height_px, size_px))


def sampler(image: Image, place: Placement) -> Fill:
    """A function that samples ``place`` of ``image`` into the uint8 [size, size, 3] array it is given.

    One bilinear interpolation at the centre of each target pixel, without a prefilter, as the model was trained; what lies
    outside of the frame is black. Of whole pixels ``cv2.resize`` does that in half of the time of ``cv2.warpAffine``.
    """
    across, down, size = place.across, place.down, place.size_px
    pixels = image[down.start : down.end, across.start : across.end]
    shape = (across.last - across.first, down.last - down.first)

    def fill(target: Image) -> None:
        if shape != (size, size) or not pixels.size:
            target.fill(0)
        if pixels.size:
            cv2.resize(pixels, shape, dst=target[down.first : down.last, across.first : across.last], interpolation=cv2.INTER_LINEAR)

    return fill


def to_frame(keypoints: KeypointArray, place: Placement) -> KeypointArray:
    """Keypoints float32 [..., 17, 3] (x, y, score; 0..1 of the model's input) with x and y in frame pixels; a new array."""
    across, down = place.across, place.down
    stretch = np.array((place.size_px * across.scale, place.size_px * down.scale, 1), np.float32)
    shift = np.array((across.start - across.first * across.scale, down.start - down.first * down.scale, 0), np.float32)
    moved: KeypointArray = keypoints * stretch
    moved += shift
    return moved


def _span(start_px: float, side_px: float, length_px: int, size_px: int) -> Span:
    end_px = start_px + side_px
    start, end = max(round(start_px), 0), min(round(end_px), length_px)
    first = 0 if start_px >= 0 else min(round(-start_px / side_px * size_px), size_px - 1)
    last = size_px if end_px <= length_px else max(round((length_px - start_px) / side_px * size_px), first + 1)
    return Span(start, max(end, start), first, last)
