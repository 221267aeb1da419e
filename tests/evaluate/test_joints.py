import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.evaluate.joints import Stretch, joint_figures, lag_frames, second_difference
from edge_node.evaluate.matching import FoundPerson, ScoredFrame
from edge_node.evaluate.truth import TruePerson


def body(x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """17 joints in a column 160 pixels high: 10 pixels between neighbours."""
    keypoints = np.full((17, 3), 2, np.float32)
    keypoints[:, 0] = x
    keypoints[:, 1] = y + 10 * np.arange(17)
    return keypoints


def frame(true: np.ndarray | None, found: np.ndarray | None, cut: bool = False) -> ScoredFrame:
    return ScoredFrame(
        () if true is None else (TruePerson(1, true, 1000.0),),
        () if found is None else (FoundPerson(1, found),),
        cut,
        1,
    )


def test_joints_within_a_tenth_and_two_tenths_of_the_size_are_counted():
    found = body()
    found[:4, 0] += 15  # 0.094 of the 160 pixels
    found[4:10, 0] += 20  # 0.125
    found[10:, 0] += 40  # 0.25
    figures = joint_figures([frame(body(), found)])
    assert figures.pck10 == pytest.approx(4 / 17)
    assert figures.pck20 == pytest.approx(10 / 17)


def test_somebody_not_found_counts_as_all_wrong():
    figures = joint_figures([frame(body(), body()), frame(body(), None)])
    assert figures.pck10 == 0.5


def test_joints_whose_place_is_not_known_do_not_count():
    true = body()
    true[5:, 2] = 0
    found = true.copy()
    found[5:, :2] += 500
    assert joint_figures([frame(true, found)]).pck10 == 1.0


def test_identities_do_not_matter_for_joints():
    frames = [frame(body(), body()), frame(body(), body())]
    frames[1] = ScoredFrame(frames[1].true, (FoundPerson(99, body()),), False, 1)
    assert joint_figures(frames).pck10 == 1.0


def test_a_joint_that_jumps_once_has_the_second_difference_of_its_jump():
    frames = [frame(body(), body()), frame(body(), body(x=16)), frame(body(), body())]
    figures = joint_figures(frames)
    assert figures.second_difference == pytest.approx(2 * 16 / 160)
    assert figures.second_difference_true == 0


def test_even_motion_has_no_second_difference():
    places = np.cumsum(np.full((20, 17, 2), 0.1), axis=0)
    assert second_difference(places) == pytest.approx(0)


def test_a_cut_is_no_jitter():
    frames = [frame(body(), body()), frame(body(), body()), frame(body(300), body(300), cut=True), frame(body(300), body(300))]
    assert math.isnan(joint_figures(frames).second_difference)


def motion(frames: int, delay: float, seed: int) -> np.ndarray:
    """Smooth motion of 17 joints, seen ``delay`` frames late."""
    rng = np.random.default_rng(seed)
    t = np.arange(frames)[:, None, None] - delay
    hz, phase = rng.uniform(0.2, 2.0, (3, 17, 2)), rng.uniform(0, 7, (3, 17, 2))
    return sum(np.sin(2 * np.pi * hz[i] / 30 * t + phase[i]) / (i + 1) for i in range(3))


@settings(deadline=None, max_examples=40)
@given(delay=st.floats(-3, 3), seed=st.integers(0, 1000))
def test_a_delay_is_measured_to_a_fraction_of_a_frame(delay, seed):
    stretch = Stretch(motion(90, 0, seed), motion(90, delay, seed))
    assert lag_frames([stretch]) == pytest.approx(delay, abs=0.06)


@settings(deadline=None, max_examples=20)
@given(delay=st.floats(0, 2), seed=st.integers(0, 1000))
def test_noise_and_joints_that_jump_do_not_move_the_lag(delay, seed):
    rng = np.random.default_rng(seed)
    found = motion(90, delay, seed) + rng.normal(0, 0.02, (90, 17, 2))
    found[rng.random((90, 17)) < 0.01] += 3
    assert lag_frames([Stretch(motion(90, 0, seed), found)]) == pytest.approx(delay, abs=0.25)


def test_who_does_not_move_has_no_lag():
    still = np.zeros((30, 17, 2))
    assert math.isnan(lag_frames([Stretch(still, still + 0.1)]))


def test_motion_that_has_nothing_to_do_with_the_truth_has_no_lag():
    assert math.isnan(lag_frames([Stretch(motion(200, 0, 1), np.random.default_rng(0).normal(0, 1, (200, 17, 2)))]))


@pytest.mark.parametrize("seed", range(5))
def test_a_pan_too_short_for_a_lag_has_none(seed):
    rng = np.random.default_rng(seed)
    pan = rng.uniform(0, 1, (1, 17, 2)) + np.linspace(0, 0.2, 8)[:, None, None]
    assert math.isnan(lag_frames([Stretch(pan, pan + rng.normal(0, 0.02, pan.shape))]))
