"""What is said about a scene: frozen values, the contents of ``state`` and ``event/<kind>`` messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class Posture(StrEnum):
    """How one body holds itself. ``UNKNOWN`` when the joints in view do not tell."""

    STANDING = "standing"
    SITTING = "sitting"
    LYING = "lying"
    UNKNOWN = "unknown"


class ScenePosture(StrEnum):
    """The posture of everyone together; ``MIXED`` when people differ, ``UNKNOWN`` only when nobody's is known."""

    NOBODY = "nobody"
    STANDING = "standing"
    SITTING = "sitting"
    LYING = "lying"
    MIXED = "mixed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class PersonState:
    """One person. ``activity`` and ``posture_confidence`` are 0..1; ``zones`` are the names of those they stand in."""

    id: int
    posture: Posture
    posture_confidence: float
    activity: float
    zones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SceneState:
    """The scene as of ``ts`` (capture time, seconds since 1970).

    ``count`` is how many people are there, with hysteresis; ``people`` has at most so many entries. ``activity`` is that of the
    most active person. ``zones`` says for every configured zone how many people are in it.
    """

    ts: float
    present: bool
    count: int
    posture: ScenePosture
    activity: float
    people: tuple[PersonState, ...] = ()
    zones: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PresenceEvent:
    """Somebody came into an empty scene, or the last one left it."""

    ts: float
    present: bool
    count: int
    kind: Literal["presence"] = "presence"


@dataclass(frozen=True, slots=True)
class ZoneEvent:
    """The person with identity ``person`` entered or left a zone."""

    kind: Literal["zone_entered", "zone_left"]
    ts: float
    zone: str
    person: int


@dataclass(frozen=True, slots=True)
class FallEvent:
    """A suspected fall: ``confidence`` 0..1 and what it rests on, one phrase each. ``ts`` is when the descent ended."""

    ts: float
    person: int
    confidence: float
    reasons: tuple[str, ...]
    kind: Literal["fall"] = "fall"


SceneEvent = PresenceEvent | ZoneEvent | FallEvent


@dataclass(frozen=True, slots=True)
class Observed:
    """What one frame brought: a state worth publishing (``None`` when nothing changed), and events in order."""

    state: SceneState | None = None
    events: tuple[SceneEvent, ...] = ()
