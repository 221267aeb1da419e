"""A square's pixels in inputs of every type of number that models take."""

import numpy as np
import pytest

from edge_node.engine.model_input import ModelInput


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize(("dtype", "less"), [(np.uint8, 0), (np.int8, 128), (np.int32, 0), (np.float32, 0)])
def test_every_pixel_arrives_as_the_number_that_the_model_takes(pixels, dtype, less):
    tensor = np.zeros((4, 4, 3), dtype)
    taken = ModelInput(np.dtype(dtype), 4)
    for picture in (pixels, pixels[::-1]):
        taken.write(lambda view, picture=picture: np.copyto(view, picture), tensor)
        assert np.array_equal(tensor.astype(int), picture.astype(int) - less)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_eight_bits_are_sampled_straight_into_the_tensor(dtype):
    tensor = np.zeros((4, 4, 3), dtype)

    def fill(view):
        assert np.shares_memory(view, tensor)

    ModelInput(np.dtype(dtype), 4).write(fill, tensor)
