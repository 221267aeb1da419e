import threading
import time

import orjson
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from pydantic import TypeAdapter

from edge_node.errors import ClosedError
from edge_node.health import NODE as FAILED
from edge_node.sink import messages
from edge_node.sink.mqtt import DRAIN_S, GOODBYE_S
from edge_node.sink.mqtt_poses import WINDOW
from edge_node.slot import ROOM
from tests.sink.parts import wait_for

NODE = "edge_node/v1/n1"


def states(ear):
    return [h.json["state"] for h in ear.of("status")]


def test_everything_a_node_says_arrives_and_conforms_to_its_declared_type(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("status"))
    node.run(1.5, 30)
    node.stop()
    wait_for(lambda: states(ear)[-1] == "offline")
    assert {h.topic.split("/")[3] for h in ear.heard} == {"status", "info", "health", "config", "pose", "state", "event"}
    for heard in ear.heard:
        kind = messages.PAYLOADS[heard.topic.split("/")[3]]
        TypeAdapter(kind).validate_json(heard.payload, strict=True)


def test_mqtt_5_properties_say_type_schema_and_expiry(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", "mqtt.expiry_s=7")
    node.online()
    node.run(0.5, 30)
    pose = wait_for(lambda: ear.of("pose"))[0]
    assert pose.properties.ContentType == "application/json"
    assert pose.properties.UserProperty == [("schema", "edge_node/v1")]
    assert pose.properties.MessageExpiryInterval == 7
    assert (pose.qos, pose.retained) == (0, False)


def test_a_newcomer_finds_status_info_health_state_and_config_retained(broker, ear_at, sender):
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    node.run(1.0, 30)
    ear = ear_at(broker.port)
    wait_for(lambda: {h.topic.removeprefix(NODE + "/") for h in ear.heard if h.retained} >= {"status", "info", "health", "state", "config"})


def test_a_clean_stop_says_so_and_a_death_is_told_by_the_broker(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: states(ear) == ["online"])
    node.stop()
    wait_for(lambda: states(ear) == ["online", "offline"])
    assert ear.of("status")[-1].json["reason"] == "stopped"
    dying = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: len(states(ear)) == 3)
    dying.sink._link.session._client._sock.close()
    will = wait_for(lambda: [h.json for h in ear.of("status")[3:] if h.json["state"] == "offline"])[0]
    assert "reason" not in will
    assert will["boot"] == ear.of("status")[2].json["boot"]


def test_a_node_that_stops_goes_once_a_slow_broker_has_taken_its_goodbye(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: states(ear) == ["online"])
    broker.freeze()
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b"5")  # a broker that cannot hand this over speaks the will
    thaw = threading.Timer(GOODBYE_S / 4, broker.thaw)
    thaw.start()
    node.stop(drain=False)
    thaw.join()
    wait_for(lambda: "offline" in states(ear))
    ear.client.publish(f"{NODE}/status", b'{"state": "heard"}', qos=1)
    wait_for(lambda: states(ear)[-1] == "heard")
    assert [h.json.get("reason") for h in ear.of("status") if h.json["state"] == "offline"] == ["stopped"]


def test_a_node_that_ends_because_a_thread_failed_does_not_say_that_it_was_stopped(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: states(ear) == ["online"])
    node.health.problem(FAILED, "the camera thread failed")
    node.stop()
    wait_for(lambda: states(ear)[-1] == "offline")
    assert "reason" not in ear.of("status")[-1].json


def test_problems_of_any_part_are_shown_in_status(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("status"))
    node.health.problem("camera", "no frame for 5 s")
    wait_for(lambda: ear.of("status")[-1].json["problems"] == {"camera": "no frame for 5 s"})
    node.health.problem("camera", None)
    wait_for(lambda: ear.of("status")[-1].json["problems"] == {})


def test_of_a_file_every_pose_arrives_in_order_even_when_the_broker_dies_in_between(broker, ear_at, sender):
    ear = ear_at(broker.port, qos=0)  # one that answers would find the broker dead before it has read what the broker sent
    node = sender(f"mqtt.port={broker.port}", lossless=True)
    for _ in range(100):
        node.offer()
    broker.kill()
    for _ in range(10):
        node.offer()  # there is room for these while nobody is there
    broker.start()
    wait_for(ear.client.is_connected)
    for _ in range(90):
        node.offer()
    node.stop(drain=True)
    wait_for(lambda: ear.of("pose")[-1].json["seq"] == 199)
    seqs = [h.json["seq"] for h in ear.of("pose")]
    first_times = list(dict.fromkeys(seqs))
    assert first_times[:90] == list(range(90))
    # Those under way when the broker died may come twice, or were in the dead broker's hands: nothing before or after them.
    assert len(set(range(200)) - set(seqs)) <= 10


def test_of_a_file_every_pose_arrives_once(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", lossless=True)
    for _ in range(300):
        node.offer()
    node.stop(drain=True)
    wait_for(lambda: len(ear.of("pose")) >= 300)
    assert [h.json["seq"] for h in ear.of("pose")] == list(range(300))


def test_a_file_waits_for_the_broker_until_the_node_is_told_to_stop(sender):
    node = sender("mqtt.port=1", lossless=True)
    most = WINDOW + 2 * ROOM  # under way, in the hands of the sink, in the queue before it
    refused = []

    def offer_ever_more():
        try:
            while node.seq <= most:
                node.offer()
        except ClosedError as error:
            refused.append(error)

    waiting = threading.Thread(target=offer_ever_more)
    waiting.start()
    waiting.join(1.0)
    assert waiting.is_alive()
    assert WINDOW + ROOM <= node.seq <= most
    node.stop(drain=False)
    waiting.join(1.0)
    assert refused


@pytest.mark.parametrize("ends", [False, True])
def test_a_frozen_broker_for_which_a_file_waits_is_said(broker, sender, ends):
    node = sender(f"mqtt.port={broker.port}", lossless=True)
    node.online()
    node.run(0.5)
    broker.freeze()
    for _ in range(5 if ends else WINDOW + 2):  # at the end of the file the node waits for the last poses, before that for room
        node.offer()
    if ends:
        node.thread.stop(drain=True)
    wait_for(lambda: "does not answer; poses wait for it" in node.health.problems().get("mqtt", ""), 8)
    broker.thaw()
    wait_for(lambda: node.health.problems() == {})


def test_a_frozen_broker_holds_nothing_back_and_gets_the_newest_pose_afterwards(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    node.run(0.5)
    broker.freeze()
    frozen_at = node.seq
    count = node.run(3.0)  # would never come back if the loop were held back
    assert "does not answer" in node.health.problems()["mqtt"]
    broker.thaw()
    node.run(0.5)
    wait_for(lambda: ear.of("pose")[-1].json["seq"] == node.seq - 1)
    arrived = [h.json["seq"] for h in ear.of("pose")]
    assert len([seq for seq in arrived if frozen_at <= seq < frozen_at + count - 10]) <= 2
    assert node.health.report().counters["mqtt_dropped"] >= count - 10
    assert node.health.problems() == {}


@pytest.mark.parametrize(("goes", "comes"), [("kill", "start"), ("freeze", "thaw")])
def test_on_change_who_left_while_the_broker_was_away_is_seen_to_have_left(broker, ear_at, sender, goes, comes):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", "mqtt.on_change=true", "mqtt.expiry_s=1")
    node.online()
    node.run(0.5, 30, persons=1)
    wait_for(lambda: ear.of("pose") and ear.of("pose")[-1].json["people"])
    getattr(broker, goes)()
    node.run(2.0, 30, persons=0)
    getattr(broker, comes)()
    wait_for(ear.client.is_connected)
    node.online()
    node.run(1.5, 30, persons=0)
    wait_for(lambda: not ear.of("pose")[-1].json["people"])
    assert len(ear.of("pose")) <= 5


def test_on_change_who_did_not_move_is_told_of_once_more_over_the_next_connection(broker, ear_at, sender):
    node = sender(f"mqtt.port={broker.port}", "mqtt.on_change=true")
    node.online()
    node.run(0.5, 30, persons=1)
    broker.kill()
    broker.start()
    ear = ear_at(broker.port)
    node.online()
    node.run(1.0, 30, persons=1)
    wait_for(lambda: ear.of("pose"))
    assert len(ear.of("pose")) == 1


def test_what_is_said_of_a_lost_broker_is_not_taken_back_before_it_is_there_again(broker, sender, caplog):
    caplog.set_level("INFO")
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    node.health.problem("mqtt", "lost the broker")  # as the link says it a moment before the sink learns of it
    node.run(0.5, 30)
    assert node.health.problems() == {"mqtt": "lost the broker"}
    assert "answers again" not in caplog.text


def test_events_of_an_outage_arrive_once_and_in_order(mosquitto_with, tmp_path, ear_at, sender):
    # The broker keeps the subscriber's session over its own end: what comes before the subscriber is back waits for it there.
    broker = mosquitto_with("allow_anonymous true", "persistence true", f"persistence_location {tmp_path}/")
    ear = ear_at(broker.port, options={"session": "observer"})
    node = sender(f"mqtt.port={broker.port}", "state.presence_off_s=0.1", "state.presence_on_s=0.0")
    node.online()
    broker.quit()
    wait_for(lambda: not node.health.report().facts.get("mqtt_broker"))
    for persons in (1, 0, 1, 0):
        node.run(0.4, 30, persons=persons)
    broker.start()
    node.online()
    node.run(0.3, 30, persons=1)
    wait_for(lambda: len(ear.of("event/presence")) >= 5)
    node.stop()
    wait_for(lambda: states(ear)[-1] == "offline" and ear.of("status")[-1].json.get("reason") == "stopped")
    events = [h.json for h in ear.of("event/#")]
    assert [int(event["id"].rpartition("-")[2]) for event in events] == [1, 2, 3, 4, 5]
    assert [event["present"] for event in events] == [True, False, True, False, True]


@pytest.mark.parametrize("layout", ["flat", "named"])
def test_the_layout_of_keypoints_can_be_tuned(broker, ear_at, sender, layout):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    wait_for(lambda: ear.of("config"))
    ear.client.publish(f"{NODE}/set/mqtt.format", orjson.dumps(layout), qos=1)
    wait_for(lambda: ear.of("result"))
    node.run(0.3, 30)
    keypoints = wait_for(lambda: ear.of("pose"))[-1].json["people"][0]["keypoints"]
    assert isinstance(keypoints[0], dict) == (layout == "named")


def test_a_request_is_answered_where_the_sender_asked_or_on_result(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    wait_for(lambda: ear.of("config"))
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b"12", qos=1)
    assert wait_for(lambda: ear.of("result"))[0].json["value"] == 12
    wait_for(lambda: ear.of("config")[-1].json["values"]["mqtt.max_rate_hz"] == 12)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "me/reply"
    properties.CorrelationData = b"42"
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b"-1", qos=1, properties=properties)
    answer = wait_for(lambda: [h for h in ear.heard if h.topic == "me/reply"])[0]
    assert (answer.json["ok"], answer.properties.CorrelationData) == (False, b"42")
    assert node.settings.current.mqtt.max_rate_hz == 12


def test_nobody_makes_the_node_speak_for_another(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}").online()
    wait_for(lambda: ear.of("config"))
    for place in ("edge_node/v1/n2/status", "$SYS/x", f"{NODE}/status"):
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = place
        ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b"1", qos=1, properties=properties)
    wait_for(lambda: len(ear.of("result")) == 3)


def test_retained_and_oversized_requests_are_ignored(broker, ear_at, sender):
    ear = ear_at(broker.port)
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b"3", qos=1, retain=True).wait_for_publish()
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    wait_for(lambda: ear.of("config"))
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b" " * 70_000 + b"4", qos=1)
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b" " * 200_000 + b"4", qos=1)
    ear.client.publish(f"{NODE}/cmd/nonsense", b"", qos=1)
    assert wait_for(lambda: ear.of("result"))[0].json["kind"] == "cmd"
    assert node.settings.current.mqtt.max_rate_hz == 0
    assert len(ear.of("result")) == 1


def test_a_value_that_is_too_long_is_answered(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}").online()
    wait_for(lambda: ear.of("config"))
    ear.client.publish(f"{NODE}/set/mqtt.max_rate_hz", b" " * 60_000 + b"4", qos=1)
    assert "60001 bytes; 16384 are read at most" in wait_for(lambda: ear.of("result"))[0].json["reason"]


def test_stopping_without_a_broker_takes_no_longer_than_allowed(sender):
    node = sender("mqtt.port=1")
    node.run(0.2)
    begun = time.monotonic()
    node.stop(drain=True)
    assert time.monotonic() - begun < DRAIN_S + 3 * GOODBYE_S + 1
