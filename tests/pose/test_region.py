import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_node.data import Region
from edge_node.pose.region import sampler, to_frame, whole_frame

sides = st.floats(4, 2000)
corners = st.floats(-500, 2000)


@given(corners, corners, sides, st.floats(0, 1), st.floats(0, 1))
def test_a_point_of_the_square_lies_where_the_region_says(left, top, side, u, v):
    keypoints = np.tile(np.array([[[u, v, 0.5]]], np.float32), (1, 17, 1))
    there = to_frame(keypoints, Region(left, top, side))
    np.testing.assert_allclose(there[..., 0], left + u * side, atol=1e-3)
    np.testing.assert_allclose(there[..., 1], top + v * side, atol=1e-3)
    np.testing.assert_allclose(there[..., 2], 0.5)


def test_a_square_of_the_models_own_size_is_taken_pixel_by_pixel():
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    target = np.full((20, 20, 3), 7, np.uint8)
    sampler(image, Region(13, 9, 20))(target)
    np.testing.assert_array_equal(target, image[9:29, 13:33])


@given(st.floats(20, 300), st.floats(-40, 60), st.floats(-40, 60))
def test_a_brightness_ramp_keeps_its_value_at_every_place(side, left, top):
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, 0).repeat(3, 2)
    target = np.zeros((96, 96, 3), np.uint8)
    sampler(ramp, Region(left, top, side))(target)
    x = left + (np.arange(96) + 0.5) / 96 * side
    y = top + (np.arange(96) + 0.5) / 96 * side
    inside = (x >= 1) & (x <= 199)
    rows = (y >= 1) & (y <= 199)
    expected = np.broadcast_to(x - 0.5, (96, 96))
    np.testing.assert_allclose(target[np.ix_(rows, inside)][..., 0], expected[np.ix_(rows, inside)], atol=0.6)


def test_what_lies_outside_of_the_frame_is_black_and_every_byte_is_written():
    image = np.full((40, 40, 3), 200, np.uint8)
    target = np.full((64, 64, 3), 9, np.uint8)
    sampler(image, Region(-40, -40, 80))(target)
    assert target[:31, :].max() == 0
    assert target[:, :31].max() == 0
    assert target[33:, 33:].min() == 200


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_whole_frame_is_in_its_square_and_in_the_middle(width, height):
    square = whole_frame(width, height)
    assert square.side_px == max(width, height)
    assert square.left_px + square.side_px / 2 == width / 2
    assert square.top_px + square.side_px / 2 == height / 2
