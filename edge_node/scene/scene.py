"""The scene: everyone in view, remembered from frame to frame, and what is worth saying about them."""

import math
from collections.abc import Sequence

from edge_node.config.models import Config, Zone
from edge_node.data import People, Person
from edge_node.scene.hysteresis import SteadyCount
from edge_node.scene.person import PersonMemory, centre_px
from edge_node.scene.values import (
    Observed,
    PersonState,
    Posture,
    PresenceEvent,
    SceneEvent,
    ScenePosture,
    SceneState,
)
from edge_node.scene.zones import ZoneMap, ZoneMemory

_Gist = tuple[int, tuple[str, ...], tuple[tuple[object, ...], ...]]

STATE_INTERVAL_S = 1.0
"""States are at least so far apart."""
_LATELY_S = 0.1
"""A gap this short does not count against somebody who is about to be counted."""
_SAME_PERSON_HEIGHTS = 0.75
"""Somebody who vanished and somebody new this near, in body heights (the middle of a stiff body that topples goes 0.67), and ..."""
_SAME_PERSON_S = 1.5
"""... within this time are taken for one: trackers lose people just when they fall."""


class Scene:
    """Turns ``People`` into states and events. One for each stream of frames; not for several threads at once."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._people: dict[int, PersonMemory] = {}
        self._count = SteadyCount()
        self._zones = ZoneMap((), 1, 1)
        self._zones_from: tuple[Sequence[Zone], int, int] = ((), 1, 1)
        self._said: _Gist | None = None
        self._said_at_s = -math.inf
        self._now: tuple[People, Config] | None = None

    def update(self, people: People, config: Config) -> Observed:
        """Take in one frame; returns the state if it changed (at most once a second) and the events, in order."""
        if not config.state.enabled:
            self._reset()  # what comes once it is switched on again starts afresh
            return Observed()
        at_s = people.media_ns / 1e9
        events = self._use_zones(people, config.state.zones)
        events += self._update_people(people, config, at_s)
        events += self._forget(people.ts, at_s, config.state.presence_off_s)
        events = self._update_count(people, config, at_s) + events
        self._now = people, config
        if at_s - self._said_at_s < STATE_INTERVAL_S:
            return Observed(None, tuple(events))
        return Observed(self._say(), tuple(events))

    @property
    def latest(self) -> SceneState | None:
        """The scene as of the last frame, whether it was worth saying or not; ``None`` before the first."""
        if self._now is None:
            return None
        people, config = self._now
        listed = self._listed(people.media_ns / 1e9, config)
        persons = tuple(memory.state() for memory in listed)
        return SceneState(
            ts=people.ts,
            present=self._count.value > 0,
            count=self._count.value,
            posture=_together(persons) if self._count.value > 0 else ScenePosture.NOBODY,
            activity=max((p.activity for p in persons), default=0.0),
            people=persons,
            zones={name: sum(name in p.zones for p in persons) for name in self._zones.names},
        )

    def flush(self) -> SceneState | None:
        """A change that the limit of one a second still holds back, if there is one: for the end of the stream."""
        return self._say()

    def _say(self) -> SceneState | None:
        if self._now is None:
            return None
        people, config = self._now
        at_s = people.media_ns / 1e9
        gist = (self._count.value, self._zones.names, tuple(memory.gist() for memory in self._listed(at_s, config)))
        if gist == self._said:
            return None
        self._said, self._said_at_s = gist, at_s
        return self.latest

    def _listed(self, at_s: float, config: Config) -> list[PersonMemory]:
        """Of the people remembered, the ``count`` seen last and longest, in the order of their identities."""
        known = [m for m in self._people.values() if m.last_s - m.first_s >= config.state.presence_on_s]
        if len(known) > self._count.value:
            known = sorted(known, key=lambda m: (at_s - m.last_s, m.first_s))[: self._count.value]
        return sorted(known, key=lambda m: m.id)

    def _use_zones(self, people: People, zones: Sequence[Zone]) -> list[SceneEvent]:
        """Take over ``zones`` where they changed: who was in one that is gone, or has another outline, has left it."""
        before, *size = self._zones_from
        if zones is before and size == [people.width_px, people.height_px]:
            return []
        self._zones_from = (zones, people.width_px, people.height_px)
        self._zones = ZoneMap(zones, people.width_px, people.height_px)
        # Every change of any key makes the list anew, and mostly the same: who is in a zone that stays does not enter it again.
        gone = {zone.name for zone in before if zone not in zones}
        return [event for memory in self._people.values() for event in memory.use_zones(self._zones, gone, people.ts)]

    def _update_people(self, people: People, config: Config, at_s: float) -> list[SceneEvent]:
        events: list[SceneEvent] = []
        for person in people.people:
            memory = self._people.get(person.id) or self._meet(person, people, at_s)
            events += memory.update(person, people, config, self._zones, at_s)
        return events

    def _meet(self, person: Person, people: People, at_s: float) -> PersonMemory:
        """The memory of an identity seen for the first time: that of somebody who vanished right there, or a new one."""
        now_ids = {p.id for p in people.people}
        x, y = centre_px(person, people)
        away = {memory.id: math.dist(memory.centre_px, (x, y)) for memory in self._people.values()}
        near = [
            memory
            for memory in self._people.values()
            if memory.id not in now_ids
            and at_s - memory.last_s <= _SAME_PERSON_S
            and memory.height_px is not None
            and away[memory.id] <= _SAME_PERSON_HEIGHTS * memory.height_px
        ]
        if near:
            memory = min(near, key=lambda m: away[m.id])
            del self._people[memory.id]
            memory.id = person.id
        else:
            memory = PersonMemory(person.id, at_s, at_s, -math.inf, ZoneMemory(self._zones))
        self._people[person.id] = memory
        return memory

    def _forget(self, ts: float, at_s: float, after_s: float) -> list[SceneEvent]:
        gone = [memory for memory in self._people.values() if at_s - memory.last_s > max(after_s, _SAME_PERSON_S)]
        for memory in gone:
            del self._people[memory.id]
        return [event for memory in gone for event in memory.left(ts)]

    def _update_count(self, people: People, config: Config, at_s: float) -> list[SceneEvent]:
        before = self._count.value
        lately = sum(at_s - memory.last_s <= _LATELY_S for memory in self._people.values())
        self._count.update(len(people.people), lately, at_s, config.state.presence_on_s, config.state.presence_off_s)
        now = self._count.value
        return [PresenceEvent(people.ts, now > 0, now)] if (before > 0) != (now > 0) else []


def _together(persons: Sequence[PersonState]) -> ScenePosture:
    postures = {person.posture for person in persons} - {Posture.UNKNOWN}
    if not postures:
        return ScenePosture.UNKNOWN
    return ScenePosture(postures.pop().value) if len(postures) == 1 else ScenePosture.MIXED
