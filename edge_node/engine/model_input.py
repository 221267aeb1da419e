"""Writing a square's pixels into a model's input, whatever numbers it takes."""

import numpy as np
from numpy.typing import NDArray

from edge_node.engine import Fill

_SIGN_BIT = np.uint8(0x80)


class ModelInput:
    """An input of [size, size, 3] numbers of one type. Those of 8 bits are sampled in place, others by way of a picture of its own."""

    def __init__(self, dtype: np.dtype[np.generic], size_px: int) -> None:
        self._signed = dtype == np.int8
        self._picture = None if dtype.itemsize == 1 else np.zeros((size_px, size_px, 3), np.uint8)

    def write(self, fill: Fill, tensor: NDArray[np.generic]) -> None:
        """Sample a square into ``tensor``: values 0..255, of int8 ``pixel - 128``. Raises what ``fill`` raises."""
        if self._picture is not None:
            fill(self._picture)
            np.copyto(tensor, self._picture, casting="unsafe")
            return
        pixels = tensor.view(np.uint8)
        fill(pixels)
        if self._signed:
            np.bitwise_xor(pixels, _SIGN_BIT, out=pixels)
