from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.pose.similarity import areas_px, extent_px, extents_px, oks, pose_of, side_of, suppress, suppress_parametric


def pose(x=0.0, y=0.0, size=100.0, score=0.5):
    rng = np.random.default_rng(5)
    keypoints = np.column_stack([x + size * rng.uniform(0, 0.5, 17), y + size * rng.uniform(0, 1, 17), np.full(17, 0.8)])
    return pose_of(keypoints.astype(np.float32), score, 0.2)


def alike(a, b):
    return float(oks(a.keypoints_px[None], b.keypoints_px[None], areas_px([b.extent_px]), 0.2)[0, 0])


def test_a_pose_is_wholly_like_itself():
    assert alike(pose(), pose()) == pytest.approx(1)


@given(st.floats(0, 200), st.floats(1, 50))
def test_poses_grow_unlike_with_distance(away, more):
    assert alike(pose(), pose(away + more)) <= alike(pose(), pose(away)) + 1e-6


@given(st.floats(0.1, 10), st.floats(0, 60))
def test_likeness_is_a_matter_of_size(scale, away):
    assert alike(pose(size=100 * scale), pose(away * scale, size=100 * scale)) == pytest.approx(alike(pose(), pose(away)), abs=0.02)


@pytest.mark.parametrize(("sure", "counted"), [(3, 3), (2, 17), (0, 17)])
def test_a_pair_with_fewer_than_three_joints_that_count_is_compared_on_all(sure, counted):
    a, b = pose(), pose()
    a.keypoints_px[sure:, 2] = 0.1
    b.keypoints_px[3:, :2] += 1000  # so only the first three are alike
    assert alike(a, b) == pytest.approx(3 / counted)


def test_of_finds_of_different_size_that_of_the_better_one_decides_how_near_is_near():
    small, large = pose(10, 10, size=75), pose(size=100)
    assert alike(small, large) > 0.5 > alike(large, small)
    assert suppress([replace(small, score=0.3), replace(large, score=0.9)], 0.2, 0.5) == [1]
    assert suppress([replace(small, score=0.9), replace(large, score=0.3)], 0.2, 0.5) == [0, 1]


@pytest.mark.parametrize("nms", [lambda poses: suppress(poses, 0.2, 0.5), suppress_parametric])
def test_of_finds_of_one_person_the_best_stays_and_others_are_left_alone(nms):
    poses = [pose(2, score=0.4), pose(300, score=0.3), pose(score=0.9), pose(1, 1, score=0.2)]
    assert nms(poses) == [2, 1]
    assert nms(poses[:1]) == [0]
    assert nms([]) == []


def test_the_extent_is_of_the_joints_that_count():
    keypoints = pose().keypoints_px.copy()
    keypoints[3] = (5000, 5000, 0.1)
    assert max(extent_px(keypoints, 0.2)) < 200
    keypoints[:, 2] = 0
    assert max(extent_px(keypoints, 0.2)) == 5000


@given(st.integers(0, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_extents_of_several_poses_are_those_of_each(count, threshold, seed):
    poses = np.random.default_rng(seed).uniform((-500, -500, 0), (5000, 3000, 1), (count, 17, 3)).astype(np.float32)
    assert extents_px(poses, threshold) == [extent_px(each, threshold) for each in poses]


def test_the_size_is_the_longer_side_and_never_nothing():
    assert side_of((0, 0, 30, 20)) == 30
    assert side_of((0, 0, 20, 30)) == 30
    assert side_of((5, 5, 5, 5)) == 1
