"""One followed person: motion, size, and what is concluded from looks that miss them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.config.models import Smoothing
from edge_node.data import Pose
from edge_node.pose.similarity import pose_of
from edge_node.pose.track import Track

from .bodies import THRESHOLD, standing


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def measured(pose: Pose) -> Pose:
    """The pose with the extent of its joints as the test has changed them."""
    return pose_of(pose.keypoints_px, pose.score, THRESHOLD)


def track(pose: Pose | None = None) -> Track:
    """Somebody found at time 0."""
    return Track(1, measured(pose or standing()), 0)


def found(person: Track, pose: Pose, at_s: float) -> None:
    person.take(measured(pose), ns(at_s), THRESHOLD, in_own_square=True)


def walking(px_s: float = 100.0, seconds: float = 1.0) -> Track:
    """Somebody who has walked to the right for so long, at 10 frames a second, and was just found."""
    person = track()
    for number in range(1, round(seconds * 10) + 1):
        found(person, standing(300 + px_s * number / 10), number / 10)
    return person


def smoothed_px(person: Track, at_s: float) -> np.ndarray:
    return person.filter.apply(person.pose.keypoints_px, person.size_px, ns(at_s), Smoothing())


def test_the_rough_joints_of_the_first_look_do_not_hold_back_those_of_the_first_crop():
    """The first look is the whole frame or a tile of it. A fifth of it stays; only from the first crop on there is something to smooth."""
    rough = standing()
    rough.keypoints_px[5:11, :2] += (25, -20)
    person = track(rough)
    smoothed_px(person, 0)
    found(person, standing(), 1 / 30)
    right_px = standing().keypoints_px[:, :2]
    np.testing.assert_allclose(smoothed_px(person, 1 / 30), right_px + 0.2 * (rough.keypoints_px[:, :2] - right_px), atol=1e-3)
    found(person, rough, 2 / 30)
    assert np.abs(smoothed_px(person, 2 / 30) - right_px)[5:11].max() < 10


def test_motion_is_believed_half_after_one_time_constant_and_nearly_whole_after_ten():
    assert walking(seconds=0.1).velocity_px_s == pytest.approx((50, 0))
    assert walking(seconds=1.0).velocity_px_s == pytest.approx((100, 0), abs=0.2)


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(0.001, 1.0))
def test_motion_is_learnt_along_both_axes_and_never_overshoots(x, y, elapsed_s):
    person = track()
    found(person, standing(300 + x * elapsed_s, 300 + y * elapsed_s), elapsed_s)
    share = elapsed_s / (elapsed_s + 0.1)
    assert person.velocity_px_s == pytest.approx((x * share, y * share), abs=0.5)


def test_joints_that_jump_move_nobody_while_they_are_fewer_than_half():
    person = track()
    pose = standing()
    pose.keypoints_px[:8, :2] += 400
    found(person, pose, 0.1)
    assert person.velocity_px_s == (0, 0)


@pytest.mark.parametrize(("sure", "learnt"), [(3, True), (2, False)])
def test_motion_needs_three_joints_that_count_in_both_poses(sure, learnt):
    person = track()
    pose = standing(310)
    pose.keypoints_px[sure:, 2] = THRESHOLD - 0.01
    found(person, pose, 0.1)
    assert (person.velocity_px_s[0] > 0) is learnt
    doubted = track(pose)
    found(doubted, standing(320), 0.1)
    assert (doubted.velocity_px_s[0] > 0) is learnt


@pytest.mark.parametrize(("score", "share"), [(0.1, 0), (0.2, 0), (0.35, 0.5), (0.5, 1), (0.9, 1)])
def test_a_pose_says_of_motion_and_size_what_its_score_is_worth(score, share):
    person = track()
    found(person, standing(310, height_px=49, score=score), 0.1)
    assert person.velocity_px_s[0] == pytest.approx(50 * share, abs=0.01)
    assert person.size_px == pytest.approx(98 * math.exp(-0.1 * share))


def test_two_finds_of_one_instant_say_nothing_of_motion():
    person = track()
    found(person, standing(400), 0)
    assert person.velocity_px_s == (0, 0)


def test_growth_is_followed_at_once_and_somebody_shrinks_slowly():
    person = track()
    found(person, standing(height_px=196), 0.1)
    assert person.size_px == pytest.approx(196)
    found(person, standing(height_px=49), 1.1)
    assert person.size_px == pytest.approx(196 / math.e)
    found(person, standing(height_px=49), 4.1)
    assert person.size_px == pytest.approx(49)


def test_motion_is_carried_on_for_four_tenths_of_a_second_then_the_person_is_expected_to_stand():
    person = walking()
    for ahead_s, way_px in ((0, 0), (0.2, 20), (0.4, 40), (0.5, 40), (3, 40)):
        middle = person.expected_middle_px(ns(1 + ahead_s))
        assert middle == pytest.approx((400 + way_px, 300), abs=0.2)
        np.testing.assert_allclose(person.expected_px(ns(1 + ahead_s)), standing(400 + way_px).keypoints_px, atol=0.2)


def test_what_is_expected_is_a_copy():
    person = walking()
    person.expected_px(ns(1))[:] = 0
    np.testing.assert_array_equal(person.pose.keypoints_px, standing(400).keypoints_px)


def test_each_look_that_misses_somebody_takes_a_fifth_of_their_motion():
    person = walking()
    person.miss(ns(1.1))
    assert person.velocity_px_s == pytest.approx((80, 0), abs=0.2)
    person.miss(ns(1.2))
    assert person.velocity_px_s == pytest.approx((64, 0), abs=0.2)


def missed(*at_s: float) -> Track:
    """Somebody found at 0, and missed by the looks at these times."""
    person = track()
    for moment in at_s:
        person.seen_now = False
        person.miss(ns(moment))
    return person


@pytest.mark.parametrize(
    ("looks", "told"),
    [((0.033,), True), ((3.0,), True), ((0.035, 0.07), True), ((0.035, 0.071), False), ((0.02, 0.04, 0.06), True), ((0.1, 0.2), False)],
)
def test_one_look_may_miss_somebody_and_more_within_seven_hundredths_of_a_second(looks, told):
    assert missed(*looks).in_view is told


def test_somebody_missed_is_not_told_of_in_a_frame_that_nobody_looks_in():
    person = missed(0.033)
    person.waited = 1
    assert not person.in_view


def test_the_look_that_misses_somebody_ends_their_waiting():
    person = track()
    person.seen_now, person.waited = False, 3
    person.miss(ns(0.1))
    assert (person.waited, person.in_view) == (0, True)


def test_somebody_nobody_looks_at_stays_in_view():
    person = track()
    person.seen_now, person.waited = False, 5
    assert person.in_view


def test_whoever_is_found_again_starts_afresh_in_all_counts_but_motion():
    person = missed(0.033, 0.1)
    person.waited = 3
    found(person, standing(score=0.4), 0.2)
    assert (person.misses, person.waited, person.seen_now, person.pose.score) == (0, 0, True, 0.4)
    assert person.unseen_s(ns(0.25)) == pytest.approx(0.05)
    assert person.hits == 2
