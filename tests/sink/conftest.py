"""Fixtures for the MQTT tests."""

import os
import shutil

import pytest

from edge_node.local_broker import mosquitto
from tests.sink.parts import Broker, CountingBroker, Ear, Proxy, Sender, free_port


@pytest.fixture(autouse=True)
def _own_state_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def broker_of(tmp_path):
    """Makes brokers; all end with the test."""
    brokers = []

    def make(command, port):
        brokers.append(Broker(tmp_path, command, port))
        return brokers[-1].start()

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def mosquitto_with(tmp_path, broker_of):
    """Makes a mosquitto with the given lines of configuration (default: open to everybody)."""

    def make(*lines, listener=""):
        port = free_port()
        file = tmp_path / f"mosquitto-{port}.conf"
        text = "\n".join(lines or ("allow_anonymous true",))
        user = "user root\n" if os.geteuid() == 0 else ""  # as root it would become a user who cannot read our files
        file.write_text(f"{user}listener {port} 127.0.0.1\n{listener}\npersistence false\n{text}\n")
        return broker_of([mosquitto(), "-c", str(file)], port)

    return make


@pytest.fixture
def broker(mosquitto_with):
    return mosquitto_with()


@pytest.fixture
def nats(tmp_path, broker_of):
    program = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/usr/local/sbin")
    assert program, "nats-server is not installed: sudo apt install nats-server"
    port, own_port = free_port(), free_port()
    file = tmp_path / "nats.conf"
    file.write_text(
        f'server_name: one\nhost: 127.0.0.1\nport: {own_port}\njetstream {{ store_dir: "{tmp_path}/nats" }}\n'
        f"mqtt {{ host: 127.0.0.1, port: {port} }}\n"
    )
    return broker_of([program, "-c", str(file)], port)


@pytest.fixture
def counting_broker():
    """Makes brokers that take no more unacknowledged messages than the given number; all end with the test."""
    brokers = []

    def make(receive_maximum):
        brokers.append(CountingBroker(receive_maximum))
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.stop()


@pytest.fixture
def proxy_to():
    """Makes proxies to brokers; all end with the test."""
    proxies = []

    def make(*args, **options):
        proxies.append(Proxy(*args, **options))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.stop()


@pytest.fixture
def ear_at():
    """Makes subscribers; all are closed with the test."""
    ears = []

    def make(port, *args, **options):
        ears.append(Ear(port, *args, **options))
        return ears[-1]

    yield make
    for ear in ears:
        ear.close()


@pytest.fixture
def sender():
    """Makes the sending half of a node; stopped with the test."""
    senders = []

    def make(*options, **more):
        senders.append(Sender(*options, **more))
        return senders[-1]

    yield make
    for made in senders:
        made.sink.stop_waiting()
        made.thread.stop(False)
        made.thread.join(5)
