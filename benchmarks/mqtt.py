#!/usr/bin/env python3
"""Cost and latency of publishing poses: this project's sink next to a bare paho client, in turns, over one local mosquitto.

Latency is from the making of a pose to mosquitto_sub's receiving it, on one clock. CPU is the sending process's own, less what
the same loop takes without a sink.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the checkout comes first
import orjson  # noqa: E402 - the checkout comes first
import paho.mqtt.client as paho  # noqa: E402 - the same
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion  # noqa: E402 - the same

from edge_node.data import People  # noqa: E402 - the same
from edge_node.local_broker import local_broker  # noqa: E402 - the same
from edge_node.sink.messages import encode_pose  # noqa: E402 - the same
from tests.sink.parts import Sender, person  # noqa: E402 - the same


class Way(Protocol):
    """One way of publishing poses to the broker at a port."""

    def offer(self, people: People) -> None: ...

    def stop(self) -> None: ...


def _send_at_once(_client: paho.Client, _data: object, connection: object) -> None:
    if isinstance(connection, socket.socket):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Bare:
    """A paho client that is handed each pose as it comes."""

    def __init__(self, port: int) -> None:
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_socket_open = _send_at_once
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        time.sleep(0.3)

    def offer(self, people: People) -> None:
        self._client.publish("edge_node/v1/n1/pose", encode_pose(people))

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class Sink:
    """The sink on its thread, as in a node; state and events are off in both, as they do not depend on the transport."""

    def __init__(self, port: int) -> None:
        self._sender = Sender(f"mqtt.port={port}", "state.enabled=false")
        self._sender.online()
        time.sleep(0.3)

    def offer(self, people: People) -> None:
        self._sender.thread.offer(people)

    def stop(self) -> None:
        self._sender.stop()


class Nothing:
    """The same loop with nobody to publish."""

    def __init__(self, port: int) -> None: ...

    def offer(self, people: People) -> None: ...

    def stop(self) -> None: ...


KINDS: dict[str, Callable[[int], Way]] = {"bare paho": Bare, "sink": Sink, "nothing": Nothing}


def send(kind: str, port: int, rate_hz: float, seconds: float, persons: int) -> None:
    """The child: one way of publishing; prints its CPU time for each pose, in microseconds."""
    way = KINDS[kind](port)
    bodies = tuple(person(n + 1) for n in range(persons))
    count = int(rate_hz * seconds)
    begun, cpu_s = time.monotonic(), time.process_time()
    for number in range(count):
        time.sleep(max(0.0, begun + number / rate_hz - time.monotonic()))
        now_ns = time.monotonic_ns()
        way.offer(People(number, now_ns, now_ns, time.time(), 640, 480, "cpu", bodies))
    time.sleep(0.2)
    cpu_us = (time.process_time() - cpu_s) / count * 1e6
    way.stop()
    print(json.dumps(cpu_us))


def measure(kind: str, port: int, rate_hz: float, seconds: float, persons: int) -> dict[str, float]:
    """One turn: latencies as mosquitto_sub saw them, and the CPU of the sender."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "heard").open("w+b") as heard:
        listen = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-t", "edge_node/v1/n1/pose", "-F", "%U %p"]
        listener = subprocess.Popen(listen, stdout=heard)
        time.sleep(0.3)
        environment = {**os.environ, "XDG_STATE_HOME": folder, "XDG_RUNTIME_DIR": folder}
        words = [sys.executable, __file__, "--send", kind, "--port", str(port), "--rate", str(rate_hz), "--seconds", str(seconds)]
        child = subprocess.run([*words, "--people", str(persons)], check=True, capture_output=True, text=True, env=environment)
        time.sleep(0.2)
        listener.terminate()
        listener.wait()
        heard.seek(0)
        lines = [line.split(b" ", 1) for line in heard.read().splitlines()]
    late_ms = np.array([(float(at) - orjson.loads(text)["ts"]) * 1e3 for at, text in lines] or [np.nan])
    return {
        "cpu_us": float(json.loads(child.stdout)),
        "p50_ms": float(np.percentile(late_ms, 50)),
        "p99_ms": float(np.percentile(late_ms, 99)),
        "arrived": len(lines) / int(rate_hz * seconds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=30.0, help="poses a second (30)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one turn (20)")
    parser.add_argument("--turns", type=int, default=3, help="turns of each kind (3); the median is shown")
    parser.add_argument("--people", type=int, default=1, help="people in each pose message (1)")
    parser.add_argument("--send", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.send:
        send(arguments.send, arguments.port, arguments.rate, arguments.seconds, arguments.people)
        return 0
    with local_broker() as port:
        turns = [
            {kind: measure(kind, port, arguments.rate, arguments.seconds, arguments.people) for kind in KINDS}
            for _ in range(arguments.turns)
        ]
    idle_us = float(np.median([turn["nothing"]["cpu_us"] for turn in turns]))
    print(f"{arguments.people} people, {arguments.rate:g}/s, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| way | CPU a pose, µs | p50, ms | p99, ms | arrived |\n|---|---|---|---|---|")
    for kind in ("bare paho", "sink"):
        row = {key: float(np.median([turn[kind][key] for turn in turns])) for key in turns[0][kind]}
        print(f"| {kind} | {row['cpu_us'] - idle_us:.0f} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} | {100 * row['arrived']:.1f} % |")
    return 0


sys.exit(main())
