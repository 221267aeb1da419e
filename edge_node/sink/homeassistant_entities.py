"""The node as a Home Assistant device: one discovery payload with every entity.

Schema: https://www.home-assistant.io/integrations/mqtt/ (device discovery payload) and the pages of its platforms
(``sensor.mqtt``, ``binary_sensor.mqtt``, ``event.mqtt``, ``number.mqtt``, ``select.mqtt``, ``switch.mqtt``, ``button.mqtt``).
No entity reads ``pose``: Home Assistant's recorder would keep every message.
"""

from collections.abc import Iterator
from typing import Any

from edge_node import __version__
from edge_node.config.keys import Key, live_keys
from edge_node.config.models import Config
from edge_node.scene import ScenePosture
from edge_node.sink.messages import topic

Entity = dict[str, Any]

_EXPIRE_INTERVALS = 3
"""Health values are unavailable when so many health messages did not come."""
_UNITS = {"hz": "Hz", "s": "s", "ms": "ms", "c": "°C", "fps": "fps"}
_SHOWN = frozenset(
    {"mqtt.pose", "mqtt.max_rate_hz", "pose.score_threshold", "pose.max_people", "state.fall_sensitivity", "smoothing.enabled"}
)
"""Tunable keys that are shown at once; the others can be enabled in Home Assistant."""
_NAMES = {
    "mqtt.pose": "Pose stream",
    "mqtt.max_rate_hz": "Pose rate limit",
    "mqtt.on_change": "Poses on change only",
    "mqtt.empty_rate_hz": "Pose rate of an empty scene",
    "mqtt.format": "Pose format",
    "pose.idle_fps": "Frame rate of an empty scene",
    "pose.max_soc_temperature_c": "Temperature limit",
    "smoothing.enabled": "Smoothing",
    "state.enabled": "Scene",
}
_SLIDER_STEPS = 200
_SCENE_SENSORS: dict[str, Entity] = {
    "people": {"name": "People", "icon": "mdi:account-group", "state_class": "measurement", "value_template": "{{ value_json.count }}"},
    "posture": {
        "name": "Posture",
        "icon": "mdi:human",
        "device_class": "enum",
        "options": [posture.value for posture in ScenePosture],
        "value_template": "{{ value_json.posture }}",
    },
    "activity": {
        "name": "Activity",
        "icon": "mdi:run",
        "unit_of_measurement": "%",
        "state_class": "measurement",
        "suggested_display_precision": 0,
        "value_template": "{{ (value_json.activity * 100) | round(0) | int }}",
    },
}
"""Sensors that read ``state``."""
_MEASURED: dict[str, tuple[Entity, str]] = {
    "fps": (
        {"name": "Frame rate", "unit_of_measurement": "fps", "icon": "mdi:speedometer"},
        "{{ value_json.fps }}",
    ),
    "inference": (
        {"name": "Inference time", "device_class": "duration", "unit_of_measurement": "ms"},
        "{{ (value_json.stages.invoke | default({})).p50_ms | default(None) }}",
    ),
    "temperature": (
        {"name": "Processor temperature", "device_class": "temperature", "unit_of_measurement": "°C"},
        "{{ value_json.facts.soc_temperature_c | default(None) }}",
    ),
}
"""Numbers of ``health``, each with the template of its value."""


def device_id(node: str) -> str:
    """Of the device of ``node``, in topics and unique ids."""
    return f"edge_node_{node}"


def discovery_topic(prefix: str, node: str) -> str:
    """Where the discovery payload of ``node`` stands, retained."""
    return f"{prefix}/device/{device_id(node)}/config"


def discovery_payload(config: Config) -> dict[str, Any]:
    """The device with its entities, as ``config`` makes them."""
    node = config.node.name
    return {
        "device": {
            "identifiers": [device_id(node)],
            "name": node,
            "manufacturer": "edge_node",
            "model": "Pose camera",
            "sw_version": __version__,
        },
        "origin": {"name": "edge_node", "sw_version": __version__},
        "availability": [_node_availability(node)],
        "components": {name: _identified(node, name, entity) for name, entity in _entities(config)},
    }


def _entities(config: Config) -> Iterator[tuple[str, Entity]]:
    yield from _scene(config)
    yield from _diagnostics(config)
    if config.mqtt.allow_commands:
        yield from _tuning(config)
        yield from _buttons(config)


def _identified(node: str, name: str, entity: Entity) -> Entity:
    slug = f"{node}_{name}".lower().replace("-", "_")
    return {**entity, "unique_id": f"{device_id(node)}_{name}", "default_entity_id": f"{entity['platform']}.{slug}"}


def _scene(config: Config) -> Iterator[tuple[str, Entity]]:
    node = config.node.name
    # Without frames the last state says nothing of now.
    sees = "{{ 'online' if value_json.state == 'online' and 'camera' not in (value_json.problems | default({})) else 'offline' }}"
    enabled = "{{ 'online' if value_json['values']['state.enabled'] else 'offline' }}"
    common = {
        "availability": [
            {"topic": topic(node, "status"), "value_template": sees},
            {"topic": topic(node, "config"), "value_template": enabled},
        ],
        "availability_mode": "all",
    }
    state = {"state_topic": topic(node, "state"), **common}
    occupied = {"platform": "binary_sensor", "device_class": "occupancy", **state}
    yield "occupancy", {"name": "Occupancy", "value_template": "{{ 'ON' if value_json.present else 'OFF' }}", **occupied}
    for name, sensor in _SCENE_SENSORS.items():
        yield name, {"platform": "sensor", **sensor, **state}
    attributes = "'confidence': value_json.confidence, 'reasons': value_json.reasons, 'person': value_json.person, 'ts': value_json.ts"
    yield (
        "fall",
        {
            "platform": "event",
            "name": "Suspected fall",
            "icon": "mdi:human-wheelchair",
            "event_types": ["fall"],
            "state_topic": topic(node, "event/fall"),
            "value_template": f"{{{{ {{'event_type': 'fall', {attributes}}} | tojson }}}}",
            **common,
        },
    )
    for zone in config.state.zones:
        template = f"{{{{ 'ON' if value_json.zones.get('{zone.name}', 0) > 0 else 'OFF' }}}}"
        yield f"zone_{zone.name}", {"name": f"Zone {zone.name}", "value_template": template, **occupied}


def _diagnostics(config: Config) -> Iterator[tuple[str, Entity]]:
    node = config.node.name
    diagnostic = {"entity_category": "diagnostic"}
    health = {
        "state_topic": topic(node, "health"),
        "expire_after": max(int(_EXPIRE_INTERVALS * config.mqtt.health_interval_s), 10),
        **diagnostic,
    }
    measured = {"platform": "sensor", "state_class": "measurement", **health}
    for name, (sensor, template) in _MEASURED.items():
        yield name, {**sensor, **measured, "suggested_display_precision": 1, "value_template": template}
    runs_it = {"name": "Accelerator", "icon": "mdi:chip", "device_class": "enum", "options": ["cpu", "edgetpu"]}
    yield "accelerator", {"platform": "sensor", **runs_it, "value_template": "{{ value_json.accelerator }}", **health}
    problem = {"platform": "binary_sensor", "device_class": "problem"}
    slowed = "{{ {true: 'ON', false: 'OFF'}.get(value_json.facts.throttled | default(None)) }}"  # None: unknown
    yield "throttled", {"name": "Throttled", "value_template": slowed, **problem, **health}
    for part, name in (("camera", "Camera"), ("accelerator", "Accelerator")):
        yield (
            f"{part}_problem",
            {
                "name": f"{name} problem",
                "state_topic": topic(node, "status"),
                "value_template": f"{{{{ 'ON' if '{part}' in (value_json.problems | default({{}})) else 'OFF' }}}}",
                **problem,
                **diagnostic,
            },
        )


def _tuning(config: Config) -> Iterator[tuple[str, Entity]]:
    node = config.node.name
    for key in live_keys().values():
        kind = _control(key)
        if kind is None:
            continue
        yield (
            f"set_{key.path.replace('.', '_')}",
            {
                "name": _NAMES.get(key.path, _readable(key.path)),
                "entity_category": "config",
                "enabled_by_default": key.path in _SHOWN,
                "command_topic": topic(node, f"set/{key.path}"),
                "state_topic": topic(node, "config"),
                "value_template": f"{{{{ value_json['values']['{key.path}'] }}}}",
                "qos": 1,
                **kind,
            },
        )


def _control(key: Key) -> Entity | None:
    """What Home Assistant tunes ``key`` with; ``None`` for a key that is no number, switch or choice."""
    if key.choices:
        return {"platform": "select", "options": [str(choice) for choice in key.choices]}
    if key.type is bool:
        template = f"{{{{ 'true' if value_json['values']['{key.path}'] else 'false' }}}}"
        return {"platform": "switch", "payload_on": "true", "payload_off": "false", "value_template": template}
    if key.type not in (int, float) or key.minimum is None or key.maximum is None:
        return None
    step = _step(key)
    number = {
        "platform": "number",
        "min": step if key.minimum_excluded else key.minimum,
        "max": key.maximum,
        "step": step,
        "mode": "slider" if (key.maximum - key.minimum) / step <= _SLIDER_STEPS else "box",
    }
    unit = _UNITS.get(key.path.rsplit("_", 1)[-1])
    return number | {"unit_of_measurement": unit} if unit else number


def _step(key: Key) -> float:
    if key.type is int:
        return 1
    largest = key.maximum or 0
    return 0.01 if largest <= 1 else 0.1 if largest <= 10_000 else 1


def _buttons(config: Config) -> Iterator[tuple[str, Entity]]:
    node = config.node.name
    button = {"platform": "button", "entity_category": "config", "payload_press": "{}", "qos": 1}
    yield "restart", {"name": "Restart", "device_class": "restart", "command_topic": topic(node, "cmd/restart"), **button}
    yield (
        "reset_tuning",
        {
            "name": "Forget tuned values",
            "icon": "mdi:restore",
            "command_topic": topic(node, "cmd/reset_tuning"),
            **button,
            "enabled_by_default": False,
        },
    )


def _node_availability(node: str) -> dict[str, str]:
    return {"topic": topic(node, "status"), "value_template": "{{ value_json.state }}"}


def _readable(path: str) -> str:
    """``state.presence_on_s`` → ``Presence on``, ``smoothing.reset_after_s`` → ``Smoothing reset after``."""
    section, _, name = path.partition(".")
    words = name.split("_")
    if words[-1] in _UNITS:
        words = words[:-1]
    return " ".join(words if section in ("pose", "state") else [section, *words]).capitalize()
