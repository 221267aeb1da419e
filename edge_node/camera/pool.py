"""Picture memory that is used again once nobody looks at it any more: no allocation and no page fault for each frame."""

import sys

import numpy as np

from edge_node.data import Image


class ImagePool:
    """Hands out uint8 [H, W, 3] arrays. An array is free again when nobody but the pool refers to it (a view counts, too).

    ``take`` never blocks: when all ``size`` arrays are in use, the caller gets a fresh one that the pool does not keep.
    """

    def __init__(self, size: int = 6) -> None:
        self._size = size
        self._images: list[Image] = []
        self._unused_count = _references([np.empty((1, 1, 3), np.uint8)], 0)

    def take(self, height_px: int, width_px: int) -> Image:
        """An array whose content is arbitrary."""
        shape = (height_px, width_px, 3)
        if self._images and self._images[0].shape != shape:
            self._images.clear()
        for index in range(len(self._images)):
            if _references(self._images, index) == self._unused_count:
                return self._images[index]
        image = np.empty(shape, np.uint8)
        if len(self._images) < self._size:
            self._images.append(image)
        return image


def _references(images: list[Image], index: int) -> int:
    """CPython's count of references to one array; how many of them are this call's own differs between versions."""
    return sys.getrefcount(images[index])
