"""The descriptions made from the payload types: JSON Schemas, and an AsyncAPI document of all topics."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

from edge_node import __version__
from edge_node.config.models import NODE_NAME_PATTERN, Mqtt
from edge_node.sink.messages import CONTENT_TYPE, PAYLOADS, ROOT, SCHEMA_ID
from edge_node.sink.mqtt_node import health_expiry_s
from edge_node.sink.mqtt_scene import EVENT_EXPIRY_S
from edge_node.sink.mqtt_tuning import ANSWER_EXPIRY_S

DIALECT = "http://json-schema.org/draft-07/schema#"


@dataclass(frozen=True, slots=True)
class _Topic:
    """A topic below the node's: who sends, how, and what it is for."""

    suffix: str
    payload: str
    action: Literal["send", "receive"]
    qos: int
    retain: bool
    expiry_s: int | None
    text: str


# What can be set is described as it is by default.
_POSE_EXPIRY_S = Mqtt().expiry_s
_HEALTH_EXPIRY_S = health_expiry_s(Mqtt().health_interval_s)
_TOPICS = {
    "status": _Topic("status", "status", "send", 1, True, None, "Whether the node is there; also its last will."),
    "info": _Topic("info", "info", "send", 1, True, None, "What the node is and how it is set; sent again when that changes."),
    "health": _Topic("health", "health", "send", 0, True, _HEALTH_EXPIRY_S, "How the node does, every mqtt.health_interval_s."),
    "pose": _Topic(
        "pose", "pose", "send", 0, False, _POSE_EXPIRY_S, "Everybody in one processed frame. Newest wins: a slow line misses frames."
    ),
    "state": _Topic("state", "state", "send", 1, True, None, "What the scene is like, on change, at most once a second."),
    "event": _Topic(
        "event/{kind}", "event", "send", 1, False, EVENT_EXPIRY_S, "Something happened: presence, zone_entered, zone_left, fall."
    ),
    "config": _Topic("config", "config", "send", 1, True, None, "The tunable values in force."),
    "result": _Topic(
        "result", "result", "send", 1, False, ANSWER_EXPIRY_S, "The answer to a request that names no response topic of its own."
    ),
    "set": _Topic("set/{key}", "set", "receive", 1, False, None, "Tune a key: mqtt.max_rate_hz, or mqtt/max_rate_hz. null resets it."),
    "cmd": _Topic("cmd/{verb}", "cmd", "receive", 1, False, None, "Do something: reload, reset_tuning, restart, announce, …"),
}
_PARAMETERS = {
    "node": "The node's name (node.name of its configuration).",
    "kind": "What happened.",
    "key": "Path of a tunable key.",
    "verb": "What to do.",
}


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name to JSON Schema (draft 7, which every tool knows), one for each payload."""
    return {f"{name}.schema.json": _schema(name, kind) for name, kind in PAYLOADS.items()}


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 document. Payloads are references to ``schemas/`` beside it."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:edge_node:v1",
        "info": {
            "title": "edge_node",
            "version": __version__,
            "description": "A camera node that says where people's joints are. Seen from the node: it sends and receives.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "localhost:1883",
                "protocol": "mqtt",
                "protocolVersion": "5.0",
                "description": "Any MQTT 5 broker, or one of MQTT 3.1.1 (without expiry, content type and response topics).",
            }
        },
        "channels": {name: _channel(name, topic) for name, topic in _TOPICS.items()},
        "operations": {f"{topic.action}_{name}": _operation(name, topic) for name, topic in _TOPICS.items()},
        "components": {"messages": {name: _message(name, topic) for name, topic in _TOPICS.items()}},
    }


def _schema(name: str, kind: Any) -> dict[str, Any]:
    schema = TypeAdapter(kind).json_schema()
    return {
        "$schema": DIALECT,
        "$id": f"urn:{SCHEMA_ID.replace('/', ':')}:{name}",
        "title": name,
        **{k: v for k, v in schema.items() if k != "title"},
    }


def _channel(name: str, topic: _Topic) -> dict[str, Any]:
    address = f"{ROOT}/{{node}}/{topic.suffix}"
    names = [p for p in _PARAMETERS if f"{{{p}}}" in address]
    return {
        "address": address,
        "description": topic.text,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "parameters": {p: {"description": _PARAMETERS[p] + (f" Matches {NODE_NAME_PATTERN}" if p == "node" else "")} for p in names},
    }


def _operation(name: str, topic: _Topic) -> dict[str, Any]:
    mqtt: dict[str, Any] = {"qos": topic.qos, "retain": topic.retain, "bindingVersion": "0.2.0"}
    if topic.expiry_s is not None:
        mqtt["messageExpiryInterval"] = topic.expiry_s
    operation: dict[str, Any] = {
        "action": topic.action,
        "channel": {"$ref": f"#/channels/{name}"},
        "summary": topic.text,
        "messages": [{"$ref": f"#/channels/{name}/messages/{name}"}],
        "bindings": {"mqtt": mqtt},
    }
    if topic.action == "receive":
        operation["description"] = "Answered on the MQTT 5 response topic where the request names one, else on result."
        operation["reply"] = {"channel": {"$ref": "#/channels/result"}}
    return operation


def _message(name: str, topic: _Topic) -> dict[str, Any]:
    return {
        "name": name,
        "summary": topic.text,
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"./schemas/{topic.payload}.schema.json"},
    }
