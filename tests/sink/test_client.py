import json
import logging
import queue
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client import Client, ClientError, _Rate, decode_pose
from edge_node.commands import watch
from edge_node.data import People
from edge_node.errors import MessageError
from edge_node.sink.messages import encode_pose
from tests.sink.parts import person, publish_raw, wait_for


def people_of(*persons):
    return People(7, 1, 1, 1_700_000_000.25, 640, 480, "edgetpu", persons)


@pytest.mark.parametrize("layout", ["flat", "named"])
def test_what_was_encoded_is_read_back(layout):
    sent = people_of(person(1), replace(person(2), predicted=True))
    read = decode_pose(encode_pose(sent, layout))
    assert (read.seq, read.ts, read.width_px, read.height_px, read.accelerator) == (7, 1_700_000_000.25, 640, 480, "edgetpu")
    assert [(p.id, p.predicted) for p in read.people] == [(1, False), (2, True)]
    for there, here in zip(sent.people, read.people, strict=True):
        assert here.keypoints.dtype == np.float32
        np.testing.assert_allclose(here.keypoints, there.keypoints, atol=5.1e-5)


@given(
    st.one_of(
        st.binary(max_size=40),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda c: st.lists(c) | st.dictionaries(st.sampled_from(["v", "seq", "people", "ts"]), c),
        ).map(orjson.dumps),
    )
)
def test_whatever_is_no_pose_is_refused_with_a_reason(payload):
    with pytest.raises(MessageError):
        decode_pose(payload)


def test_a_pose_of_a_later_version_is_refused():
    content = orjson.loads(encode_pose(people_of()))
    with pytest.raises(MessageError, match="version 2"):
        decode_pose(orjson.dumps({**content, "v": 2}))


@pytest.mark.parametrize("field", ["ts", "age_ms"])
def test_a_pose_of_an_impossible_time_is_refused_and_the_next_one_comes(broker, field, caplog):
    good = encode_pose(people_of(person(1)))
    with Client("127.0.0.1", broker.port) as client:
        client._paho.publish("edge_node/v1/n1/pose", orjson.dumps({**orjson.loads(good), field: 1e308})).wait_for_publish()
        client._paho.publish("edge_node/v1/n1/pose", good).wait_for_publish()
        node, people = next(client.poses(timeout_s=5))
    assert (node, people.seq, people.ts) == ("n1", 7, 1_700_000_000.25)
    assert f"edge_node/v1/n1/pose is not understood: {field}: input should be less than" in caplog.text


def test_what_is_not_understood_is_told_in_one_line_and_once_until_it_is_again(broker, caplog):
    good = encode_pose(people_of(person(1)))
    later = orjson.dumps({**orjson.loads(good), "v": 2})
    sent = [("status", b"{}")] * 3 + [("health", b'{"ts": 1e999}'), ("state", b'{"v": 2}')]
    sent += [("pose", payload) for payload in (later, later, good, later, good)]
    with Client("127.0.0.1", broker.port) as client:
        for suffix, payload in sent:
            client._paho.publish(f"edge_node/v1/n1/{suffix}", payload).wait_for_publish()
        assert len(list(zip(client.poses(timeout_s=5), range(2), strict=False))) == 2
    assert [record.getMessage().removeprefix("edge_node/v1/n1/") for record in caplog.records] == [
        "status is not understood: v: field required",
        "health is not understood: not JSON (number is infinity when parsed as double)",
        "state is not understood: a message of version 2; this program reads version 1",
        "pose is not understood: a message of version 2; this program reads version 1",
        "pose is not understood: a message of version 2; this program reads version 1",
    ]


def test_poses_come_typed_and_the_fleet_shows_every_node(broker, sender, caplog):
    with Client("127.0.0.1", broker.port) as client:
        one = sender(f"mqtt.port={broker.port}")
        two = sender(f"mqtt.port={broker.port}", "node.name=n2")
        one.online()
        two.online()
        one.run(0.6, 30, persons=2)
        node, people = next(client.poses(timeout_s=5))
        assert (node, len(people.people)) == ("n1", 2)
        wait_for(lambda: {name for name, view in client.fleet().items() if view.online} == {"n1", "n2"})
        view = client.fleet()["n1"]
        assert view.info["model"]["name"] == "model"
        two.health.problem("camera", "unplugged")
        wait_for(lambda: client.fleet()["n2"].problems == {"camera": "unplugged"})
        client._paho.publish("edge_node/v1/n1/health", b"nonsense").wait_for_publish()
        one.stop()
        wait_for(lambda: not client.fleet()["n1"].online)
        client._paho.publish("edge_node/v1/n1/status", b"", retain=True)
        wait_for(lambda: "n1" not in client.fleet())
    assert "edge_node/v1/n1/health is not understood" in caplog.text


def test_the_rate_is_of_the_last_two_seconds():
    rate = _Rate()
    assert rate.hz(0.0) == 0
    for number in range(100):
        rate.count(number / 25)
    assert rate.hz(99 / 25) == pytest.approx(25)
    assert rate.hz(99 / 25 + 3) == 0


def test_whoever_is_slow_misses_the_oldest_poses(broker, sender):
    with Client("127.0.0.1", broker.port) as client:
        node = sender(f"mqtt.port={broker.port}", lossless=True)
        for _ in range(400):
            node.offer()
        node.stop()
        wait_for(lambda: client.fleet()["n1"].people.seq == 399)
        kept = [people.seq for _, people in client.poses(timeout_s=0.1)]
        assert kept[-1] == 399
        assert len(kept) <= 256


class EmptiedMeanwhile(queue.SimpleQueue):
    """Its reader takes everything just after the writer has looked how full it is."""

    def qsize(self):
        size = super().qsize()
        while not self.empty():
            self.get_nowait()
        return size


def test_a_reader_that_catches_up_at_the_last_moment_stops_nothing(broker, sender):
    client = Client("127.0.0.1", broker.port)
    client._poses = EmptiedMeanwhile()
    for _ in range(256):
        client._poses.put(("n1", people_of()))
    with client:
        node = sender(f"mqtt.port={broker.port}", lossless=True)
        for _ in range(10):
            node.offer()
        try:
            wait_for(lambda: client.fleet().get("n1") and client.fleet()["n1"].people and client.fleet()["n1"].people.seq == 9, 10)
        finally:
            client._poses.put(("n1", people_of()))  # a thread that waits for one would never end


def test_a_topic_that_is_no_text_is_ignored(nats):
    with Client("127.0.0.1", nats.port) as client:
        publish_raw(nats.port, b"edge_node/v1/\xff/pose", b"{}")
        publish_raw(nats.port, b"edge_node/v1/n1/status", b'{"v":1,"state":"online","boot":"b","version":"1"}')
        wait_for(lambda: "n1" in client.fleet())


def test_a_broker_that_is_not_there_is_said():
    with pytest.raises(ClientError, match=r"the broker at 127\.0\.0\.1:1 cannot be reached"), Client("127.0.0.1", 1):
        pass


def test_a_broker_named_by_an_ipv6_address_is_said_in_brackets():
    with pytest.raises(ClientError, match=r"the broker at \[::1\]:1 cannot be reached"), Client("::1", 1):
        pass


def test_a_refused_login_is_said(mosquitto_with):
    strict = mosquitto_with("allow_anonymous false")
    with pytest.raises(ClientError, match="refused the login: Not authorized"), Client("127.0.0.1", strict.port):
        pass


def test_a_host_name_that_is_none_is_said():
    with pytest.raises(ClientError, match=r"the broker at a\.\.b:1883 cannot be reached: Name or service not known"), Client("a..b"):
        pass


def test_an_access_list_that_denies_everything_is_said(mosquitto_with, tmp_path):
    plugin = next(Path("/usr/lib").rglob("mosquitto_dynamic_security.so"))
    roles = tmp_path / "roles.json"
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    roles.write_text(json.dumps({"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}))
    strict = mosquitto_with("allow_anonymous true", f"plugin {plugin}", f"plugin_opt_config_file {roles}")
    with pytest.raises(ClientError, match="does not let us listen to nodes"), Client("127.0.0.1", strict.port):
        pass


def watch_once(port, capsys, *options):
    import argparse

    parser = argparse.ArgumentParser()
    watch.add_arguments(parser)
    code = watch.run(parser.parse_args(["--host", "127.0.0.1", "--port", str(port), "--once", *options]))
    return code, capsys.readouterr().out


def test_watch_once_tells_how_the_nodes_are(broker, sender, capsys):
    assert watch_once(broker.port, capsys) == (1, watch.screen([], 1000))
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    node.run(1.2, 30, persons=1)
    code, text = watch_once(broker.port, capsys, "--json")
    assert code == 0
    (said,) = json.loads(text)
    assert (said["node"], said["state"], said["accelerator"], said["people"]) == ("n1", "online", "cpu", 1)
    assert watch_once(broker.port, capsys, "--node", "other")[0] == 1
    node.health.problem("camera", "unplugged")
    wait_for(lambda: "! camera: unplugged" in watch_once(broker.port, capsys)[1])


def test_watch_does_not_show_nodes_as_online_while_the_broker_is_away(broker, ear_at):
    status = b'{"v":1,"state":"online","boot":"b","version":"1"}'
    ear = ear_at(broker.port)
    ear.client.publish("edge_node/v1/n1/status", status, qos=1, retain=True).wait_for_publish()
    command = [sys.executable, "-m", "edge_node", "watch", "--host", "127.0.0.1", "--port", str(broker.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert "online" in process.stdout.readline()
        broker.kill()
        assert process.stderr.readline() == "the connection to the broker is lost; trying again\n"
        time.sleep(4)
        broker.start()
        assert process.stderr.readline() == "connected to the broker again\n"
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=20)
    assert len(shown.splitlines()) <= 3  # a line a second, and none in the four seconds


def test_a_node_that_went_while_a_broker_without_memory_was_away_is_no_longer_online(broker, ear_at):
    ear = ear_at(broker.port)
    status = b'{"v":1,"state":"online","boot":"b","version":"1"}'
    for node in ("here", "gone"):
        ear.client.publish(f"edge_node/v1/{node}/status", status, qos=1, retain=True).wait_for_publish()
    with Client("127.0.0.1", broker.port) as client:
        wait_for(lambda: set(client.fleet()) == {"here", "gone"})
        broker.kill()
        wait_for(lambda: not client.connected)
        assert set(client.fleet()) == {"here", "gone"}
        broker.start()
        wait_for(lambda: client.connected)
        ear.client.publish("edge_node/v1/here/status", status, qos=1, retain=True).wait_for_publish()
        wait_for(lambda: set(client.fleet()) == {"here"})


def test_a_broker_that_froze_is_noticed_within_seconds(broker):
    with Client("127.0.0.1", broker.port) as client:
        broker.freeze()
        wait_for(lambda: not client.connected, 30)


def test_the_number_of_people_is_of_the_poses_only_while_they_come(broker, sender):
    with Client("127.0.0.1", broker.port) as client:
        node = sender(f"mqtt.port={broker.port}", "state.presence_on_s=0.1", "state.presence_off_s=0.5")
        node.online()
        node.run(1.5, 30, persons=2)
        wait_for(lambda: watch.summary(client.fleet()["n1"])["people"] == 2)
        node.settings.set("mqtt.pose", value=False)
        node.run(4.0, 30, persons=0)
        view = wait_for(lambda: client.fleet()["n1"] if client.fleet()["n1"].state["count"] == 0 else None)
    assert len(view.people.people) == 2
    assert watch.summary(view)["people"] == 0
    assert "score" not in watch.screen([view], 200)


def test_nobody_is_shown_before_a_node_that_is_gone(broker, sender, capsys):
    node = sender(f"mqtt.port={broker.port}", "state.presence_on_s=0.1")
    node.online()
    node.run(1.5, 30, persons=2)
    node.stop()
    code, text = watch_once(broker.port, capsys, "--json")
    assert code == 1
    (said,) = json.loads(text)
    assert (said["state"], said["fps"], said["people"], said["accelerator"], said["posture"]) == ("offline", None, None, None, None)
    assert watch_once(broker.port, capsys)[1].splitlines()[1].split() == ["n1", "offline", "-", "0.0", "-", "-"]


def test_what_anybody_sends_cannot_give_orders_to_the_terminal(broker, ear_at, capsys, caplog):
    evil = "\x1b]0;title\x07\x9b2J\r\n\u202e"
    problems = {"camera": evil, evil: "x"}
    status = orjson.dumps({"v": 1, "state": "online", "boot": "b", "version": "1", "problems": problems})
    ear_at(broker.port).client.publish("edge_node/v1/n1/status", status, qos=1, retain=True).wait_for_publish()
    ear_at(broker.port).client.publish("edge_node/v1/n2/status", b'{"\\u001b": 1}', qos=1, retain=True).wait_for_publish()
    code, said = watch_once(broker.port, capsys)
    assert code == 0
    assert "is not understood" in caplog.text
    assert "\x1b" not in caplog.text
    assert "camera: " in said
    assert all(c.isprintable() or c == "\n" for c in said)
    assert len(said.splitlines()) == 4


def test_the_screen_shows_people_with_their_joints_and_place(broker, sender):
    with Client("127.0.0.1", broker.port) as client:
        node = sender(f"mqtt.port={broker.port}")
        node.online()
        node.run(0.5, 30, persons=2)
        wait_for(lambda: client.fleet().get("n1") and client.fleet()["n1"].people and client.fleet()["n1"].online)
        text = watch.screen(client.fleet().values(), 200)
    assert "n1" in text
    assert "#2  score 0.90" in text
    assert "from 0.10,0.10 to 0.90,0.90" in text


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.WARNING)
