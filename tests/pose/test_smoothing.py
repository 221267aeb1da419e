import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.config.models import Smoothing
from edge_node.pose.smoothing import BodyFilter

SIZE_PX = 100.0
SETTINGS = Smoothing()


def body(x: float = 0.0, score: float = 0.8) -> np.ndarray:
    keypoints = np.empty((17, 3), np.float32)
    keypoints[:, 0] = x + 3 * np.arange(17)
    keypoints[:, 1] = 10 * np.arange(17)
    keypoints[:, 2] = score
    return keypoints


def filtered(frames: list[np.ndarray], fps: float = 30.0, settings: Smoothing = SETTINGS) -> np.ndarray:
    steady = BodyFilter()
    return np.stack([steady.apply(k, SIZE_PX, round((i + 1) / fps * 1e9), settings) for i, k in enumerate(frames)])


def test_the_first_frame_passes_as_it_is():
    assert (filtered([body(5)])[0] == body(5)[:, :2]).all()


def test_what_the_caller_does_with_the_result_does_not_come_back():
    steady = BodyFilter()
    for i in range(1, 5):
        keypoints = body()
        keypoints[:, :2] = steady.apply(keypoints, SIZE_PX, i * 33_000_000, SETTINGS)
        assert keypoints[:, :2] == pytest.approx(body()[:, :2], abs=1e-3)
        keypoints[:, :2] /= 640


def test_who_stands_still_stays_where_they_are():
    assert filtered([body()] * 30)[-1] == pytest.approx(body()[:, :2], abs=1e-4)


def test_two_thirds_of_the_noise_at_rest_go():
    rng = np.random.default_rng(0)
    noisy = [body() + np.pad(rng.normal(0, 1, (17, 2)), ((0, 0), (0, 1))).astype(np.float32) for _ in range(200)]
    bend_in = np.diff([k[:, :2] for k in noisy], n=2, axis=0)
    bend_out = np.diff(filtered(noisy), n=2, axis=0)
    assert np.sqrt((bend_out**2).mean()) < 0.34 * np.sqrt((bend_in**2).mean())


def test_even_motion_is_followed_with_less_than_half_a_frame_of_lag():
    places = filtered([body(3.0 * i) for i in range(40)])
    assert (40 - 1) * 3.0 - places[-1, 0, 0] < 1.5


def test_a_limb_in_even_motion_is_followed_with_less_than_half_a_frame_of_lag():
    """A wrist at 0.6 sizes of the person a second."""
    frames = [body() for _ in range(40)]
    for number, keypoints in enumerate(frames):
        keypoints[9, 0] += 2.0 * number
    assert frames[-1][9, 0] - filtered(frames)[-1, 9, 0] < 0.5 * 2.0


def test_another_pose_altogether_passes_as_it_is_and_nothing_is_dragged_along():
    """As when the picture is cut: at the same place somebody lies who stood."""
    other = body()
    other[:, [0, 1]] = other[:, [1, 0]]
    places = filtered([body(3.0 * i) for i in range(20)] + [other] * 5)
    assert (places[20:] == other[:, :2]).all()


def test_some_joints_that_leap_at_once_are_no_other_pose():
    """An arm and a leg of somebody else."""
    frames = [body() for _ in range(20)]
    frames[10][9:16, 0] += 100
    assert np.abs(filtered(frames)[10, :, 0] - body()[:, 0]).max() < 0.2 * 100


def test_a_joint_that_leaps_for_one_frame_hardly_moves():
    frames = [body() for _ in range(20)]
    frames[10][9, 0] += 150
    moved = np.abs(filtered(frames)[:, 9, 0] - body()[9, 0])
    assert moved.max() < 0.2 * 150


def test_a_leap_that_the_whole_body_makes_is_followed():
    frames = [body()] * 10 + [body(60)] * 5
    assert filtered(frames)[11, :, 0] == pytest.approx(body(60)[:, 0], abs=15)


def test_a_joint_that_the_model_doubts_moves_less():
    sure = [body()] * 5 + [body(4)]
    doubted = [k.copy() for k in sure]
    doubted[-1][:, 2] = 0.1
    assert filtered(doubted)[-1, 0, 0] < filtered(sure)[-1, 0, 0]


def test_after_a_gap_it_starts_afresh():
    steady = BodyFilter()
    steady.apply(body(), SIZE_PX, 10**9, SETTINGS)
    assert (steady.apply(body(500), SIZE_PX, 2 * 10**9, SETTINGS) == body(500)[:, :2]).all()


def test_time_that_goes_back_starts_it_afresh():
    steady = BodyFilter()
    steady.apply(body(), SIZE_PX, 10**9, SETTINGS)
    assert (steady.apply(body(500), SIZE_PX, 10**9, SETTINGS) == body(500)[:, :2]).all()


@settings(deadline=None)
@given(scale=st.floats(0.1, 10), shift=st.floats(-100, 100))
def test_a_person_of_another_size_elsewhere_is_filtered_the_same(scale, shift):
    rng = np.random.default_rng(1)
    frames = [body() + np.pad(rng.normal(0, 4, (17, 2)), ((0, 0), (0, 1))).astype(np.float32) for _ in range(12)]
    other = [np.column_stack([k[:, :2] * scale + shift, k[:, 2]]).astype(np.float32) for k in frames]
    steady = BodyFilter()
    elsewhere = [steady.apply(k, SIZE_PX * scale, round((i + 1) / 30 * 1e9), SETTINGS) for i, k in enumerate(other)]
    assert elsewhere[-1] == pytest.approx(filtered(frames)[-1] * scale + shift, abs=2e-3 * max(scale, 1) * 170)


@settings(deadline=None, max_examples=15)
@given(fps=st.floats(3, 240), tau=st.floats(1, 200))
def test_it_settles_at_any_rate_and_time_constant(fps, tau):
    frames = [body()] * 2 + [body(2)] * int(60 * (1 + fps * tau / 1e3))
    places = filtered(frames, fps, Smoothing(time_constant_ms=tau))
    assert np.isfinite(places).all()
    assert places[-1, :, 0] == pytest.approx(body(2)[:, 0], abs=0.2)
