"""The synthetic scene: what it draws is where it says it is."""

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.camera.factory import open_camera
from edge_node.camera.figures import EMPTY_S, ROUND_S, Scene
from edge_node.camera.markers import BODY_RADIUS, CENTRE_COLOUR, JOINT_COLOURS
from edge_node.config.models import Camera as CameraSettings

SIZE = (640, 480)


def picture(scene, t_s):
    image = np.empty((SIZE[1], SIZE[0], 3), np.uint8)
    scene.render(t_s, image)
    return image


@given(st.floats(0, 10 * ROUND_S), st.integers(0, 5), st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_every_visible_joint_is_drawn_in_its_colour_where_the_truth_says(t_s, people, seed):
    scene = Scene(*SIZE, people, seed)
    image = picture(scene, t_s)
    for figure in scene.truth(t_s):
        for index, (x, y, visible) in enumerate(figure.keypoints_px):
            if visible:
                drawn = image[int(y), int(x)].astype(int)
                assert np.abs(drawn - JOINT_COLOURS[index]).max() <= 40, (index, drawn)


@given(st.floats(0, 20))
@settings(max_examples=30, deadline=None)
def test_a_discs_centroid_is_the_joint_to_a_tenth_of_a_pixel(t_s):
    scene = Scene(*SIZE, 1, 1)
    image = picture(scene, t_s).astype(float)
    colour = image - image.mean(axis=2, keepdims=True)
    for figure in scene.truth(t_s):
        x, y, _ = figure.keypoints_px[9]
        reach = 2 * BODY_RADIUS * SIZE[1]
        if not (reach < x < SIZE[0] - reach and figure.keypoints_px[:, 2].all()):
            continue
        rows, columns = np.mgrid[int(y - 12) : int(y + 13), int(x - 12) : int(x + 13)]
        direction = np.array(JOINT_COLOURS[9], float) - np.mean(JOINT_COLOURS[9])
        weight = np.clip(colour[rows, columns] @ direction, 0, None)
        others = [np.hypot(*(figure.keypoints_px[9, :2] - k[:2])) for i, k in enumerate(figure.keypoints_px) if i != 9]
        if min(others) < 30:
            continue
        assert abs((weight * (columns + 0.5)).sum() / weight.sum() - x) < 0.1
        assert abs((weight * (rows + 0.5)).sum() / weight.sum() - y) < 0.1


@pytest.mark.parametrize("marks", [True, False])
def test_nothing_but_marks_is_coloured(marks):
    scene = Scene(*SIZE, 3, 1, marks=marks)
    image = picture(scene, 10.0).astype(int)
    coloured = np.ptp(image, axis=2) > 1
    assert coloured.any() == marks
    near = np.zeros(coloured.shape, bool)
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    for figure in scene.truth(10.0):
        for x, y in [*figure.keypoints_px[:, :2], figure.centre_px]:
            near |= np.hypot(columns + 0.5 - x, rows + 0.5 - y) < 0.03 * SIZE[1] + 2
    assert not (coloured & ~near).any()


def test_each_round_ends_with_nobody_and_begins_with_somebody():
    scene = Scene(*SIZE, 4, 3)
    for number in range(5):
        assert scene.truth(number * ROUND_S)
        assert scene.truth((number + 1) * ROUND_S - EMPTY_S + 0.01) == []
        assert (picture(scene, (number + 1) * ROUND_S - 1) == picture(Scene(*SIZE, 0), 0)).all()


def test_an_identity_is_of_one_crossing_only():
    scene = Scene(*SIZE, 3, 1)
    seen = [{figure.id for figure in scene.truth(round_number * ROUND_S + t)} for round_number in range(3) for t in range(25)]
    rounds = [set.union(*seen[i * 25 : (i + 1) * 25]) for i in range(3)]
    assert all(len(ids) == 3 for ids in rounds)
    assert len(set.union(*rounds)) == 9


def test_figures_cross_and_hide_one_another():
    scene = Scene(*SIZE, 3, 1)
    hidden = 0
    for tick in range(250):
        for figure in scene.truth(tick / 10):
            inside = (figure.keypoints_px[:, 0] > 0) & (figure.keypoints_px[:, 0] < SIZE[0])
            hidden += int((inside & (figure.keypoints_px[:, 2] == 0)).sum())
    assert hidden > 50


def test_the_same_time_gives_the_same_picture():
    assert (picture(Scene(*SIZE, 3, 1), 7.7) == picture(Scene(*SIZE, 3, 1), 7.7)).all()
    assert (picture(Scene(*SIZE, 3, 1), 7.7) != picture(Scene(*SIZE, 3, 2), 7.7)).any()


def test_the_centre_is_marked():
    scene = Scene(*SIZE, 1, 1)
    x, y = scene.truth(3.0)[0].centre_px
    assert np.abs(picture(scene, 3.0)[int(y), int(x)].astype(int) - CENTRE_COLOUR).max() <= 2


def test_the_camera_shows_the_scene_of_its_frame_number():
    scene = Scene(64 * 5, 240, 2, 7)
    with closing(open_camera(CameraSettings(source="synthetic?people=2&seed=7", width=320, height=240, fps=50.0), first_seq=30)) as camera:
        frames = [camera.read() for _ in range(5)]
    assert camera.live
    for frame in frames:
        expected = np.empty((240, 320, 3), np.uint8)
        scene.render(frame.seq / 50, expected)
        assert (frame.image == expected).all()
        assert (frame.media_ns - frames[0].media_ns) == (frame.seq - frames[0].seq) * 20_000_000
    assert frames[0].seq >= 30


def test_a_live_scene_goes_on_while_its_pictures_are_skipped():
    with closing(open_camera(CameraSettings(source="synthetic?people=1", width=64, height=64, fps=50.0), first_seq=0)) as camera:
        first = camera.read()
        assert camera.skip()
        later = camera.read()
    assert later.seq >= first.seq + 2
    assert later.media_ns - first.media_ns == (later.seq - first.seq) * 20_000_000
