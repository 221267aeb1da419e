"""What one look at a square gives, on the real model."""

import numpy as np
import pytest

from edge_node.data import Region
from edge_node.pose.finding import look
from edge_node.pose.region import whole_frame
from edge_node.pose.similarity import extent_px

from .conftest import read_image


@pytest.fixture(scope="module")
def image(shared):
    return read_image(shared.stills / "two_people.bmp")


def whole(image):
    return whole_frame(image.shape[1], image.shape[0])


def test_each_pose_has_the_extent_of_its_joints_that_count(image, engine):
    (seen,) = look(engine, image, [whole(image)], 0.5)
    assert len(seen.poses) >= 2
    assert [pose.extent_px for pose in seen.poses] == [extent_px(pose.keypoints_px, 0.5) for pose in seen.poses]
    assert any(pose.extent_px != extent_px(pose.keypoints_px, 0) for pose in seen.poses)  # or nothing was shown by that


def test_poses_come_best_first_and_each_person_once(image, engine):
    (seen,) = look(engine, image, [whole(image)], 0.2)
    scores = [pose.score for pose in seen.poses]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] > 0.3
    first, second = (pose.keypoints_px[:, 0].mean() for pose in seen.poses[:2])
    assert abs(first - second) > 0.1 * image.shape[1]


def test_people_are_where_they_are_in_the_frame_whatever_square_shows_them(image, engine):
    best = look(engine, image, [whole(image)], 0.2)[0].poses[0]
    x0, y0, x1, y1 = best.extent_px
    side = 1.4 * max(x1 - x0, y1 - y0)
    crop = Region((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)
    (seen,) = look(engine, image, [crop], 0.2)
    away_px = np.hypot(*(seen.poses[0].keypoints_px - best.keypoints_px)[:, :2].T)
    assert np.median(away_px) < 0.05 * side


def test_it_is_told_when_the_model_has_run_a_square_once_for_each(image, engine):
    calls = []
    seen = look(engine, image, [whole(image)] * 3, 0.2, invoked=lambda: calls.append(1))
    assert len(seen) == len(calls) == 3


def test_a_square_beside_the_picture_shows_nobody(image, engine):
    (seen,) = look(engine, image, [Region(-500.0, -500.0, 100.0)], 0.2)
    assert [pose for pose in seen.poses if pose.score > 0.2] == []
