"""Trying a login at real brokers that take it, refuse it, speak only the older version, or are not there."""

import socket
import threading
import time

import pytest

from edge_node.config.load import load
from edge_node.errors import SinkError
from edge_node.sink.mqtt_trial import ATTEMPT_S, try_login
from tests.sink.parts import free_port, wait_for


def trial(*options, password=None):
    return try_login(load(None, {}, ["node.name=n1", *options]), "trial", password)


def test_a_broker_that_takes_the_login_is_named_and_left_in_peace(broker, ear_at):
    ear = ear_at(broker.port)
    session = trial(f"mqtt.port={broker.port}").session
    assert (session.place, session.protocol) == (f"localhost:{broker.port}", "5")
    assert session.lost.is_set()
    ear.client.publish("edge_node/v1/n1/end", b"x", qos=1)
    wait_for(lambda: ear.of("end"))
    assert [heard.topic for heard in ear.heard] == ["edge_node/v1/n1/end"]


def test_the_node_itself_stays_connected(broker, sender, caplog):
    node = sender(f"mqtt.port={broker.port}")
    node.online()
    trial(f"mqtt.port={broker.port}")
    time.sleep(0.2)
    assert node.health.report().facts["mqtt_broker"] == f"localhost:{broker.port}"
    assert "lost the broker" not in caplog.text


def test_the_second_broker_is_tried_when_the_first_is_not_there_and_the_reason_is_known(broker):
    port = free_port()
    taken = trial(f"mqtt.port={port}", f"mqtt.fallback_brokers=[{{host: localhost, port: {broker.port}}}]")
    assert taken.session.place == f"localhost:{broker.port}"
    assert taken.refusals == (f"no broker listens at localhost:{port}; check mqtt.host and mqtt.port, or start the broker",)


def test_every_broker_that_does_not_take_us_is_named_with_its_reason():
    one, two = free_port(), free_port()
    with pytest.raises(SinkError) as caught:
        trial(f"mqtt.port={one}", f"mqtt.fallback_brokers=[{{host: localhost, port: {two}}}]")
    for port in (one, two):
        assert f"no broker listens at localhost:{port}; check mqtt.host" in str(caught.value)


def test_a_refused_login_is_told_long_before_the_time_is_up(mosquitto_with):
    begun = time.monotonic()
    with pytest.raises(SinkError, match=r"refused the login \(user 'n1'\): Not authorized; check mqtt.username and the password"):
        trial(f"mqtt.port={mosquitto_with('allow_anonymous false').port}", "mqtt.username=n1", password="wrong")
    assert time.monotonic() - begun < ATTEMPT_S / 2


def hang_up_on_mqtt_5(listener):
    """Stands for a broker that knows only MQTT 3.1.1 and hangs up on everything else, without a word."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # the test is over
            return
        with client:
            if client.recv(1024)[8] == 4:  # the protocol level, behind the header and the name "MQTT"
                client.sendall(b"\x20\x02\x00\x00")
                client.recv(1024)


@pytest.fixture
def old_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=hang_up_on_mqtt_5, args=(listener,), daemon=True)
        serving.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        serving.join(5)


def test_a_broker_that_hangs_up_on_mqtt_5_is_asked_in_the_older_version(old_port):
    assert trial(f"mqtt.port={old_port}", "mqtt.host=127.0.0.1").session.protocol == "3.1.1"
