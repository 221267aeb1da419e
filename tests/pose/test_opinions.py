import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.data import Pose
from edge_node.pose.opinions import joined
from edge_node.pose.similarity import pose_of


def pose(seed: int = 0, score: float = 0.5) -> Pose:
    random = np.random.default_rng(seed)
    keypoints = np.column_stack((random.uniform(0, 200, 17), random.uniform(0, 400, 17), np.full(17, score)))
    return pose_of(keypoints.astype(np.float32), score, 0.2)


def moved(said: Pose, joint: int, by_px: float, score: float | None = None) -> Pose:
    keypoints = said.keypoints_px.copy()
    keypoints[joint, 0] += by_px
    if score is not None:
        keypoints[joint, 2] = score
    return pose_of(keypoints, said.score, 0.2)


def test_a_single_opinion_is_the_pose_itself():
    said = pose()
    assert joined([said], 0.2) is said


@given(seed=st.integers(0, 1000), count=st.integers(2, 5), score=st.floats(0.0, 1.0))
def test_opinions_that_are_the_same_change_nothing(seed, count, score):
    said = pose(seed, score)
    together = joined([said] * count, 0.2)
    assert together.keypoints_px == pytest.approx(said.keypoints_px, abs=1e-3)
    assert together.score == pytest.approx(said.score)


def test_the_extent_of_what_is_agreed_on_is_of_the_joints_that_count():
    said = moved(pose(score=0.8), 9, 5000.0, score=0.1)
    assert joined([said, said], 0.2).extent_px == pytest.approx(said.extent_px, abs=1e-3)
    assert joined([said, said], 0.05).extent_px[2] > 5000


def test_places_near_each_other_are_averaged_by_their_scores():
    said = moved(pose(), 9, 0.0, score=0.75)
    together = joined([said, moved(said, 9, 8.0, score=0.25)], 0.2)
    assert together.keypoints_px[9, 0] - said.keypoints_px[9, 0] == pytest.approx(2.0, abs=1e-3)
    assert together.keypoints_px[9, 2] == pytest.approx(0.5)


def test_a_place_that_the_others_contradict_counts_for_nothing_but_doubt():
    said = pose()
    together = joined([moved(said, 9, 150.0, score=0.9), said, said], 0.2)
    assert together.keypoints_px[9, :2] == pytest.approx(said.keypoints_px[9, :2], abs=1e-3)


def test_of_two_places_far_apart_the_surer_one_is_taken():
    said = moved(pose(), 9, 0.0, score=0.3)
    together = joined([said, moved(said, 9, 150.0, score=0.8)], 0.2)
    assert together.keypoints_px[9, 0] - said.keypoints_px[9, 0] == pytest.approx(150.0, abs=1e-3)
    assert together.keypoints_px[9, 2] == pytest.approx(0.55)


def test_joints_of_no_score_at_all_still_have_a_place():
    said = pose(score=0.0)
    assert np.isfinite(joined([said, moved(said, 3, 5.0)], 0.2).keypoints_px).all()
