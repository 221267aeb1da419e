"""The broker outside the machine, and everything that is heard there."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from machine import free_port
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

LOGIN, PASSWORD = "hall", "not-a-word-of-the-guide"
"""Who may use the broker's second listener."""


class SilenceError(Exception):
    """What was waited for did not come."""


@dataclass(frozen=True)
class Heard:
    """One message. ``at_s``: monotonic clock of this side."""

    at_s: float
    topic: str
    payload: bytes

    @property
    def kind(self) -> str:
        return self.topic.split("/", 3)[-1]

    @property
    def json(self) -> Any:
        return json.loads(self.payload) if self.payload else None


class Broker:
    """A mosquitto on loopback: the machine reaches it as 10.0.2.2. It can go away and come back on the same ports.

    ``port`` takes everybody, ``login_port`` only ``LOGIN`` with ``PASSWORD``.
    """

    def __init__(self, folder: Path, fresh: bool = True) -> None:
        kept = folder / "ports"  # the machine's configuration names them
        if fresh or not kept.exists():
            kept.write_text(f"{free_port()} {free_port()}")
        self.port, self.login_port = map(int, kept.read_text().split())
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, LOGIN, PASSWORD], check=True, capture_output=True)
        self._configuration = folder / "mosquitto.conf"
        self._configuration.write_text(
            "user root\nper_listener_settings true\npersistence false\n"
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
            f"listener {self.login_port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path="/usr/local/sbin:/usr/sbin:/usr/bin") or "mosquitto"
        self._process = subprocess.Popen([program, "-c", self._configuration], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


class Ear:
    """A subscriber to everything; connects again by itself."""

    def __init__(self, port: int) -> None:
        self._condition = threading.Condition()
        self._heard: list[Heard] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe("#")
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def since(self, at_s: float, kind: str | None = None) -> list[Heard]:
        """What came after ``at_s``; of ``kind`` (``pose``, ``status`` …) only."""
        with self._condition:
            return [m for m in self._heard if m.at_s > at_s and kind in (None, m.kind)]

    def wait(
        self, kind: str, timeout_s: float, after_s: float | None = None, fits: Callable[[Any], bool] = lambda _json: True, count: int = 1
    ) -> list[Heard]:
        """The first ``count`` messages of ``kind`` after now (or ``after_s``) that fit. Raises ``SilenceError``."""
        begun = time.monotonic() if after_s is None else after_s
        deadline = time.monotonic() + timeout_s
        with self._condition:
            while True:
                found = [m for m in self._heard if m.at_s > begun and m.kind == kind and m.payload and fits(m.json)][:count]
                if len(found) == count:
                    return found
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise SilenceError(f"{len(found)} of {count} {kind} messages within {timeout_s:.0f} s")
                self._condition.wait(min(left_s, 0.5))

    def wait_pose(self, timeout_s: float = 300, after_s: float | None = None) -> float:
        """When the next pose message came, on the monotonic clock."""
        return self.wait("pose", timeout_s, after_s)[0].at_s

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        with self._condition:
            if not message.retain:
                self._heard.append(Heard(time.monotonic(), message.topic, bytes(message.payload)))
                self._condition.notify_all()
