"""Suspected falls, on drawn figures: no film of a real fall is at hand, and none of this claims more than geometry."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_node.config.load import override
from edge_node.config.models import Config
from edge_node.scene import FallEvent
from tests.scene.figures import BENDING, LYING, SITTING, STANDING, Figure, eased, film, watch


def falls(
    figure_at: Callable[[float], Figure | None], seconds: float = 8.0, sensitivity: float = 0.5, fps: float = 30.0
) -> list[FallEvent]:
    def people(t: float):
        figure = figure_at(t)
        return [figure.person(1)] if figure else []

    config = override(Config(), {"state.fall_sensitivity": sensitivity})
    return [e for o in watch(film(people, seconds, fps), config) for e in o.events if isinstance(e, FallEvent)]


def topple(t: float, takes_s: float = 0.8) -> Figure:
    """A stiff body that turns about its feet, faster and faster."""
    angle = 88 * min(1.0, max(0.0, (t - 2) / takes_s)) ** 2
    return replace(STANDING, torso=angle, thigh=-angle, shin=-angle)


def collapse(t: float) -> Figure:
    """Knees give way first, then the body tips over."""
    first, then = eased(t, 2, 0.4), eased(t, 2.3, 0.5)
    return Figure(torso=85 * then, thigh=70 * first - 150 * then, shin=-60 * first - 25 * then)


def lie_down(t: float) -> Figure:
    """Sitting down, then lying down, both unhurried."""
    sit, lie = eased(t, 1, 1.5), eased(t, 3, 3.0)
    return Figure(torso=88 * lie, thigh=88 * sit - 176 * lie, shin=-88 * lie)


@pytest.mark.parametrize("fps", [5.0, 10.0, 30.0])
@pytest.mark.parametrize("fall", [topple, collapse])
def test_a_fall_is_told_once_with_its_reasons(fall: Callable[[float], Figure], fps: float) -> None:
    events = falls(fall, fps=fps)
    assert len(events) == 1
    assert events[0].confidence >= 0.5
    assert 1_002 < events[0].ts < 1_003.5
    text = "; ".join(events[0].reasons)
    assert "body heights" in text
    assert "degrees from upright" in text


@pytest.mark.parametrize(
    "figure_at",
    [
        lambda _t: STANDING,
        lambda t: replace(SITTING, torso=5, thigh=88 * eased(t, 2, 0.7)),
        lambda t: replace(STANDING, torso=95 * eased(t, 2, 0.6)),
        lambda t: replace(STANDING, torso=95 * (eased(t, 2, 0.6) - eased(t, 4, 0.6))),
        lambda t: Figure(torso=35 * eased(t, 2, 0.5), thigh=80 * eased(t, 2, 0.5), shin=-30 * eased(t, 2, 0.5)),
        lie_down,
        lambda _t: LYING,
        lambda t: replace(STANDING, feet=(0.2 + 0.1 * t, 0.9)),
        lambda t: replace(STANDING, feet=(0.5, 0.9 - 0.1 * abs(t % 0.6 - 0.3))),
        lambda t: STANDING if t < 3 else None,
        lambda _t: BENDING,
    ],
    ids=["still", "sits down fast", "bends", "bends and rises", "squats", "lies down", "lay all along", "walks", "hops", "leaves", "bent"],
)
def test_what_is_no_fall_is_not_told(figure_at: Callable[[float], Figure | None]) -> None:
    assert falls(figure_at) == []


def test_who_gets_up_at_once_did_not_fall() -> None:
    assert falls(stumbles) == []


def test_sensitivity_decides_what_is_told() -> None:
    assert falls(topple, sensitivity=0.0) == []
    soft = [len(falls(lambda t: topple(t, 1.5), sensitivity=s)) for s in (0.05, 0.5, 1.0)]
    assert soft == sorted(soft)
    assert soft[-1] == 1


def picks_something_up(t: float) -> Figure:
    down = eased(t, 2, 0.4) - eased(t, 2.7, 0.5)
    return Figure(torso=80 * down, thigh=60 * down, shin=-50 * down)


def stumbles(t: float) -> Figure:
    angle = 88 * (eased(t, 2, 0.6) - eased(t, 2.9, 0.6))
    return replace(STANDING, torso=angle, thigh=-angle, shin=-angle)


@pytest.mark.parametrize("later_s", [2.0, 2.5, 3.0, 3.5, 4.0])
@pytest.mark.parametrize("first", [picks_something_up, stumbles])
def test_a_quick_movement_shortly_before_a_fall_does_not_hide_it(first: Callable[[float], Figure], later_s: float) -> None:
    def then_falls(t: float) -> Figure:
        angle = 88 * eased(t, 2 + later_s, 0.8)
        return replace(STANDING, torso=angle, thigh=-angle, shin=-angle) if t > 2 + later_s else first(t)

    events = falls(then_falls, 10)
    assert len(events) == 1
    assert 1_002 + later_s < events[0].ts < 1_003.5 + later_s


@pytest.mark.parametrize(("lost_s", "found_s"), [(2.5, 3.1), (2.2, 3.0), (2.4, 3.2)])
@pytest.mark.parametrize("fall", [topple, collapse])
def test_a_new_identity_during_the_fall_does_not_hide_it(fall: Callable[[float], Figure], lost_s: float, found_s: float) -> None:
    def people(t: float):
        return [] if lost_s < t < found_s else [fall(t).person(1 if t <= lost_s else 2)]

    events = [e for o in watch(film(people, 8)) for e in o.events if isinstance(e, FallEvent)]
    assert [e.person for e in events] == [2]


def test_a_second_fall_is_told_after_getting_up() -> None:
    def twice(t: float) -> Figure:
        angle = 88 * (eased(t, 2, 0.6) - eased(t, 6, 1.5) + eased(t, 10, 0.6))
        return replace(STANDING, torso=angle, thigh=-angle, shin=-angle)

    assert len(falls(twice, 14)) == 2
