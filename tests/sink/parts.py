"""What MQTT tests are made of: real brokers, a subscriber that keeps everything, and the sending half of a node."""

import contextlib
import queue
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import orjson
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_node import paths
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import People, Person
from edge_node.health import Health
from edge_node.sink.mqtt import mqtt_sink
from edge_node.sink.mqtt_node import About
from edge_node.sink.thread import SinkThread


def wait_for(condition, timeout_s=30.0):
    """The condition's value once it is true; fails when it never is."""
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def publish_raw(port, topic, payload):
    """One message of QoS 0 by MQTT 3.1.1 on a topic of any bytes, which no library sends."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        login = b"\0\4MQTT\4\2\0\x3c\0\3raw"
        sock.sendall(bytes([0x10, len(login)]) + login)
        assert sock.recv(4) == b"\x20\2\0\0"
        body = len(topic).to_bytes(2, "big") + topic + payload
        sock.sendall(bytes([0x30, len(body)]) + body + b"\xe0\0")
        while sock.recv(64):  # until the broker has read it all
            pass


class Broker:
    """A server program on a port of its own that can be killed, frozen and started again on the same port."""

    def __init__(self, folder, command, port):
        self.port = port
        self._command = command
        self._log = (folder / f"broker-{port}.log").open("w")
        self._process = None

    def start(self):
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log)
        wait_for(self._listens)
        return self

    def kill(self):
        self._process.kill()
        self._process.wait()

    def quit(self):
        """End in peace: the broker saves what it has."""
        self._process.terminate()
        self._process.wait()

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def stop(self):
        if self._process is not None and self._process.poll() is None:
            self.thaw()
            self.kill()
        self._log.close()

    def _listens(self):
        assert self._process.poll() is None, f"the broker did not start: {self._log.name}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Proxy:
    """Passes connections on to a broker; hangs up on as many as it is told, as a TCP proxy does while its broker is away."""

    def __init__(self, broker_port, hang_ups=0):
        self.hang_ups = hang_ups
        self.versions = []
        """As the clients name them: 4 stands for MQTT 3.1.1."""
        self._broker_port = broker_port
        self._passed_on = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """End the connections there are."""
        for client in self._passed_on:
            with contextlib.suppress(OSError):  # it has ended before
                client.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self):
        with contextlib.suppress(OSError):  # the test is over
            while True:
                client, _ = self._listener.accept()
                login = client.recv(1024)
                self.versions.append(login[login.index(b"MQTT") + 4])
                if self.hang_ups:
                    self.hang_ups -= 1
                    client.close()
                else:
                    self._pass_on(client, login)

    def _pass_on(self, client, login):
        broker = socket.create_connection(("127.0.0.1", self._broker_port))
        broker.sendall(login)
        self._passed_on.append(client)
        for source, target in ((client, broker), (broker, client)):
            threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source, target):
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class CountingBroker:
    """Stands for a broker of MQTT 5 that ends connections with more unacknowledged messages than it said it takes: mosquitto does not."""

    ACKNOWLEDGED_AFTER_S = 0.01

    def __init__(self, receive_maximum):
        self.receive_maximum = receive_maximum
        self.connections = 0
        self.most_under_way = 0
        self.topics = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):  # the test is over
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        under_way = queue.Queue()
        threading.Thread(target=self._acknowledge, args=(client, under_way), daemon=True).start()
        with client, client.makefile("rb") as packets, contextlib.suppress(OSError):
            while header := packets.read(1):
                self._answer(client, header[0], packets.read(self._length(packets)), under_way)
        under_way.put(None)

    def _acknowledge(self, client, under_way):
        with contextlib.suppress(OSError):
            while packet_id := under_way.get():
                time.sleep(self.ACKNOWLEDGED_AFTER_S)
                under_way.task_done()
                client.sendall(b"\x40\x02" + packet_id)

    def _answer(self, client, header, body, under_way):
        if header >> 4 == 1:
            client.sendall(b"\x20\x06\0\0\x03\x21" + self.receive_maximum.to_bytes(2, "big"))
        elif header >> 4 in (8, 10):  # SUBSCRIBE and UNSUBSCRIBE
            client.sendall(bytes([0x90 if header >> 4 == 8 else 0xB0, 4]) + body[:2] + b"\0\0")
        elif header >> 4 == 3:
            length = int.from_bytes(body[:2], "big")
            self.topics.append(body[2 : 2 + length].decode())
            if header & 6:
                under_way.put(body[2 + length : 4 + length])
            self.most_under_way = max(self.most_under_way, under_way.unfinished_tasks)
            if under_way.unfinished_tasks > self.receive_maximum:
                client.sendall(b"\xe0\x01\x93")
                client.shutdown(socket.SHUT_RDWR)

    def _length(self, packets):
        length = shift = 0
        while (byte := packets.read(1)[0]) & 128:
            length, shift = length | (byte & 127) << shift, shift + 7
        return length | byte << shift


@dataclass
class Heard:
    topic: str
    payload: bytes
    qos: int
    retained: bool
    at: float
    properties: object = None
    again: bool = False
    """The broker says that it sends this a second time."""

    @property
    def json(self):
        return orjson.loads(self.payload)


@dataclass
class Ear:
    """A subscriber to everything."""

    port: int
    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5
    topics: tuple = ("#",)
    qos: int = 1
    options: dict = field(default_factory=dict)

    def __post_init__(self):
        self.heard = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self.options.get("session", ""), protocol=self.version)
        if "username" in self.options:
            self.client.username_pw_set(self.options["username"], self.options.get("password"))
        self.client.reconnect_delay_set(0.1, 0.2)
        self.client.on_socket_open = lambda _client, _data, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client.on_connect = lambda client, *_: [client.subscribe(t, qos=self.qos) for t in self.topics]
        self.client.on_message = self._on_message
        self.subscribed = False
        self.client.on_subscribe = lambda *_: setattr(self, "subscribed", True)
        self._connect()
        self.client.loop_start()
        wait_for(lambda: self.subscribed)

    def _connect(self):
        keepalive_s = self.options.get("keepalive_s", 60)
        if "session" not in self.options:
            self.client.connect("127.0.0.1", self.port, keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", self.port, keepalive_s, clean_start=False, properties=properties)

    def _on_message(self, _client, _data, m):
        self.heard.append(Heard(m.topic, m.payload, m.qos, bool(m.retain), time.time(), m.properties, bool(m.dup)))

    def of(self, suffix, node="n1"):
        """What came on one topic of the node, or on all below it with ``/#``."""
        topic = f"edge_node/v1/{node}/{suffix}"
        if topic.endswith("/#"):
            return [h for h in list(self.heard) if h.topic.startswith(topic[:-1])]
        return [h for h in list(self.heard) if h.topic == topic]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Sender:
    """A node's MQTT half: settings, health, the sink on its own thread, and frames made up on demand."""

    def __init__(self, *options, lossless=False, speakers=(), actions=None, configuration=None):
        self.settings = Settings(lambda: load(None, {}, ["node.name=n1", *options]), paths.state_directory(), configuration)
        self.health = Health()
        self.sink = mqtt_sink(
            self.settings,
            self.health,
            lambda: About("model", "0" * 64, "engine", "camera"),
            lossless=lossless,
            more=speakers,
            actions=actions,
        )
        self.failures = []
        self.thread = SinkThread(self.sink, self.health, lossless, self.failures.append)
        self.seq = 0
        self.thread.start()

    def offer(self, persons=1):
        now_ns = time.monotonic_ns()
        people = tuple(person(n + 1) for n in range(persons))
        self.health.frame(persons, "cpu", {})
        self.thread.offer(People(self.seq, now_ns, now_ns, time.time(), 640, 480, "cpu", people))
        self.seq += 1

    def run(self, seconds, rate_hz=60.0, persons=1):
        """Frames at a steady rate; returns how many."""
        begun, count = time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            self.offer(persons)
            count += 1
            time.sleep(max(0.0, begun + count / rate_hz - time.monotonic()))
        return count

    def online(self):
        return wait_for(lambda: self.health.report().facts.get("mqtt_broker"))

    def stop(self, drain=True):
        self.thread.stop(drain)
        assert self.thread.join(5)
        assert not self.failures


def person(number, shift=0.0):
    keypoints = np.random.default_rng(number).random((17, 3)).astype(np.float32)
    keypoints[:, 0] += shift
    keypoints[:, 2] = 0.5 + keypoints[:, 2] / 2
    return Person(number, 0.9, (0.1, 0.1, 0.9, 0.9), keypoints)
