"""Whatever the estimator says, the scene goes on: figures beyond the picture, of no size, in any number and at any pace."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.config.models import Config, State, Zone
from edge_node.data import People, Person
from edge_node.scene import FallEvent, PresenceEvent, Scene, ZoneEvent

ZONE = Zone(name="z", polygon=[(0.2, 0.2), (0.8, 0.2), (0.8, 0.8)])
CONFIG = Config(state=State(zones=[ZONE], fall_sensitivity=1.0, presence_on_s=0.0, presence_off_s=0.5))


@st.composite
def persons(draw: st.DrawFn, identity: int) -> Person:
    spread = draw(st.sampled_from([0.0, 1e-6, 0.01, 0.3, 2.0]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    centre = draw(st.tuples(st.floats(-1, 2), st.floats(-1, 2)))
    keypoints = np.empty((17, 3), np.float32)
    keypoints[:, :2] = centre + spread * chance.standard_normal((17, 2))
    keypoints[:, 2] = chance.random(17) * draw(st.sampled_from([0.0, 0.4, 1.0]))
    return Person(identity, 0.5, (0.1, 0.1, 0.9, 0.9), keypoints, draw(st.booleans()))


@st.composite
def films(draw: st.DrawFn) -> list[People]:
    at_ns, out = 0, []
    for seq in range(draw(st.integers(1, 12))):
        at_ns += draw(st.sampled_from([0, 1, 33_000_000, 200_000_000, 5_000_000_000]))
        ids = draw(st.lists(st.integers(1, 6), max_size=4, unique=True))
        size = draw(st.sampled_from([(1280, 720), (1, 1), (64, 4096)]))
        out.append(People(seq, at_ns, at_ns, at_ns / 1e9, *size, "cpu", tuple(draw(persons(i)) for i in ids)))
    return out


@settings(max_examples=50, deadline=None)
@given(films())
def test_every_film_gives_states_and_events_in_their_ranges(film: list[People]) -> None:
    scene = Scene()
    for people in film:
        observed = scene.update(people, CONFIG)
        for event in observed.events:
            assert isinstance(event, PresenceEvent | ZoneEvent | FallEvent)
            if isinstance(event, FallEvent):
                assert 0 < event.confidence <= 1
                assert event.reasons
        now = scene.latest
        assert now is not None
        assert len(now.people) <= now.count
        assert now.present == (now.count > 0)
        assert 0 <= now.activity <= 1
        assert now.zones.keys() == {"z"}
        assert 0 <= now.zones["z"] <= len(now.people)
        assert all(0 <= p.posture_confidence <= 1 and 0 <= p.activity <= 1 for p in now.people)
