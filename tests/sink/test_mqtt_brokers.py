"""The MQTT sink against brokers of many kinds: old, strict, encrypted, dying."""

import contextlib
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.errors import SinkError
from edge_node.node import Node
from edge_node.sink import mqtt_link
from edge_node.sink.mqtt_link import ROUND_WAIT_S
from edge_node.sink.outgoing import Outgoing
from tests.descriptors import every_descriptor_taken
from tests.sink.parts import publish_raw, wait_for

ACL = Path(__file__).parents[2] / "systemd" / "mosquitto-acl.example"


def problem(node):
    return wait_for(lambda: node.health.problems().get("mqtt"))


# ---- availability


def test_a_broker_that_comes_later_is_found(mosquitto_with, sender):
    first = mosquitto_with()
    first.kill()
    node = sender(f"mqtt.port={first.port}")
    assert "no broker listens at localhost" in problem(node)
    first.start()
    begun = time.monotonic()
    node.online()
    assert time.monotonic() - begun < ROUND_WAIT_S[1] + 5
    assert "mqtt" not in node.health.problems()


def test_a_broker_lost_while_no_descriptor_is_left_is_found_again(mosquitto_with, sender):
    broker = mosquitto_with()
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    broker.kill()
    with contextlib.ExitStack() as descriptors:

        def said():
            descriptors.enter_context(every_descriptor_taken())  # again and again: a connection that is given up gives some back
            return "cannot be reached: Too many open files" in node.health.problems().get("mqtt", "")

        wait_for(said)
    broker.start()
    node.online()
    node.stop()


def test_a_broker_lost_while_no_thread_is_left_is_found_again(mosquitto_with, sender, monkeypatch):
    def none_for_the_network(thread):
        if thread.name == "mqtt-network":
            raise RuntimeError("can't start new thread")
        started(thread)

    broker, started = mosquitto_with(), threading.Thread.start
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    with monkeypatch.context() as at_the_limit:
        at_the_limit.setattr(threading.Thread, "start", none_for_the_network)
        broker.kill()
        broker.start()
        wait_for(lambda: "cannot be reached: the system has no thread left for it" in node.health.problems().get("mqtt", ""))
    node.online()
    node.stop()


def test_with_two_brokers_the_second_takes_over_and_misses_no_event(mosquitto_with, ear_at, sender):
    one, two = mosquitto_with(), mosquitto_with()
    ears = [ear_at(one.port), ear_at(two.port)]
    options = [f"mqtt.port={one.port}", f"mqtt.fallback_brokers=[{{host: localhost, port: {two.port}}}]"]
    node = sender(*options, "state.presence_on_s=0.0", "state.presence_off_s=0.1")
    node.online()
    node.run(0.5, 30, persons=1)
    one.kill()
    node.run(0.5, 30, persons=0)
    wait_for(lambda: ears[1].of("status"))
    node.run(0.5, 30, persons=1)
    node.stop()
    wait_for(lambda: ears[1].of("status")[-1].json["state"] == "offline")
    numbers = [int(h.json["id"].rpartition("-")[2]) for ear in ears for h in ear.of("event/presence")]
    assert numbers == list(range(1, max(numbers) + 1))
    assert max(numbers) >= 3


def test_an_unknown_host_is_said_once_and_tried_again(sender, caplog):
    node = sender("mqtt.host=no-such-host.invalid")
    assert problem(node) == "unknown host in no-such-host.invalid:1883; check mqtt.host"
    time.sleep(2)
    assert caplog.text.count("unknown host") == 1
    assert "go to no-such-host.invalid unencrypted" in caplog.text


def test_a_second_client_with_the_same_id_is_told_apart_from_an_outage(broker, sender, caplog):
    first = sender(f"mqtt.port={broker.port}", "mqtt.client_id=twin")
    first.online()
    sender(f"mqtt.port={broker.port}", "mqtt.client_id=twin").online()
    wait_for(lambda: "a second node of this name?" in caplog.text, 20)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_two_nodes_that_push_each_other_out_do_not_flood_the_log(broker, sender, caplog, monkeypatch, protocol):
    monkeypatch.setattr(mqtt_link, "ROUND_WAIT_S", (0.05, 0.1))
    caplog.set_level("INFO")
    options = f"mqtt.port={broker.port}", "mqtt.client_id=twin", f"mqtt.protocol={protocol}"
    first, second = sender(*options), sender(*options)
    wait_for(lambda: first.health.report().counters.get("mqtt_connection_lost", 0) >= 20)
    assert caplog.text.count("lost the broker") <= 10
    assert caplog.text.count("connected to the broker") <= 10
    monkeypatch.setattr(mqtt_link, "BRIEF_S", 0.5)
    second.stop()
    caplog.clear()
    wait_for(lambda: "connected to the broker" in caplog.text)
    assert "mqtt" not in first.health.problems()


# ---- limits of a broker


HOME_ASSISTANT = "homeassistant.enabled=true"  # its discovery message has more than 10,000 bytes


def test_what_is_larger_than_the_broker_says_it_takes_is_named_and_not_sent(mosquitto_with, ear_at, sender, caplog):
    broker = mosquitto_with("allow_anonymous true", "max_packet_size 4000")
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", HOME_ASSISTANT)
    wait_for(lambda: "mqtt_message" in node.health.problems())
    node.run(1.5, 30)
    wait_for(lambda: ear.of("pose") and ear.of("event/presence"))
    said = f"the broker at localhost:{broker.port} takes no more than 4000 bytes: a message of "
    assert caplog.text.count(said) == 1
    assert node.health.problems()["mqtt_message"].startswith(said)
    assert node.health.report().counters["mqtt_refused"] >= 1
    assert "mqtt_connection_lost" not in node.health.report().counters


def test_a_message_that_was_too_large_is_a_problem_until_one_on_its_topic_is_small_enough(mosquitto_with, ear_at, sender, caplog):
    broker = mosquitto_with("allow_anonymous true", "max_packet_size 2000")
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    for _ in range(2):
        node.run(0.3, 30, persons=6)
        wait_for(lambda: "on edge_node/v1/n1/pose is not delivered" in node.health.problems().get("mqtt_message", ""))
        node.run(0.3, 30, persons=1)
        wait_for(lambda: "mqtt_message" not in node.health.problems())
    wait_for(lambda: ear.of("status")[-1].json["problems"] == {})
    assert caplog.text.count("on edge_node/v1/n1/pose is not delivered") == 1


def test_of_two_messages_that_are_too_large_the_other_stays_a_problem(mosquitto_with, sender):
    broker = mosquitto_with("allow_anonymous true", "max_packet_size 2000")
    node = sender(f"mqtt.port={broker.port}", HOME_ASSISTANT)
    wait_for(lambda: "homeassistant/device" in node.health.problems().get("mqtt_message", ""))
    node.run(0.3, 30, persons=6)
    node.run(0.3, 30, persons=1)
    assert "homeassistant/device" in node.health.problems()["mqtt_message"]


@pytest.mark.parametrize("case", [("max_packet_size", "3.1.1"), ("message_size_limit", "5")])
def test_a_broker_that_hangs_up_at_a_large_message_gets_everything_else(mosquitto_with, ear_at, sender, caplog, case):
    limit, protocol = case
    broker = mosquitto_with("allow_anonymous true", f"{limit} 4000")
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", f"mqtt.protocol={protocol}", HOME_ASSISTANT)
    wait_for(lambda: "mqtt_message" in node.health.problems())
    lost = node.health.report().counters["mqtt_connection_lost"]
    node.run(1.5, 30)
    wait_for(lambda: ear.of("pose") and ear.of("event/presence"))
    assert node.health.report().counters["mqtt_connection_lost"] == lost
    assert node.health.report().counters["mqtt_refused"] >= 1
    assert "mqtt" not in node.health.problems()
    size, place = re.search(r"again and again at a message of (\d+) bytes on (\S+):", caplog.text).groups()
    assert place == "homeassistant/device/edge_node_n1/config"
    assert f"takes no more than {int(size) - 1} bytes: a message of {size} on {place} is not delivered" in caplog.text


def test_a_message_as_large_as_the_broker_takes_is_sent_and_one_byte_more_is_not(mosquitto_with, ear_at, sender):
    broker = mosquitto_with("allow_anonymous true", "max_packet_size 4000")
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    session = wait_for(lambda: node.sink._session)
    for size in range(3900, 4001):
        session.publish(Outgoing("edge_node/v1/n1/size", b"x" * size))
        session.flush()
    wait_for(lambda: "mqtt_message" in node.health.problems())
    refused_bytes = int(node.health.problems()["mqtt_message"].partition("a message of ")[2].split()[0])
    wait_for(lambda: len(ear.of("size")[-1].payload) == refused_bytes - 1 if ear.of("size") else False)
    assert "mqtt_connection_lost" not in node.health.report().counters


class Backlog:
    """Has much to say that must arrive, all at once."""

    subscriptions = ()

    def __init__(self, count):
        self._messages = [Outgoing("edge_node/v1/n1/event/test", b"%d" % number, keep=True) for number in range(count)]

    def connected(self):
        return ()

    def saw(self, _people):
        return ()

    def heard(self, _message):
        return ()

    def finish(self):
        return ()

    def tick(self):
        said, self._messages = self._messages, []
        return said


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("receive_maximum", [1, 10])
def test_no_more_messages_are_unacknowledged_than_the_broker_says_it_takes(counting_broker, sender, receive_maximum, lossless):
    broker = counting_broker(receive_maximum)
    node = sender(f"mqtt.port={broker.port}", "mqtt.qos=1", HOME_ASSISTANT, speakers=[Backlog(100)], lossless=lossless)
    node.online()
    frames = node.run(1.0, 60)
    wait_for(lambda: broker.topics.count("edge_node/v1/n1/event/test") >= 100)
    node.stop()
    assert broker.connections == 1
    assert broker.most_under_way <= receive_maximum
    assert broker.topics.count("edge_node/v1/n1/event/test") == 100
    assert broker.topics.count("edge_node/v1/n1/pose") == frames if lossless else broker.topics.count("edge_node/v1/n1/pose") > 5


def test_a_file_whose_poses_are_larger_than_the_broker_takes_ends_with_exit_code_1(shared, mosquitto_with, caplog):
    broker = mosquitto_with("allow_anonymous true", "max_packet_size 700")
    words = [f"mqtt.port={broker.port}", f"camera.source={shared.clips}/squats.mp4", f"model.directory={shared.models}", "node.name=large"]
    assert Node(Settings(lambda: load(None, {}, words)), frame_limit=5).run() == 1
    assert "messages were larger than the broker takes" in caplog.text


# ---- versions


def test_a_broker_that_knows_only_mqtt_3_1_1_gets_it(nats, ear_at, sender):
    ear = ear_at(nats.port, MQTTProtocolVersion.MQTTv311)
    node = sender(f"mqtt.port={nats.port}")
    node.online()
    node.run(1.0, 30)
    ear.client.publish("edge_node/v1/n1/set/mqtt/max_rate_hz", b"5", qos=1)
    wait_for(lambda: ear.of("result"))
    node.stop()
    wait_for(lambda: ear.of("status")[-1].json["state"] == "offline")
    assert node.health.problems() == {}
    seqs = [h.json["seq"] for h in ear.of("pose")]
    assert seqs
    assert seqs == sorted(set(seqs))
    assert {h.topic.split("/")[3] for h in ear.of("#")} >= {"status", "info", "health", "config", "pose", "state", "event", "result"}


def test_a_broker_that_once_took_mqtt_5_is_asked_for_nothing_else_when_a_proxy_hangs_up_in_its_absence(broker, proxy_to, sender):
    proxy = proxy_to(broker.port)
    node = sender(f"mqtt.port={proxy.port}")
    node.online()
    proxy.hang_ups = 3
    proxy.cut()
    wait_for(lambda: len(proxy.versions) == 5)
    node.online()
    assert proxy.versions == [5] * 5


def test_mqtt_3_1_1_that_was_taken_only_because_nothing_was_said_is_given_up_with_the_connection(broker, proxy_to, sender):
    proxy = proxy_to(broker.port, hang_ups=1)
    node = sender(f"mqtt.port={proxy.port}")
    node.online()
    proxy.cut()
    wait_for(lambda: len(proxy.versions) == 3)
    node.online()
    assert proxy.versions == [5, 4, 5]


def test_a_topic_that_is_no_text_is_ignored(nats, ear_at, sender, caplog):
    ear = ear_at(nats.port, MQTTProtocolVersion.MQTTv311, ("edge_node/v1/n1/config", "edge_node/v1/n1/result"))
    node = sender(f"mqtt.port={nats.port}")
    wait_for(lambda: ear.of("config"))
    for _ in range(3):
        publish_raw(nats.port, b"edge_node/v1/n1/set/\xff", b"1")
    ear.client.publish("edge_node/v1/n1/set/mqtt/max_rate_hz", b"5", qos=1)
    wait_for(lambda: ear.of("result"))
    assert caplog.text.count("messages on topics that are not UTF-8 are ignored") == 1
    assert "mqtt_connection_lost" not in node.health.report().counters


def test_mqtt_3_1_1_can_be_asked_for(broker, ear_at, sender):
    ear = ear_at(broker.port)
    node = sender(f"mqtt.port={broker.port}", "mqtt.protocol=3.1.1")
    node.online()
    node.run(0.3, 30)
    assert not hasattr(wait_for(lambda: ear.of("pose"))[0].properties, "ContentType")


# ---- who may


@pytest.fixture
def accounts(tmp_path):
    """A password file for the nodes n1 and n2 and a viewer; everybody's password is "secret"."""
    file = tmp_path / "passwords"
    file.touch()
    for user in ("n1", "n2", "viewer", "operator"):
        subprocess.run(["mosquitto_passwd", "-b", str(file), user, "secret"], check=True, capture_output=True)
    return file


@pytest.fixture
def strict(mosquitto_with, accounts):
    return mosquitto_with("allow_anonymous false", f"password_file {accounts}", f"acl_file {ACL}")


def test_a_refused_login_is_one_clear_line_and_is_tried_again(strict, sender, monkeypatch, caplog):
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "wrong")
    node = sender(f"mqtt.port={strict.port}", "mqtt.username=n1")
    text = problem(node)
    assert "refused the login (user 'n1'): Not authorized; check mqtt.username and the password" in text
    assert "wrong" not in caplog.text
    time.sleep(2.5)
    assert caplog.text.count("refused the login") == 1


def test_the_password_comes_from_systemds_credentials(strict, ear_at, sender, monkeypatch, tmp_path):
    (tmp_path / "edge-node.mqtt-password").write_text("secret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    ear = ear_at(strict.port, options={"username": "viewer", "password": "secret"})
    sender(f"mqtt.port={strict.port}", "mqtt.username=n1").online()
    wait_for(lambda: ear.of("info"))


def test_the_example_access_list_lets_a_node_do_its_work_and_nothing_more(strict, ear_at, sender, monkeypatch, caplog):
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "secret")
    viewer = ear_at(strict.port, options={"username": "viewer", "password": "secret"})
    operator = ear_at(strict.port, options={"username": "operator", "password": "secret"})
    node = sender(f"mqtt.port={strict.port}", "mqtt.username=n1")
    node.online()
    wait_for(lambda: viewer.of("config"))
    node.run(1.0, 30)
    viewer.client.publish("edge_node/v1/n1/set/mqtt.max_rate_hz", b"1", qos=1).wait_for_publish()
    operator.client.publish("edge_node/v1/n1/set/mqtt.max_rate_hz", b"2", qos=1).wait_for_publish()
    assert wait_for(lambda: viewer.of("result"))[0].json["value"] == 2
    assert {h.topic.split("/")[3] for h in viewer.heard if h.topic.startswith("edge_node/v1/n1/")} >= {"pose", "state", "event", "health"}
    assert "access list" not in caplog.text
    other = sender(f"mqtt.port={strict.port}", "mqtt.username=n1", "node.name=n2")
    other.online()
    wait_for(lambda: "does not take a message of this node (Not authorized)" in caplog.text)
    assert not viewer.of("#", node="n2")


@pytest.mark.parametrize("key", ["mqtt.max_rate_hz", "mqtt/max_rate_hz"])
def test_with_the_example_access_list_requests_are_answered_below_result(key, strict, ear_at, sender, monkeypatch):
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "secret")
    operator = ear_at(strict.port, options={"username": "operator", "password": "secret"})
    sender(f"mqtt.port={strict.port}", "mqtt.username=n1")
    wait_for(lambda: operator.of("config"))
    properties = Properties(PacketTypes.PUBLISH)
    properties.ResponseTopic = "edge_node/v1/n1/result/me"
    operator.client.publish(f"edge_node/v1/n1/set/{key}", b"2", qos=1, properties=properties)
    assert wait_for(lambda: operator.of("result/me"))[0].json["value"] == 2


# ---- encryption


class Authority:
    """Makes certificates with the openssl program."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = self._own("ca", "/CN=test authority")[0]

    def certificate(self, name, subject="/CN=localhost", names="DNS:localhost,IP:127.0.0.1", expired=False):
        """Paths of certificate and key."""
        key, request, certificate, extra = (self.folder / f"{name}.{end}" for end in ("key", "csr", "pem", "ext"))
        extra.write_text(f"subjectAltName={names}\n")
        self.openssl("req", "-new", *self._new_key(key), "-subj", subject, "-out", request)
        validity = ["-not_before", "20200101000000Z", "-not_after", "20200201000000Z"] if expired else ["-days", "2"]
        signed_by = ["-CA", self.ca, "-CAkey", self.folder / "ca.key", "-CAcreateserial"]
        if expired and not self._knows_dates():
            validity = ["-days", "-1"]
        self.openssl("x509", "-req", "-in", request, *signed_by, *validity, "-extfile", extra, "-out", certificate)
        return certificate, key

    def _own(self, name, subject):
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        self.openssl("req", "-x509", *self._new_key(key), "-subj", subject, "-days", "2", *extensions, "-out", certificate)
        return certificate, key

    def _new_key(self, path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]

    def _knows_dates(self):
        text = subprocess.run(["openssl", "x509", "-help"], capture_output=True, text=True, check=False)
        return "-not_after" in text.stderr + text.stdout

    def openssl(self, *words):
        done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def encrypted(mosquitto_with, authority):
    """Makes a mosquitto with TLS and the given certificate."""

    def make(*lines, **certificate):
        file, key = authority.certificate("server", **certificate)
        tls = f"certfile {file}\nkeyfile {key}\ncafile {authority.ca}"
        return mosquitto_with(*(lines or ("allow_anonymous true",)), listener=tls)

    return make


def tls_options(port, authority, *more):
    return [f"mqtt.port={port}", "mqtt.tls.enabled=true", f"mqtt.tls.ca_file={authority.ca}", *more]


def test_an_encrypted_broker_with_a_trusted_certificate_is_used(encrypted, authority, sender, caplog):
    broker = encrypted()
    node = sender(*tls_options(broker.port, authority, "mqtt.tls.alpn=[mqtt]"))
    node.online()
    node.run(0.5, 30)
    node.stop()
    assert "unencrypted" not in caplog.text


def test_client_certificates_are_shown_to_brokers_that_ask(encrypted, authority, sender):
    broker = encrypted("require_certificate true", "use_identity_as_username true", f"acl_file {ACL}")
    file, key = authority.certificate("node", subject="/CN=n1")
    with_one = sender(*tls_options(broker.port, authority, f"mqtt.tls.certificate_file={file}", f"mqtt.tls.key_file={key}"))
    with_one.online()
    told = problem(sender(*tls_options(broker.port, authority, "node.name=n2")))
    assert told == (
        f"the broker at localhost:{broker.port} closed the connection without an answer; "
        "check mqtt.host, mqtt.port and mqtt.tls, and whether it wants a certificate (mqtt.tls.certificate_file)"
    )


def test_a_client_certificate_that_the_broker_does_not_take_is_told(encrypted, authority, sender):
    broker = encrypted("require_certificate true", "allow_anonymous true")
    file, key = authority.certificate("node", subject="/CN=n1", expired=True)
    told = problem(sender(*tls_options(broker.port, authority, f"mqtt.tls.certificate_file={file}", f"mqtt.tls.key_file={key}")))
    assert "takes this node's certificate (mqtt.tls.certificate_file): who issued it, and until when it holds" in told


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [({"expired": True}, "certificate has expired"), ({"subject": "/CN=other", "names": "DNS:other.example"}, "Hostname mismatch")],
)
def test_a_certificate_that_does_not_hold_is_refused_with_its_reason(encrypted, authority, sender, certificate, reason):
    broker = encrypted(**certificate)
    node = sender(*tls_options(broker.port, authority))
    assert f"the certificate of the broker at localhost:{broker.port} is not accepted: {reason}" in problem(node)


def test_a_certificate_of_an_unknown_authority_is_refused(encrypted, sender):
    broker = encrypted()
    node = sender(f"mqtt.port={broker.port}", "mqtt.tls.enabled=true")
    assert "is not accepted" in problem(node)


def test_an_encrypted_key_is_refused_without_asking_for_its_passphrase(authority, sender):
    file, key = authority.certificate("node")
    encrypted = authority.folder / "encrypted.key"
    authority.openssl("pkey", "-in", key, "-aes256", "-passout", "pass:secret", "-out", encrypted)
    with pytest.raises(SinkError, match="the private key is encrypted; store it without a passphrase"):
        sender("mqtt.tls.enabled=true", f"mqtt.tls.certificate_file={file}", f"mqtt.tls.key_file={encrypted}")


def test_tls_to_a_port_without_it_is_told_from_an_absent_broker(broker, authority, sender):
    assert "check mqtt.port and mqtt.tls" in problem(sender(*tls_options(broker.port, authority)))


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("mqtt.tls.ca_file=/nowhere/ca.pem", "mqtt.tls.ca_file: /nowhere/ca.pem: No such file or directory"),
        (f"mqtt.tls.ca_file={__file__}", "not a PEM file that can be used"),
        ("mqtt.tls.certificate_file=/nowhere/node.pem", "/nowhere/node.pem with the key in it: No such file or directory"),
    ],
)
def test_tls_files_that_cannot_be_used_stop_the_node_with_one_line(sender, option, text):
    with pytest.raises(SinkError) as caught:
        sender("mqtt.tls.enabled=true", option)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
