import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_node.data import Region
from edge_node.pose.region import placed, sampler, to_frame, whole_frame

sides = st.floats(4, 2000)
corners = st.floats(-500, 2000)
lengths = st.integers(1, 2000)


def in_frame(u, v, place):
    """Frame pixels of a point of the model's input."""
    keypoints = np.tile(np.array([[[u, v, 0.5]]], np.float32), (1, 17, 1))
    there = to_frame(keypoints, place)
    np.testing.assert_allclose(there[..., 2], 0.5)
    assert (there == there[0, 0]).all()
    return there[0, 0, :2]


@given(corners, corners, sides, st.floats(0, 1), st.floats(0, 1))
def test_a_point_within_the_frame_lies_where_the_region_says_but_for_rounding(left, top, side, u, v):
    x, y = left + u * side, top + v * side
    width, height = 1500, 1000
    if 0 <= x <= width and 0 <= y <= height:
        # Half a pixel of the frame at each edge, and where the region overhangs half a one of the input.
        tolerance = 1.0 + 0.5 * side / 192
        np.testing.assert_allclose(in_frame(u, v, placed(Region(left, top, side), width, height, 192)), (x, y), atol=tolerance)


@given(st.integers(-500, 2000), st.integers(-500, 2000), st.integers(4, 500), st.floats(0, 1), st.floats(0, 1))
def test_a_region_of_whole_pixels_inside_the_frame_is_taken_as_it_is(left, top, side, u, v):
    place = placed(Region(left, top, side), 3000, 3000, 192)
    if left >= 0 and top >= 0:
        np.testing.assert_allclose(in_frame(u, v, place), (left + u * side, top + v * side), atol=1e-3)


def test_a_square_of_the_models_own_size_is_taken_pixel_by_pixel():
    image = np.random.default_rng(1).integers(0, 256, (50, 60, 3), np.uint8)
    target = np.full((20, 20, 3), 7, np.uint8)
    sampler(image, placed(Region(13, 9, 20), 60, 50, 20))(target)
    np.testing.assert_array_equal(target, image[9:29, 13:33])


@given(st.floats(8, 120), st.floats(-30, 45), st.floats(-30, 45))
def test_what_is_sampled_at_a_place_is_what_the_frame_has_where_that_place_is_brought_back_to(side, left, top):
    ramp = np.repeat(np.arange(0, 250, 5, np.uint8)[None, :, None], 50, 0).repeat(3, 2)  # five for each pixel: one is a fifth of a pixel
    for image, axis in ((ramp, 0), (ramp.transpose(1, 0, 2).copy(), 1)):
        target = np.full((96, 96, 3), 9, np.uint8)
        place = placed(Region(left, top, side), 50, 50, 96)
        sampler(image, place)(target)
        across, down = place.across, place.down
        assume(across.start < across.end and down.start < down.end)  # something of the frame is in it
        for j in range(across.first, across.last, 7):
            for i in range(down.first, down.last, 7):
                expected = in_frame((j + 0.5) / 96, (i + 0.5) / 96, place)[axis] - 0.5
                edges = (across, down)[axis]  # what is nearer to an edge than half a pixel is taken from the pixel at it
                assert abs(target[i, j, 0] - 5 * min(max(expected, edges.start), edges.end - 1)) <= 1.0


def test_what_lies_outside_of_the_frame_is_black_and_every_byte_is_written():
    image = np.full((40, 40, 3), 200, np.uint8)
    target = np.full((64, 64, 3), 9, np.uint8)
    sampler(image, placed(Region(-40, -40, 80), 40, 40, 64))(target)
    assert target[:32, :].max() == 0
    assert target[:, :32].max() == 0
    assert target[32:, 32:].min() == 200


@given(corners, corners, st.floats(0.1, 2000), lengths, lengths)
def test_any_region_however_far_outside_is_sampled_and_brought_back(left, top, side, width, height):
    place = placed(Region(left, top, side), width, height, 32)
    target = np.full((32, 32, 3), 9, np.uint8)
    sampler(np.full((height, width, 3), 200, np.uint8), place)(target)
    assert set(np.unique(target)) <= {0, 200}
    assert np.isfinite(in_frame(0.5, 0.5, place)).all()


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_the_whole_frame_is_in_its_square_and_in_the_middle(width, height):
    square = whole_frame(width, height)
    assert square.side_px == max(width, height)
    assert square.left_px + square.side_px / 2 == width / 2
    assert square.top_px + square.side_px / 2 == height / 2
