"""Squares of the frame: taking their pixels for the model, and bringing what it found back into the frame."""

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.data import Image, KeypointArray, Region
from edge_node.engine import Fill


def whole_frame(width_px: int, height_px: int) -> Region:
    """The smallest square that holds the frame, with the frame in its middle."""
    side = max(width_px, height_px)
    return Region((width_px - side) / 2, (height_px - side) / 2, side)


def sampler(image: Image, region: Region) -> Fill:
    """A function that samples ``region`` of ``image`` into the uint8 [size, size, 3] array it is given.

    One bilinear interpolation at the centre of each target pixel, without a prefilter, as the model was trained; what lies
    outside of the frame is black.
    """

    def fill(target: NDArray[np.uint8]) -> None:
        size = target.shape[0]
        scale = region.side_px / size
        # Pixel i covers i .. i+1, its centre is i + 0.5; OpenCV counts pixel centres as whole numbers.
        shift = 0.5 * scale - 0.5
        source_of_target = np.array([[scale, 0, region.left_px + shift], [0, scale, region.top_px + shift]])
        cv2.warpAffine(
            image,
            source_of_target,
            (size, size),
            dst=target,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )

    return fill


def to_frame(keypoints: KeypointArray, region: Region) -> KeypointArray:
    """Keypoints float32 [..., 17, 3] (x, y, score; 0..1 of the square) with x and y in frame pixels; a new array."""
    moved = keypoints.copy()
    moved[..., :2] *= region.side_px
    moved[..., 0] += region.left_px
    moved[..., 1] += region.top_px
    return moved
