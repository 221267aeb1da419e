"""The scene over MQTT: ``state`` on change, ``event/<kind>`` when something happens. Both outlast a missing broker."""

from collections.abc import Iterable

from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.scene import FallEvent, PersonState, PresenceEvent, Scene, SceneEvent, SceneState
from edge_node.sink import messages
from edge_node.sink.messages import VERSION, encode, topic
from edge_node.sink.outgoing import Incoming, Outgoing

EVENT_EXPIRY_S = 300


class SceneSpeaker:
    """Turns people into state and events. ``boot`` and a number make each event's id."""

    subscriptions = ()

    def __init__(self, settings: Settings, boot: str) -> None:
        self._settings = settings
        self._node = settings.current.node.name
        self._boot = boot
        self._scene = Scene()
        self._events = 0
        self._state: Outgoing | None = None

    def connected(self) -> Iterable[Outgoing]:
        """The broker may have forgotten the retained state."""
        return [self._state] if self._state is not None else []

    def saw(self, people: People) -> Iterable[Outgoing]:
        observed = self._scene.update(people, self._settings.current)
        said = [self._event(event) for event in observed.events]
        return said if observed.state is None else [*said, self._say(observed.state)]

    def tick(self) -> Iterable[Outgoing]:
        return ()

    def heard(self, message: Incoming) -> Iterable[Outgoing]:  # noqa: ARG002 - nothing is asked of it
        return ()

    def finish(self) -> Iterable[Outgoing]:
        state = self._scene.flush()
        return [] if state is None else [self._say(state)]

    def _say(self, state: SceneState) -> Outgoing:
        self._state = Outgoing(topic(self._node, "state"), encode(state_payload(state)), 1, retain=True, keep=True)
        return self._state

    def _event(self, event: SceneEvent) -> Outgoing:
        self._events += 1
        payload = event_payload(event, f"{self._boot}-{self._events}")
        return Outgoing(topic(self._node, f"event/{event.kind}"), encode(payload), 1, expiry_s=EVENT_EXPIRY_S, keep=True)


def state_payload(state: SceneState) -> messages.State:
    """The payload of ``state``."""
    return {
        "v": VERSION,
        "ts": round(state.ts, 3),
        "present": state.present,
        "count": state.count,
        "posture": state.posture.value,
        "activity": round(state.activity, 3),
        "people": [_person(person) for person in state.people],
        "zones": dict(state.zones),
    }


def event_payload(event: SceneEvent, event_id: str) -> messages.Event:
    """The payload of ``event/<kind>``."""
    payload: messages.Event = {"v": VERSION, "id": event_id, "kind": event.kind, "ts": round(event.ts, 3)}
    if isinstance(event, PresenceEvent):
        return {**payload, "present": event.present, "count": event.count}
    if isinstance(event, FallEvent):
        return {**payload, "person": event.person, "confidence": round(event.confidence, 3), "reasons": list(event.reasons)}
    return {**payload, "person": event.person, "zone": event.zone}


def _person(person: PersonState) -> messages.PersonState:
    return {
        "id": person.id,
        "posture": person.posture.value,
        "posture_confidence": round(person.posture_confidence, 3),
        "activity": round(person.activity, 3),
        "zones": list(person.zones),
    }
