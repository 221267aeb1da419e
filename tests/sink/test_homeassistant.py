"""Home Assistant's discovery: the payload against the documented schema, its templates on real messages, and its whole life."""

import json
from pathlib import Path

import jinja2.sandbox
import pytest

from edge_node import paths
from edge_node.config.keys import live_keys
from edge_node.config.load import load
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.sink import homeassistant, messages
from edge_node.sink.homeassistant import HomeAssistantSpeaker, state_file
from edge_node.sink.homeassistant_entities import discovery_payload, discovery_topic
from edge_node.tuning import Tuning, tunable_values
from tests.sink.homeassistant_schema import PLATFORMS, problems
from tests.sink.parts import wait_for

FILE = Path("/etc/edge-node/edge-node.yaml")
SOFA = "state.zones=[{name: sofa, polygon: [[0, 0], [1, 0], [1, 1]]}]"
ON = "homeassistant.enabled=true"
TOPIC = "homeassistant/device/edge_node_n1/config"


def configured(*options: str) -> Config:
    return load(None, {}, ["node.name=n1", *options])


def components(*options: str) -> dict:
    return discovery_payload(configured(*options))["components"]


@pytest.mark.parametrize(
    "options", [(), (SOFA,), ("mqtt.allow_commands=false",), ("node.name=Living-Room_2",), ("mqtt.health_interval_s=1",)]
)
def test_every_entity_is_one_that_home_assistant_accepts(options):
    payload = discovery_payload(configured(*options))
    assert problems(payload) == []
    assert {entity["platform"] for entity in payload["components"].values()} <= set(PLATFORMS)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"platform": "sensr"}, "platform sensr"),
        ({"unique_id": None}, "unique_id is empty"),
        ({"object_id": "x"}, "object_id is not known"),
        ({"state_topic": "a/#"}, "state_topic"),
        ({"options": ["a"]}, "options belong"),
        ({"device_class": "temperature", "unit_of_measurement": "C"}, "unit C"),
    ],
)
def test_the_checker_does_find_what_is_wrong(change, problem):
    payload = discovery_payload(configured())
    payload["components"]["people"].update(change)
    assert any(problem in text for text in problems(payload))


def test_all_that_is_wanted_is_there():
    names = components(SOFA)
    wanted = {"occupancy", "people", "posture", "activity", "fall", "zone_sofa", "fps", "inference", "accelerator", "temperature"}
    assert wanted | {"throttled", "camera_problem", "restart"} <= set(names)
    categories = {name: entity.get("entity_category") for name, entity in names.items()}
    assert all(categories[n] == "diagnostic" for n in ("fps", "inference", "accelerator", "temperature", "throttled", "camera_problem"))
    assert all(categories[n] is None for n in ("occupancy", "people", "posture", "activity", "fall", "zone_sofa"))


def test_every_tunable_key_but_the_zones_can_be_tuned():
    tuned = {e["command_topic"].split("/set/")[1] for e in components().values() if "/set/" in e.get("command_topic", "")}
    assert tuned == set(live_keys()) - {"state.zones"}
    assert not any("command_topic" in entity for entity in components("mqtt.allow_commands=false").values())


def test_every_entity_has_a_name_of_its_own():
    names = [entity["name"] for entity in components(SOFA).values()]
    assert len(names) == len(set(names))
    assert {"Max people", "Fall sensitivity", "Smoothing", "Pose stream"} <= set(names)


def test_no_entity_reads_the_poses():
    text = json.dumps(discovery_payload(configured(SOFA)))
    assert '/status"' in text
    assert '/pose"' not in text


# -- templates, rendered as Home Assistant does: Jinja, sandboxed, with the message as value_json ------------------------------


def shown(entity: dict, message: object) -> str:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
    return environment.from_string(entity["value_template"]).render(value_json=json.loads(json.dumps(message)))


STATE: messages.State = {
    "v": 1, "ts": 1.0, "present": True, "count": 2, "posture": "sitting", "activity": 0.3, "people": [], "zones": {"sofa": 1},
}  # fmt: skip
HEALTH: messages.Health = {
    "v": 1, "ts": 1.0, "boot": "b", "uptime_s": 9.0, "fps": 29.97, "frames": 270, "people": 2, "accelerator": "edgetpu",
    "stages": {"invoke": {"p50_ms": 7.2, "p99_ms": 9.0, "max_ms": 11.0}}, "counters": {},
    "facts": {"soc_temperature_c": 61.5, "throttled": True}, "problems": {},
}  # fmt: skip
STATUS: messages.Status = {"v": 1, "state": "online", "boot": "b", "version": "1", "problems": {"camera": "no frames for 5 s"}}
FALL: messages.Event = {"v": 1, "id": "b-1", "kind": "fall", "ts": 2.0, "person": 1, "confidence": 0.8, "reasons": ["it's down"]}


@pytest.mark.parametrize(
    ("name", "message", "text"),
    [
        ("occupancy", STATE, "ON"),
        ("occupancy", {**STATE, "present": False}, "OFF"),
        ("people", STATE, "2"),
        ("posture", STATE, "sitting"),
        ("activity", STATE, "30"),
        ("zone_sofa", STATE, "ON"),
        ("zone_sofa", {**STATE, "zones": {}}, "OFF"),
        ("fps", HEALTH, "29.97"),
        ("inference", HEALTH, "7.2"),
        ("inference", {**HEALTH, "stages": {}}, "None"),
        ("temperature", HEALTH, "61.5"),
        ("temperature", {**HEALTH, "facts": {}}, "None"),
        ("accelerator", HEALTH, "edgetpu"),
        ("throttled", HEALTH, "ON"),
        ("throttled", {**HEALTH, "facts": {"throttled": False}}, "OFF"),
        ("throttled", {**HEALTH, "facts": {}}, "None"),
        ("camera_problem", STATUS, "ON"),
        ("accelerator_problem", STATUS, "OFF"),
        ("camera_problem", {"v": 1, "state": "offline", "boot": "b", "version": "1"}, "OFF"),
    ],
)
def test_what_an_entity_shows_of_a_message(name, message, text):
    assert shown(components(SOFA)[name], message) == text


def test_a_fall_is_an_event_with_its_reasons():
    event = json.loads(shown(components()["fall"], FALL))
    assert event == {"event_type": "fall", "confidence": 0.8, "reasons": ["it's down"], "person": 1, "ts": 2.0}


def test_every_posture_and_accelerator_that_is_said_is_an_option():
    assert set(components()["posture"]["options"]) == {"nobody", "standing", "sitting", "lying", "mixed", "unknown"}
    assert set(components()["accelerator"]["options"]) == {"cpu", "edgetpu"}


def test_what_home_assistant_sends_for_a_control_is_accepted_and_shown_again():
    settings = Settings(configured)
    tuning = Tuning(settings)
    for at, (name, entity) in enumerate(components().items()):
        if "/set/" not in entity.get("command_topic", ""):
            continue
        key = entity["command_topic"].split("/set/")[1]
        sent = {"switch": ["true", "false"], "select": entity.get("options"), "number": [entity.get("min"), entity.get("max")]}
        for payload in sent[entity["platform"]]:
            answer = tuning.handle("set", key, str(payload).encode(), False, 1e9 + at * 10)
            assert answer is not None
            assert answer.ok, answer
            back = shown(entity, {"v": 1, "ts": 1, "values": tunable_values(settings.current)})
            assert back == str(payload) or float(back) == float(payload), name


def test_the_node_its_camera_and_the_switched_off_scene_say_whether_they_are_there():
    payload = discovery_payload(configured())
    (of_node,) = payload["availability"]
    render = jinja2.sandbox.ImmutableSandboxedEnvironment().from_string
    states = [render(of_node["value_template"]).render(value_json=STATUS | {"state": state}) for state in ("online", "offline")]
    assert states == ["online", "offline"]
    of_camera, of_scene = payload["components"]["occupancy"]["availability"]
    seen = [STATUS, STATUS | {"problems": {}}, STATUS | {"problems": {}, "state": "offline"}]
    assert [render(of_camera["value_template"]).render(value_json=s) for s in seen] == ["offline", "online", "offline"]
    values = {"values": tunable_values(configured("state.enabled=false"))}
    assert render(of_scene["value_template"]).render(value_json=values) == "offline"


# -- its life on a real broker ------------------------------------------------------------------------------------------------


@pytest.fixture
def node_at(broker, sender, monkeypatch):
    """A node's MQTT half with Home Assistant and tuning; what was announced lasts from one to the next."""

    monkeypatch.setattr(homeassistant, "BIRTH_JITTER_S", 0)

    def make(*options, configuration=None):
        node = sender(f"mqtt.port={broker.port}", *options, configuration=configuration)
        node.online()
        node.run(0.3, 20)  # long enough to say what it has to say
        return node

    return make


def announced(ear, topic=TOPIC):
    return [h for h in list(ear.heard) if h.topic == topic]


def retained(ear_at, broker, topic=TOPIC):
    """What a subscriber that comes now is given."""
    late = ear_at(broker.port)
    wait_for(lambda: late.of("status") or True)
    late.client.publish("done", b"", qos=1)
    wait_for(lambda: [h for h in late.heard if h.topic == "done"])
    return next((h for h in late.heard if h.topic == topic and h.retained), None)


def test_the_device_is_announced_retained_and_again_when_home_assistant_starts(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node_at(ON)
    wait_for(lambda: announced(ear))
    assert problems(announced(ear)[0].json) == []
    assert retained(ear_at, broker).json == announced(ear)[0].json
    before = len(announced(ear))
    ear.client.publish("homeassistant/status", b"offline")
    ear.client.publish("homeassistant/status", b"online")
    wait_for(lambda: len(announced(ear)) == before + 1)
    assert announced(ear)[-1].payload == announced(ear)[0].payload


def test_switched_off_nothing_is_announced_and_what_was_is_removed(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node_at(ON).stop()
    wait_for(lambda: announced(ear))
    node_at().stop()
    wait_for(lambda: announced(ear)[-1].payload == b"")
    assert retained(ear_at, broker) is None
    heard = len(announced(ear))
    node_at().stop()
    assert len(announced(ear)) == heard


def test_a_zone_that_is_gone_is_taken_out_and_a_new_one_put_in(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node = node_at(ON, SOFA)
    wait_for(lambda: announced(ear))
    node.settings.set("state.zones", [{"name": "door", "polygon": [[0, 0], [1, 0], [1, 1]]}])
    wait_for(lambda: len(announced(ear)) == 3)
    between, last = (h.json["components"] for h in announced(ear)[1:])
    assert between["zone_sofa"] == {"platform": "binary_sensor"}
    assert "zone_sofa" not in last
    assert last["zone_door"]["name"] == "Zone door"
    assert between | {"zone_sofa": 0} == last | {"zone_sofa": 0}


def test_a_zone_taken_out_of_the_file_while_the_node_was_off_is_removed_too(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node_at(ON, SOFA).stop()
    node_at(ON)
    wait_for(lambda: any("zone_sofa" not in h.json["components"] for h in announced(ear)))
    assert [h.json["components"].get("zone_sofa", {}).get("name", "-") for h in announced(ear)] == ["Zone sofa", "-", "-"]


def test_a_renamed_node_removes_its_old_self(broker, ear_at, node_at, monkeypatch):
    monkeypatch.setattr(homeassistant, "NAME_IN_USE_S", 1.0)
    ear = ear_at(broker.port)
    node_at(ON, configuration=FILE).stop()
    node_at(ON, "node.name=n2", configuration=FILE)
    wait_for(lambda: announced(ear)[-1].payload == b"", 15)
    assert retained(ear_at, broker) is None
    assert retained(ear_at, broker, "edge_node/v1/n1/status") is None
    assert retained(ear_at, broker, discovery_topic("homeassistant", "n2")) is not None
    assert json.loads(state_file(paths.state_directory(), "n2").read_text())["node"] == "n2"


def test_a_copied_card_does_not_remove_the_node_it_was_copied_from(broker, ear_at, node_at, caplog, monkeypatch):
    monkeypatch.setattr(homeassistant, "NAME_IN_USE_S", 60.0)  # however busy this machine is
    node_at(ON, configuration=FILE)
    caplog.set_level("INFO")
    node_at(ON, "node.name=n2", configuration=FILE)
    wait_for(lambda: "in use by another node" in caplog.text)
    wait_for(lambda: retained(ear_at, broker, discovery_topic("homeassistant", "n2")))
    assert retained(ear_at, broker) is not None
    assert json.loads(state_file(paths.state_directory(), "n2").read_text())["node"] == "n2"


def test_removed_by_command_it_stays_away_until_announced_by_command(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node = node_at(ON)
    wait_for(lambda: announced(ear))
    ear.client.publish("edge_node/v1/n1/cmd/remove_discovery", b"", qos=1)
    wait_for(lambda: announced(ear)[-1].payload == b"")
    assert wait_for(lambda: ear.of("result"))[-1].json["ok"]
    ear.client.publish("homeassistant/status", b"online")
    node.stop()
    again = node_at(ON)
    ear.client.publish("homeassistant/status", b"online", qos=1)
    again.run(0.3, 10)
    assert announced(ear)[-1].payload == b""
    ear.client.publish("edge_node/v1/n1/cmd/announce", b"", qos=1)
    wait_for(lambda: announced(ear)[-1].payload != b"")


def test_a_control_moved_in_home_assistant_changes_the_node_and_shows_it(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node = node_at(ON)
    entity = wait_for(lambda: announced(ear))[0].json["components"]["set_pose_max_people"]
    ear.client.publish(entity["command_topic"], b"2", qos=1)
    wait_for(lambda: node.settings.current.pose.max_people == 2)
    wait_for(lambda: any(shown(entity, h.json) == "2" for h in ear.heard if h.topic == entity["state_topic"]))


def test_two_nodes_of_one_user_leave_each_other_alone(broker, ear_at, node_at, monkeypatch):
    monkeypatch.setattr(homeassistant, "NAME_IN_USE_S", 0.5)
    ear = ear_at(broker.port)
    one, two = node_at(ON), node_at(ON, "node.name=n2")
    wait_for(lambda: announced(ear, discovery_topic("homeassistant", "n2")))
    for node, name in ((one, "n1"), (two, "n2")):
        node.stop()
        node_at(ON, f"node.name={name}").run(1.0, 20)
    for name in ("n1", "n2"):
        assert announced(ear, discovery_topic("homeassistant", name))[-1].payload
        assert json.loads(state_file(paths.state_directory(), name).read_text())["node"] == name


@pytest.mark.parametrize("configuration", [None, Path("/etc/edge-node/other.yaml")])
def test_a_node_leaves_a_stopped_one_of_the_same_user_alone(broker, ear_at, node_at, monkeypatch, configuration):
    monkeypatch.setattr(homeassistant, "NAME_IN_USE_S", 0.3)
    node_at(ON, configuration=FILE).stop()
    node_at("node.name=n2", configuration=configuration).run(1.0, 20)
    assert retained(ear_at, broker) is not None
    assert json.loads(state_file(paths.state_directory(), "n1").read_text())["node"] == "n1"


def test_what_was_announced_when_files_had_no_nodes_name_is_taken_over(broker, ear_at, node_at):
    ear = ear_at(broker.port)
    node_at(ON, SOFA).stop()
    file = state_file(paths.state_directory(), "n1")
    file.replace(file.with_name("homeassistant.json"))
    node_at().stop()
    wait_for(lambda: announced(ear)[-1].payload == b"")
    assert not list(paths.state_directory().glob("homeassistant*"))


UNUSABLE = [
    "",
    "[]",
    '{"topic": 1}',
    '{"topic": "a", "node": "b", "components": 7}',
    "\x00",
    '{"x": 1}',
    '{"topic": "a/#", "node": "b"}',
    '{"topic": "a", "node": "+"}',
    '{"topic": "\\ud800", "node": "b"}',
]


@pytest.mark.parametrize("text", UNUSABLE)
@pytest.mark.parametrize("name", ["homeassistant-n1.json", "homeassistant.json"])
def test_a_corrupt_record_of_what_was_announced_is_no_obstacle(tmp_path: Path, text, name):
    (tmp_path / name).write_text(text)
    speaker = HomeAssistantSpeaker(Settings(lambda: configured(ON)), tmp_path, None)
    assert [o.topic for o in speaker.connected()] == [TOPIC]
    assert json.loads(state_file(tmp_path, "n1").read_text())["topic"] == TOPIC


def test_a_state_directory_that_cannot_be_looked_at_is_said(tmp_path, caplog):
    HomeAssistantSpeaker(Settings(lambda: configured(ON)), tmp_path / ("x" * 300), None)
    assert "File name too long" in caplog.text
