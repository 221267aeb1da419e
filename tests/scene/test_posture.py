from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.scene import Posture
from edge_node.scene.body import measure
from edge_node.scene.posture import PostureMemory, look
from tests.scene.figures import BENDING, HEIGHT_PX, LYING, SITTING, SITTING_FACING, STANDING, WIDTH_PX, Figure

LEGS = (13, 14, 15, 16)


def settled(figure: Figure, min_score: float = 0.3) -> tuple[Posture, float]:
    memory = PostureMemory()
    likelihoods = look(measure(figure.person().keypoints, WIDTH_PX, HEIGHT_PX, min_score))
    for _ in range(60):
        memory.update(likelihoods, 1 / 30)
    return memory.posture, memory.confidence


@pytest.mark.parametrize(
    ("figure", "posture"),
    [
        (STANDING, Posture.STANDING),
        (replace(STANDING, facing=1.0), Posture.STANDING),
        (replace(STANDING, facing=0.05), Posture.STANDING),
        (replace(STANDING, tall=0.1), Posture.STANDING),
        (replace(STANDING, torso=30), Posture.STANDING),
        (BENDING, Posture.STANDING),
        (SITTING, Posture.SITTING),
        (replace(SITTING, mirrored=True), Posture.SITTING),
        (SITTING_FACING, Posture.SITTING),
        (Figure(torso=25, thigh=55, thigh_length=0.8, shin=-15), Posture.SITTING),
        (LYING, Posture.LYING),
        (replace(LYING, mirrored=True), Posture.LYING),
        (replace(LYING, thigh=-60, shin=-110), Posture.LYING),
    ],
)
def test_postures_in_full_view_are_told_with_confidence(figure: Figure, posture: Posture) -> None:
    told, confidence = settled(figure)
    assert told is posture
    assert confidence > 0.6


@pytest.mark.parametrize(
    "figure",
    [
        replace(STANDING, hidden=LEGS),
        replace(SITTING, hidden=LEGS),
        replace(STANDING, hidden=(11, 12, *LEGS)),
        replace(STANDING, hidden=(5, 6)),
        replace(STANDING, hidden=tuple(range(17))),
        replace(LYING, torso_length=0.2, facing=1.0, torso=5, thigh=0, thigh_length=0.2, shin=0),
        Figure(torso=178, thigh=180, shin=180, hip_height=0.5),
    ],
    ids=["legs hidden", "sitting, legs hidden", "head and shoulders", "no shoulders", "nothing", "lying towards the camera", "handstand"],
)
def test_what_the_joints_do_not_tell_is_unknown(figure: Figure) -> None:
    assert settled(figure)[0] is Posture.UNKNOWN


def test_standing_is_told_from_one_leg_while_the_other_is_hidden_or_lifted() -> None:
    assert settled(replace(STANDING, hidden=(13, 15)))[0] is Posture.STANDING
    assert settled(replace(STANDING, hidden=(15, 16)))[0] is Posture.STANDING


def test_joints_of_low_score_lower_the_confidence() -> None:
    assert settled(replace(STANDING, score=0.35))[1] < settled(replace(STANDING, score=0.9))[1]


def test_a_glance_does_not_change_the_posture() -> None:
    memory = PostureMemory()
    standing, lying = (look(measure(f.person().keypoints, WIDTH_PX, HEIGHT_PX, 0.3)) for f in (STANDING, LYING))
    for _ in range(60):
        memory.update(standing, 1 / 30)
    for _ in range(5):
        memory.update(lying, 1 / 30)
    assert memory.posture is Posture.STANDING
    for _ in range(30):
        memory.update(lying, 1 / 30)
    assert memory.posture is Posture.LYING


@settings(max_examples=150, deadline=None)
@given(
    torso=st.floats(-180, 180),
    thigh=st.floats(-180, 180),
    shin=st.floats(-180, 180),
    thigh_length=st.floats(0.05, 1),
    torso_length=st.floats(0.2, 1),
    facing=st.floats(0, 1),
    hidden=st.lists(st.integers(0, 16), max_size=17),
    mirrored=st.booleans(),
)
def test_likelihoods_stay_between_0_and_1_and_do_not_know_left_from_right(mirrored: bool, hidden: list[int], **angles: float) -> None:
    figure = Figure(hidden=tuple(hidden), mirrored=mirrored, **angles)
    seen = look(measure(figure.person().keypoints, WIDTH_PX, HEIGHT_PX, 0.3))
    values = (seen.standing, seen.sitting, seen.lying)
    assert all(0 <= value <= 1 for value in values)
    other = look(measure(replace(figure, mirrored=not mirrored).person().keypoints, WIDTH_PX, HEIGHT_PX, 0.3))
    assert (other.standing, other.sitting, other.lying) == pytest.approx(values, abs=0.02)
