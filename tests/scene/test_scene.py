import itertools
from dataclasses import replace

import pytest

from edge_node.config.load import override
from edge_node.config.models import Config, State, Zone
from edge_node.scene import PresenceEvent, Scene, ScenePosture, ZoneEvent
from tests.scene.figures import HEIGHT_PX, LYING, SITTING, STANDING, WIDTH_PX, film, people_at, watch

LEFT_HALF = Zone(name="left", polygon=[(0, 0), (0.5, 0), (0.5, 1), (0, 1)])


def with_state(**values: object) -> Config:
    return override(Config(), {f"state.{key}": value for key, value in values.items()})


def with_zones(*zones: Zone) -> Config:
    return Config(state=State(zones=list(zones)))


def at(x: float):
    return replace(STANDING, feet=(x, 0.9)).person()


def test_an_empty_scene_is_said_once() -> None:
    said = [o.state for o in watch(film(lambda _t: [], 5)) if o.state]
    assert len(said) == 1
    assert (said[0].present, said[0].count, said[0].posture, said[0].people) == (False, 0, ScenePosture.NOBODY, ())


def test_presence_needs_to_last_and_its_end_too() -> None:
    frames = film(lambda t: [at(0.5)] if 1 <= t < 1.2 or 2 <= t < 4 or 5 <= t < 6 else [], 9)
    events = [e for o in watch(frames) for e in o.events]
    assert [(e.present, e.count) for e in events if isinstance(e, PresenceEvent)] == [(True, 1), (False, 0)]
    came, went = events
    assert came.ts == pytest.approx(1_002.3, abs=0.04)
    assert went.ts == pytest.approx(1_008.0, abs=0.04)


def test_the_count_does_not_follow_flicker_or_a_change_of_identity() -> None:
    def people(t: float):
        return [at(0.2), replace(STANDING, feet=(0.8, 0.9)).person(2 if t < 3 else 7)] if int(t * 30) % 10 else [at(0.2)]

    counts = [o.state.count for o in watch(film(people, 6)) if o.state]
    assert max(counts) == 2
    assert counts[-1] == 2


def test_states_are_said_on_change_and_at_most_once_a_second() -> None:
    def people(t: float):
        return [(STANDING if int(t / 1.5) % 2 else LYING).person()]

    stamps = [o.state.ts for o in watch(film(people, 12)) if o.state]
    assert len(stamps) > 5
    assert min(b - a for a, b in itertools.pairwise(stamps)) >= 1.0 - 1e-6
    still = [o.state for o in watch(film(lambda _t: [at(0.5)], 12)) if o.state]
    assert [s.count for s in still] == [0, 1]


def test_what_the_limit_held_back_is_there_at_the_end() -> None:
    scene = Scene()
    watch(film(lambda t: [at(0.5)] if t > 0.2 else [], 0.8), scene=scene)
    last = scene.flush()
    assert last is not None
    assert last.count == 1
    assert scene.flush() is None


def test_the_state_lists_everyone_with_posture_and_the_scene_as_a_whole() -> None:
    people = [replace(STANDING, feet=(0.2, 0.9)).person(1), replace(SITTING, feet=(0.7, 0.9)).person(2)]
    state = [o.state for o in watch(film(lambda _t: people, 4)) if o.state][-1]
    assert [(p.id, p.posture) for p in state.people] == [(1, "standing"), (2, "sitting")]
    assert state.posture == "mixed"
    assert all(0 < p.posture_confidence <= 1 for p in state.people)


def test_a_person_carried_on_by_prediction_counts_but_tells_no_posture() -> None:
    state = [o.state for o in watch(film(lambda _t: [STANDING.person(predicted=True)], 3)) if o.state][-1]
    assert (state.count, state.posture) == (1, "unknown")


def test_whoever_counts_still_while_the_camera_was_away_is_not_told_as_nobody() -> None:
    frames = [*film(lambda _t: [at(0.5)], 3), *(people_at(60 + i / 30) for i in range(90))]
    told = [(o.state.present, o.state.count, o.state.posture) for o in watch(frames) if o.state]
    assert told[-2:] == [(True, 1, ScenePosture.UNKNOWN), (False, 0, ScenePosture.NOBODY)]


def test_activity_is_zero_at_rest_and_grows_with_speed_whatever_the_size() -> None:
    def walking(heights_a_second: float, tall: float) -> float:
        across = heights_a_second * tall * HEIGHT_PX / WIDTH_PX
        frames = film(lambda t: [replace(STANDING, tall=tall, feet=(0.1 + across * t, 0.9)).person()], 4)
        return [o.state.activity for o in watch(frames) if o.state][-1]

    assert walking(0.0, 0.5) == 0
    assert 0 < walking(0.3, 0.3) < walking(0.7, 0.3) < walking(1.2, 0.3) == 1
    assert walking(0.5, 0.3) == pytest.approx(walking(0.5, 0.15), abs=0.1)


def test_entering_and_leaving_a_zone_is_told_with_person_and_time() -> None:
    frames = film(lambda t: [at(0.9 - 0.1 * t)], 8) + [people_at(t / 10, at(0.1 + 0.1 * (t / 10 - 8))) for t in range(81, 160)]
    events = [e for o in watch(frames, with_zones(LEFT_HALF)) for e in o.events if isinstance(e, ZoneEvent)]
    assert [(e.kind, e.zone, e.person) for e in events] == [("zone_entered", "left", 1), ("zone_left", "left", 1)]
    assert events[0].ts == pytest.approx(1_004.35, abs=0.15)


def test_standing_on_the_border_of_a_zone_tells_nothing_new() -> None:
    frames = film(lambda t: [at(0.5 + (0.004 if int(t) % 2 else -0.004))], 12)
    events = [e for o in watch(frames, with_zones(LEFT_HALF)) for e in o.events if isinstance(e, ZoneEvent)]
    assert [e.kind for e in events] == ["zone_entered"]


def test_who_vanishes_has_left_their_zones() -> None:
    observed = watch(film(lambda t: [at(0.2)] if t < 3 else [], 7), with_zones(LEFT_HALF))
    assert [e.kind for o in observed for e in o.events] == ["presence", "zone_entered", "presence", "zone_left"]
    states = [o.state for o in observed if o.state]
    assert [s.zones for s in states] == [{"left": 0}, {"left": 1}, {"left": 0}]


@pytest.mark.parametrize("turned", [False, True])
def test_two_who_are_lost_and_found_again_under_new_identities_stay_in_their_zones(turned: bool) -> None:
    def pair(left: int, right: int):
        return [replace(STANDING, feet=(x, 0.9)).person(identity) for x, identity in ((0.46, left), (0.54, right))]

    again = pair(3, 4)[::-1] if turned else pair(3, 4)
    frames = film(lambda t: pair(1, 2) if t < 3 else [] if t < 3.4 else again, 8)
    events = [e for o in watch(frames, with_zones(LEFT_HALF)) for e in o.events if isinstance(e, ZoneEvent)]
    assert [(e.kind, e.person) for e in events] == [("zone_entered", 1)]


def test_hips_place_a_person_whose_feet_are_hidden() -> None:
    low = Zone(name="low", polygon=[(0, 0.8), (1, 0.8), (1, 1), (0, 1)])
    whole, cut = ([STANDING.person()], [replace(STANDING, hidden=(15, 16)).person()])
    assert [e.kind for o in watch(film(lambda _t: whole, 2), with_zones(low)) for e in o.events] == ["presence", "zone_entered"]
    assert [e.kind for o in watch(film(lambda _t: cut, 2), with_zones(low)) for e in o.events] == ["presence"]


@pytest.mark.parametrize("feet", [(0.25, 1.2), (-0.01, 0.9)])
def test_feet_out_of_the_picture_stand_in_the_zone_that_reaches_its_edge(feet: tuple[float, float]) -> None:
    cut_off = [replace(STANDING, feet=feet).person()]
    events = [e for o in watch(film(lambda _t: cut_off, 2), with_zones(LEFT_HALF)) for e in o.events if isinstance(e, ZoneEvent)]
    assert [(e.kind, e.zone) for e in events] == [("zone_entered", "left")]


def test_new_zones_take_effect_at_once() -> None:
    scene = Scene()
    watch(film(lambda _t: [at(0.2)], 2), Config(), scene)
    later = [people_at(t / 30, at(0.2)) for t in range(61, 120)]
    events = [e for o in watch(later, with_zones(LEFT_HALF), scene) for e in o.events]
    assert [e.kind for e in events] == ["zone_entered"]


def test_another_key_tuned_or_another_zone_drawn_lets_nobody_enter_a_zone_again() -> None:
    scene = Scene()
    film_s = iter(range(0, 100, 2))

    def kinds(config: Config) -> list[str]:
        begun_s = next(film_s)
        frames = [people_at(begun_s + i / 30, at(0.2)) for i in range(60)]
        return [f"{e.kind} {e.zone}" for o in watch(frames, config, scene) for e in o.events if isinstance(e, ZoneEvent)]

    right_half = Zone(name="right", polygon=[(0.5, 0), (1, 0), (1, 1), (0.5, 1)])
    config = with_zones(LEFT_HALF)
    assert kinds(config) == ["zone_entered left"]
    assert kinds(override(config, {"mqtt.pose": False})) == []
    assert kinds(with_zones(right_half, LEFT_HALF)) == []
    assert kinds(with_zones(right_half)) == ["zone_left left"]
    assert kinds(with_zones(LEFT_HALF)) == ["zone_entered left"]
    assert kinds(with_zones(right_half.model_copy(update={"name": "left"}))) == ["zone_left left"]


def test_switched_off_it_says_nothing_and_starts_afresh() -> None:
    scene = Scene()
    off = with_state(enabled=False)
    assert all(o.state is None and not o.events for o in watch(film(lambda _t: [at(0.5)], 2), off, scene))
    assert [e.kind for o in watch(film(lambda _t: [at(0.5)], 2), Config(), scene) for e in o.events] == ["presence"]
