"""What the node says, field by field: the payload types, their topics, and how a pose is encoded and read back.

These types are the one source of the JSON Schemas in docs/schemas, of the AsyncAPI document, and of what the client library
reads. They are plain dictionaries at run time: built as literals, checked by mypy, written by orjson.
"""

import time
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, TypeGuard

import numpy as np
import orjson
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from edge_node.config.models import NODE_NAME_PATTERN
from edge_node.data import KeypointArray, People, Person
from edge_node.errors import MessageError, MessageVersionError
from edge_node.pose.skeleton import KEYPOINTS

VERSION: Literal[1] = 1
ROOT = "edge_node/v1"
CONTENT_TYPE = "application/json"
SCHEMA_ID = "edge_node/v1"
"""Names the set of payload schemas, in ``info`` and as the MQTT 5 user property ``schema``."""
COORDINATES_PER_PERSON = 3 * len(KEYPOINTS)
LAST_TS = 253_402_300_799.0
"""The end of the year 9999, seconds since 1970: as far as calendars go."""
LAST_NUMBER = 2**53 - 1
"""Up to here every reader of JSON counts exactly."""
LARGEST_SIDE_PX = 65_535
"""No JPEG and no video is larger."""
FARTHEST = 10_000.0
"""Frames from the top left: beyond anything that a joint near a picture, however narrow, can be at."""

Version = Annotated[Literal[1], Field(description="Version of the payload; it grows only when a reader would have to change.")]
Timestamp = Annotated[float, Field(description="Wall clock, seconds since 1970.")]
Score = Annotated[float, Field(ge=0, le=1)]
Coordinate = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Boot = Annotated[str, Field(description="Drawn anew each time the node starts.")]
Problems = Annotated[
    dict[str, str], Field(description="What is wrong at the moment: part of the node to one line of text; empty when all is well.")
]
Accelerator = Annotated[str, Field(description="What ran the model: cpu or edgetpu.")]
Posture = Annotated[str, Field(description="standing, sitting, lying or unknown; of the whole scene also nobody or mixed.")]


class NamedKeypoint(TypedDict):
    """One joint, in the format `named`."""

    name: str
    x: Coordinate
    y: Coordinate
    score: Score


FlatKeypoints = Annotated[
    list[Coordinate],
    Field(
        min_length=COORDINATES_PER_PERSON,
        max_length=COORDINATES_PER_PERSON,
        description="x, y, score of each of the 17 keypoints of `info`.",
    ),
]
NamedKeypoints = Annotated[list[NamedKeypoint], Field(min_length=len(KEYPOINTS), max_length=len(KEYPOINTS))]


class PosePerson(TypedDict):
    """One body. Coordinates are 0..1 of the frame from its top left; a joint outside the picture lies beyond that."""

    id: Annotated[int, Field(ge=1, le=LAST_NUMBER, description="Identity within this run of the node.")]
    score: Score
    box: Annotated[list[Coordinate], Field(min_length=4, max_length=4, description="x0, y0, x1, y1.")]
    keypoints: Annotated[FlatKeypoints | NamedKeypoints, Field(description="Flat or named, as the key mqtt.format says.")]
    predicted: NotRequired[Annotated[bool, Field(description="Not found in this frame but carried on by motion; only there when true.")]]


class Pose(TypedDict):
    """Everybody in one processed frame; also a line of a recording."""

    v: Version
    seq: Annotated[int, Field(ge=0, le=LAST_NUMBER, description="Number of the frame in this run; numbers missing were not published.")]
    ts: Annotated[float, Field(ge=0, le=LAST_TS, description="When the frame was captured: wall clock, seconds since 1970.")]
    age_ms: Annotated[float, Field(ge=0, le=1000 * LAST_TS, description="Time from capture to the making of this message.")]
    accelerator: Accelerator
    width: Annotated[int, Field(ge=1, le=LARGEST_SIDE_PX, description="Of the frame, in pixels.")]
    height: Annotated[int, Field(ge=1, le=LARGEST_SIDE_PX, description="Of the frame, in pixels.")]
    people: list[PosePerson]


class Status(TypedDict):
    """Whether the node is there. Retained; the broker itself says offline when the connection is lost."""

    v: Version
    state: Literal["online", "offline"]
    boot: Boot
    version: Annotated[str, Field(description="Version of edge_node.")]
    ts: NotRequired[Timestamp]
    reason: NotRequired[Annotated[Literal["stopped"], Field(description="The node was stopped on purpose.")]]
    problems: NotRequired[Problems]


class ModelInfo(TypedDict):
    """The model that runs."""

    name: str
    sha256: str


class Info(TypedDict):
    """What the node is and how it is set; sent again when that changes. Retained."""

    v: Version
    ts: Timestamp
    node: Annotated[str, Field(pattern=NODE_NAME_PATTERN)]
    boot: Boot
    version: str
    model: ModelInfo
    accelerator: Accelerator
    engine: Annotated[str, Field(description="Runtime, version and threads.")]
    camera: Annotated[str, Field(description="Source, size and rate.")]
    keypoints: Annotated[list[str], Field(description="Names, in the order of every keypoint list.")]
    skeleton: Annotated[
        list[Annotated[list[int], Field(min_length=2, max_length=2)]],
        Field(description="Pairs of keypoint numbers that a drawn skeleton connects."),
    ]
    format: Literal["flat", "named"]
    # `schema` is what the field is called on the wire.
    schema: Annotated[str, Field(description="Identifier of the payload schemas.")]
    config_hash: Annotated[str, Field(description="Changes whenever the configuration does.")]


class StageLatency(TypedDict):
    """Milliseconds, of the last 512 frames."""

    p50_ms: float
    p99_ms: float
    max_ms: float


class Health(TypedDict):
    """How the node does. Retained."""

    v: Version
    ts: Timestamp
    boot: Boot
    uptime_s: float
    fps: float
    frames: int
    people: int
    accelerator: Accelerator
    stages: dict[str, StageLatency]
    counters: Annotated[dict[str, int], Field(description="Since the start: mqtt_dropped, camera_reopened, fallback_… .")]
    facts: Annotated[dict[str, float | str | bool], Field(description="soc_temperature_c, throttled, … where the machine has them.")]
    problems: Problems


class PersonState(TypedDict):
    """One person of the scene."""

    id: int
    posture: Posture
    posture_confidence: Score
    activity: Annotated[float, Field(ge=0, description="How much the person moves.")]
    zones: list[str]


class State(TypedDict):
    """What the scene is like. Retained; on change, at most once a second."""

    v: Version
    ts: Timestamp
    present: bool
    count: Annotated[int, Field(ge=0)]
    posture: Posture
    activity: Annotated[float, Field(ge=0)]
    people: list[PersonState]
    zones: Annotated[dict[str, int], Field(description="Zone to how many people are in it.")]


class Event(TypedDict):
    """Something happened. `id` is the same when a message is delivered twice."""

    v: Version
    id: Annotated[str, Field(description="Unique; a delivery repeated after a lost connection carries the same.")]
    kind: str
    ts: Annotated[float, Field(description="When it happened, however late it is delivered: wall clock, seconds since 1970.")]
    present: NotRequired[bool]
    count: NotRequired[int]
    zone: NotRequired[str]
    person: NotRequired[int]
    confidence: NotRequired[Score]
    reasons: NotRequired[list[str]]


class Configuration(TypedDict):
    """The tunable values in force. Retained. Never a secret."""

    v: Version
    ts: Timestamp
    values: Annotated[dict[str, Any], Field(description="Key path, such as mqtt.max_rate_hz, to its value.")]


class Result(TypedDict):
    """The answer to `set/<key>` or `cmd/<verb>`."""

    v: Version
    ts: Timestamp
    ok: bool
    kind: Literal["set", "cmd"]
    name: str
    value: NotRequired[Annotated[Any, Field(description="The value in force now.")]]
    reason: NotRequired[Annotated[str, Field(description="Why not, when `ok` is false.")]]


class Command(TypedDict):
    """Payload of `cmd/<verb>`; may also be empty."""

    id: NotRequired[Annotated[str, Field(max_length=64, description="A request of the same id is done once only.")]]


SetValue = Annotated[bool | int | float | str | list[Any] | None, Field(description="The new value, as JSON; null resets the key.")]
"""Payload of ``set/<key>``."""

PAYLOADS: Mapping[str, Any] = {
    "pose": Pose,
    "status": Status,
    "info": Info,
    "health": Health,
    "state": State,
    "event": Event,
    "config": Configuration,
    "result": Result,
    "set": SetValue,
    "cmd": Command,
}
"""Name of each payload, and of its schema, to its type."""


def topic(node: str, suffix: str) -> str:
    """The whole topic of ``suffix`` (``pose``, ``event/fall``) for one node."""
    return f"{ROOT}/{node}/{suffix}"


def encode(payload: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON."""
    return orjson.dumps(payload)


def encode_pose(people: People, layout: Literal["flat", "named"] = "flat", now_ns: int | None = None) -> bytes:
    """The pose message of one frame as UTF-8 JSON; its age is taken at ``now_ns`` of the monotonic clock (default: now)."""
    return orjson.dumps(pose(people, layout, now_ns))


def pose(people: People, layout: Literal["flat", "named"] = "flat", now_ns: int | None = None) -> Pose:
    """The pose message of one frame; coordinates and scores with four decimals."""
    return {
        "v": VERSION,
        "seq": people.seq,
        "ts": round(people.ts, 6),
        "age_ms": _age_ms(people, now_ns) if people.recorded_age_ms is None else people.recorded_age_ms,
        "accelerator": people.accelerator,
        "width": people.width_px,
        "height": people.height_px,
        "people": [_person(person, layout) for person in people.people],
    }


def _age_ms(people: People, now_ns: int | None) -> float:
    age_ns = (time.monotonic_ns() if now_ns is None else now_ns) - people.captured_ns
    return round(max(age_ns, 0) / 1e6, 1)


def _person(person: Person, layout: Literal["flat", "named"]) -> PosePerson:
    # Divided in double precision, so that the shortest text of each number has no more than four decimals.
    numbers: list[float] = (np.rint(np.multiply(person.keypoints, 1e4, dtype=np.float64)) / 1e4).ravel().tolist()
    message: PosePerson = {
        "id": person.id,
        "score": round(float(person.score), 4),
        "box": [round(float(side), 4) for side in person.box],
        "keypoints": numbers if layout == "flat" else _named(numbers),
    }
    if person.predicted:
        message["predicted"] = True
    return message


def _named(numbers: list[float]) -> list[NamedKeypoint]:
    triples = zip(KEYPOINTS, numbers[0::3], numbers[1::3], numbers[2::3], strict=True)
    return [{"name": name, "x": x, "y": y, "score": score} for name, x, y, score in triples]


def read_pose(payload: bytes | bytearray) -> Pose:
    """The pose message that ``payload`` is, in either layout. Raises ``MessageError``."""
    message: Pose = read("pose", payload)
    return message


def read(kind: str, payload: bytes | bytearray) -> Any:
    """The message of this ``kind``, a key of ``PAYLOADS``, that ``payload`` is. Raises ``MessageError``."""
    try:
        content = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise MessageError(f"not JSON ({error.msg})") from None
    version = content.get("v") if isinstance(content, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise MessageVersionError(f"a message of version {version}; this program reads version {VERSION}")
    try:
        return _adapter(kind).validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MessageError(f"{place}: {first['msg'].lower()}") from None


def people_in(message: Pose, captured_ns: int) -> People:
    """What ``pose`` made ``message`` of, captured at ``captured_ns`` of the monotonic clock. ``media_ns`` follows the message's ``ts``."""
    return People(
        seq=message["seq"],
        captured_ns=captured_ns,
        media_ns=round(message["ts"] * 1e9),
        ts=message["ts"],
        width_px=message["width"],
        height_px=message["height"],
        accelerator=message["accelerator"],
        people=tuple(_person_in(person) for person in message["people"]),
    )


def keypoints_of(keypoints: list[float] | list[NamedKeypoint]) -> KeypointArray:
    """float32 [17, 3] of either layout of a message."""
    if _is_named(keypoints):
        return np.array([(k["x"], k["y"], k["score"]) for k in keypoints], np.float32)
    return np.array(keypoints, np.float32).reshape(-1, 3)


def _is_named(keypoints: list[float] | list[NamedKeypoint]) -> TypeGuard[list[NamedKeypoint]]:
    return bool(keypoints) and isinstance(keypoints[0], dict)


def _person_in(person: PosePerson) -> Person:
    keypoints = keypoints_of(person["keypoints"])
    return Person(person["id"], person["score"], _box(person["box"]), keypoints, person.get("predicted", False))


def _box(sides: list[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = sides
    return x0, y0, x1, y1


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(PAYLOADS[kind])
