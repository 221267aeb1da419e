"""What Home Assistant accepts in a device discovery payload, written down from its documentation.

Sources: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload and, for each platform,
https://www.home-assistant.io/integrations/<platform>.mqtt/ ; device classes and units from
https://www.home-assistant.io/integrations/sensor/#device-class and .../binary_sensor/#device-class. Compared with the schemas
of Home Assistant's own source (``components/mqtt/schemas.py`` and the platforms) of 2026. Only what edge_node's kind of device
can use is listed: anything else is refused here.
"""

import re
from typing import Any

ROOT = {"device", "origin", "components", "availability", "availability_mode", "state_topic", "command_topic", "qos", "encoding"}
DEVICE = {
    "identifiers", "connections", "manufacturer", "model", "model_id", "name", "hw_version", "serial_number",
    "sw_version", "via_device", "suggested_area", "configuration_url",
}  # fmt: skip
ORIGIN = {"name", "sw_version", "support_url"}
COMMON = {
    "platform", "name", "unique_id", "default_entity_id", "icon", "entity_category", "enabled_by_default", "availability",
    "availability_mode", "json_attributes_topic", "json_attributes_template", "qos", "encoding", "device_class",
}  # fmt: skip
READS = {"state_topic", "value_template"}
WRITES = {"command_topic", "retain", "optimistic", "state_topic", "value_template", "command_template"}
PLATFORMS: dict[str, tuple[set[str], set[str]]] = {
    # platform: required, further keys
    "sensor": (
        {"state_topic"},
        READS | {"expire_after", "force_update", "options", "state_class", "unit_of_measurement", "suggested_display_precision"},
    ),
    "binary_sensor": ({"state_topic"}, READS | {"expire_after", "force_update", "off_delay", "payload_on", "payload_off"}),
    "event": ({"state_topic", "event_types"}, READS | {"event_types"}),
    "number": ({"command_topic"}, WRITES | {"min", "max", "step", "mode", "unit_of_measurement", "payload_reset"}),
    "select": ({"command_topic", "options"}, WRITES | {"options"}),
    "switch": ({"command_topic"}, WRITES | {"payload_on", "payload_off", "state_on", "state_off"}),
    "button": ({"command_topic"}, {"command_topic", "command_template", "payload_press", "retain"}),
}
DEVICE_CLASSES = {
    "sensor": {"enum", "temperature", "duration", "frequency"},
    "binary_sensor": {"occupancy", "problem", "connectivity", "presence"},
    "event": {"button", "doorbell", "motion"},
    "button": {"identify", "restart", "update"},
    "switch": {"outlet", "switch"},
    "number": {"temperature", "duration", "frequency"},
    "select": set(),
}
UNITS = {"temperature": {"°C", "°F", "K"}, "duration": {"d", "h", "min", "s", "ms", "µs"}, "frequency": {"Hz", "kHz", "MHz", "GHz"}}
STATE_CLASSES = {"measurement", "measurement_angle", "total", "total_increasing"}


def problems(payload: dict[str, Any]) -> list[str]:
    """Everything Home Assistant would refuse or ignore in a device discovery payload."""
    required = {"device", "origin", "components"}
    found = [f"root: {key}" for key in payload.keys() - ROOT] + [f"root lacks {key}" for key in required - payload.keys()]
    found += [f"device: {key}" for key in payload["device"].keys() - DEVICE]
    if not payload["device"].get("identifiers") and not payload["device"].get("connections"):
        found.append("device: neither identifiers nor connections")
    found += [f"origin: {key}" for key in payload["origin"].keys() - ORIGIN]
    found += [] if payload["origin"].get("name") else ["origin lacks name"]
    found += _availability(payload)
    ids = [entity.get("unique_id") for entity in payload["components"].values()]
    found += [f"unique_id stands twice: {i}" for i in set(ids) if ids.count(i) > 1]
    for name, entity in payload["components"].items():
        found += [f"{name}: {text}" for text in _entity(entity)]
    return found


def _entity(entity: dict[str, Any]) -> list[str]:
    platform = entity.get("platform")
    if platform not in PLATFORMS:
        return [f"platform {platform}"]
    required, further = PLATFORMS[platform]
    found = [f"{key} is not known to {platform}" for key in entity.keys() - COMMON - required - further]
    found += [f"lacks {key}" for key in (required | {"unique_id"}) - entity.keys()]
    found += [f"{key} is empty" for key in ("name", "unique_id") if not entity.get(key)]
    found += _availability(entity)
    for key in entity.keys() & {"state_topic", "command_topic"}:
        if not entity[key] or set("+#\0") & set(entity[key]) or entity[key].startswith("/"):
            found.append(f"{key} {entity[key]!r}")
    if not re.fullmatch(rf"{platform}\.[a-z0-9_]+", entity.get("default_entity_id", f"{platform}.x")):
        found.append(f"default_entity_id {entity['default_entity_id']}")
    if not re.fullmatch(r"mdi:[a-z0-9-]+", entity.get("icon", "mdi:x")):
        found.append(f"icon {entity['icon']}")
    if entity.get("entity_category", "diagnostic") not in {"config", "diagnostic"}:
        found.append("entity_category")
    if platform in {"sensor", "binary_sensor", "event"} and entity.get("entity_category") == "config":
        found.append("what only reads cannot be of category config")
    if entity.get("qos", 0) not in {0, 1, 2}:
        found.append("qos")
    return found + _classes(platform, entity) + _values(platform, entity)


def _classes(platform: str, entity: dict[str, Any]) -> list[str]:
    device_class, unit = entity.get("device_class"), entity.get("unit_of_measurement")
    found = []
    if device_class is not None and device_class not in DEVICE_CLASSES[platform]:
        found.append(f"device_class {device_class}")
    if device_class in UNITS and unit not in UNITS[device_class]:
        found.append(f"unit {unit} of device_class {device_class}")
    if "state_class" in entity and entity["state_class"] not in STATE_CLASSES:
        found.append("state_class")
    if platform == "sensor" and ("options" in entity) != (device_class == "enum"):
        found.append("options belong to device_class enum, and it to them")
    if platform == "sensor" and "options" in entity and {"state_class", "unit_of_measurement"} & entity.keys():
        found.append("options exclude state_class and unit_of_measurement")
    return found


def _values(platform: str, entity: dict[str, Any]) -> list[str]:
    found = []
    if "options" in entity and not (entity["options"] and all(isinstance(o, str) for o in entity["options"])):
        found.append("options")
    if platform == "number" and not (entity["min"] < entity["max"] and entity["step"] >= 0.001):
        found.append("min, max or step")
    if entity.get("mode", "auto") not in {"auto", "box", "slider"}:
        found.append("mode")
    counts = entity.keys() & {"expire_after", "off_delay", "suggested_display_precision"}
    found += [f"{key} {entity[key]}" for key in counts if not isinstance(entity[key], int) or entity[key] < 0]
    texts = entity.keys() & {"payload_on", "payload_off", "payload_press", "value_template", "name", "unique_id"}
    return found + [f"{key} is no text" for key in texts if not isinstance(entity[key], str)]


def _availability(part: dict[str, Any]) -> list[str]:
    known = {"topic", "payload_available", "payload_not_available", "value_template"}
    found = [f"availability {entry}" for entry in part.get("availability", []) if "topic" not in entry or entry.keys() - known]
    if part.get("availability_mode", "all") not in {"all", "any", "latest"}:
        found.append("availability_mode")
    return found
