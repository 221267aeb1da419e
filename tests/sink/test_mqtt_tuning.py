"""Requests over a real broker: answered where the sender wants it, and never in the way of the poses."""

import json
import random

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.sink.parts import wait_for

ROOT = "edge_node/v1/n1/"


def ask(ear, topic, payload=b"", *, response=None, correlation=None, retain=False):
    properties = Properties(PacketTypes.PUBLISH)
    if response is not None:
        properties.ResponseTopic = response
    if correlation is not None:
        properties.CorrelationData = correlation
    ear.client.publish(ROOT + topic, payload, qos=1, retain=retain, properties=properties)


def test_a_request_is_answered_and_the_values_in_force_are_published(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    ask(ear, "set/pose.max_people", b"2")
    answer = wait_for(lambda: ear.of("result"))[0].json
    assert (answer["ok"], answer["kind"], answer["name"], answer["value"]) == (True, "set", "pose.max_people", 2)
    assert wait_for(lambda: ear.of("config")[1:])[0].json["values"]["pose.max_people"] == 2
    assert node.settings.current.pose.max_people == 2
    late = ear_at(broker.port)
    assert wait_for(lambda: late.of("config"))[0].retained


def test_zones_drawn_over_the_network_are_answered_as_they_were_asked_for(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    zones = [{"name": "sofa", "polygon": [[0, 0], [1, 0], [0.5, 1]]}]
    for payload, in_force in ((json.dumps(zones), zones), ("null", [])):
        ask(ear, "set/state.zones", payload.encode())
        assert wait_for(lambda: ear.of("result")).pop().json["value"] == in_force
        ear.heard.clear()
    node.online()


def test_the_answer_goes_where_the_request_says_with_its_correlation(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    ask(ear, "set/pose.max_people", b"99", response="replies/me", correlation=b"17")
    (answer,) = wait_for(lambda: [h for h in ear.heard if h.topic == "replies/me"])
    assert answer.properties.CorrelationData == b"17"
    assert not answer.json["ok"]
    assert not ear.of("result")


def test_nobody_can_make_the_node_speak_for_another(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    ask(ear, "set/pose.max_people", b"2", response="edge_node/v1/n2/status")
    wait_for(lambda: ear.of("result"))
    assert not ear.of("status", node="n2")


def test_within_the_nodes_topics_an_answer_goes_to_result_or_below_it_only(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    for number, place in enumerate(("results", "result", "result/me")):
        ask(ear, "set/pose.max_people", b"2", response=ROOT + place, correlation=b"%d" % number)
    wait_for(lambda: len(ear.of("result")) == 2 and ear.of("result/me"))
    assert [h.properties.CorrelationData for h in ear.of("result")] == [b"0", b"1"]
    assert not ear.of("results")


def test_a_response_topic_that_no_broker_would_take_costs_the_node_no_connection(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    ask(ear, "set/pose.max_people", b"2", response="a/" * 250)
    ask(ear, "set/pose.max_people", b"2", response="a" * 60_000)
    wait_for(lambda: len(ear.of("result")) == 2)
    assert "mqtt_connection_lost" not in node.health.report().counters


def test_a_request_kept_by_the_broker_is_not_done(broker, ear_at, sender):
    ear = ear_at(broker.port)
    ask(ear, "set/pose.max_people", b"2", retain=True)
    ask(ear, "cmd/reset_tuning", b"", retain=True)
    wait_for(lambda: ear.of("set/pose.max_people"))
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    node.run(0.5, 20)
    assert node.settings.overlay == {}
    assert not ear.of("result")


def test_switched_off_requests_are_answered_with_the_reason(broker, ear_at, sender):
    ear = ear_at(broker.port)
    sender(f"mqtt.port={broker.port}", "mqtt.allow_commands=false")
    wait_for(lambda: ear.of("config"))
    ask(ear, "set/pose.max_people", b"2")
    assert "mqtt.allow_commands" in wait_for(lambda: ear.of("result"))[0].json["reason"]


def test_a_flood_of_nonsense_does_not_hold_up_poses_and_afterwards_requests_are_served(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    wait_for(lambda: ear.of("config"))
    chance = random.Random(1)
    for n in range(400):
        name = chance.choice(
            ["set/pose.max_people", "set/camera.source", "cmd/rm -rf", "cmd/restart/x", f"set/{'x' * 200}", "cmd/", "set/é"]
        )
        ask(ear, name, chance.randbytes(chance.choice([0, 5, 300, 20_000])), correlation=chance.randbytes(8))
        if n % 40 == 0:
            ask(ear, "set/state.zones", b"[" * 200_000)
    frames = node.run(2.0, 30)
    wait_for(lambda: ear.of("pose")[-1].json["seq"] == frames - 1)
    assert len(ear.of("pose")) >= 0.5 * frames  # a live camera: the newest wins where the machine is slow
    assert node.settings.overlay == {}
    assert 0 < len(ear.of("result")) < 60
    node.run(1.0, 30)
    ask(ear, "set/pose.max_people", b"3")
    wait_for(lambda: node.settings.current.pose.max_people == 3)
