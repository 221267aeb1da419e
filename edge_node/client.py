"""Listening to nodes from a program of one's own: poses as typed ``People``, and how the whole fleet is.

with Client("broker.local") as client:
    for node, people in client.poses():
        print(node, [person.id for person in people.people])
"""

import logging
import queue
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edge_node.address import address
from edge_node.data import People
from edge_node.errors import EdgeNodeError, MessageError
from edge_node.log import harmless
from edge_node.sink import messages
from edge_node.sink.messages import ROOT, people_in, read, read_pose

log = logging.getLogger(__name__)

KEPT_POSES = 256
CONNECT_TIMEOUT_S = 5.0
KEEPALIVE_S = 10
"""A broker that froze or vanished is noticed within twice that; it says nothing by itself."""
RATE_WINDOW_S = 2.0
HEARD = ("status", "info", "health", "state", "event/+", "pose")
_FIELDS = {"pose": "people", "event": "last_event"}


class ClientError(EdgeNodeError):
    """The broker cannot be reached, or does not let us in."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as it was last heard. Everything but ``name`` is ``None`` until the node said it.

    ``pose_rate_hz``: pose messages a second lately, as they came in here. ``heard_s``: monotonic clock of the last message.
    """

    name: str
    heard_s: float
    status: messages.Status | None = None
    info: messages.Info | None = None
    health: messages.Health | None = None
    state: messages.State | None = None
    last_event: messages.Event | None = None
    people: People | None = None
    pose_rate_hz: float = 0.0

    @property
    def online(self) -> bool:
        """Whether the node, or the broker for it, says that it is there."""
        return self.status is not None and self.status["state"] == "online"

    @property
    def problems(self) -> Mapping[str, str]:
        """What is wrong with the node: part to one line of text."""
        return {} if self.status is None else self.status.get("problems", {})


class Client:
    """A connection to the broker, for as long as the ``with`` block lasts; it reconnects by itself.

    ``node``: listen to one node only. ``tls``: a context, for an encrypted connection. Entering raises ``ClientError`` when the
    broker cannot be reached or refuses the login.
    """

    def __init__(
        self,
        host: str = "localhost",
        port: int = 1883,
        *,
        node: str | None = None,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = (host, port)
        self._filters = [(f"{ROOT}/{node or '+'}/{suffix}", 1) for suffix in HEARD]
        self._lock = threading.Lock()
        self._fleet: dict[str, NodeView] = {}
        self._rates: dict[str, _Rate] = {}
        self._poses: queue.SimpleQueue[tuple[str, People]] = queue.SimpleQueue()
        self._ready = threading.Event()
        self._refusal: str | None = None
        self._not_understood: set[str] = set()
        # MQTT 3.1.1: every broker knows it.
        self._paho = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._paho.reconnect_delay_set(1, 5)
        if username is not None:
            self._paho.username_pw_set(username, password)
        if tls is not None:
            self._paho.tls_set_context(tls)
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = self._on_message

    def __enter__(self) -> Self:
        place = address(*self._address)
        try:
            self._paho.connect(*self._address, KEEPALIVE_S)
        except UnicodeError:  # no name of a host can be such
            raise ClientError(f"the broker at {place} cannot be reached: Name or service not known") from None
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise ClientError(f"the broker at {place} cannot be reached: {reason}") from None
        self._paho.loop_start()
        if not self._ready.wait(CONNECT_TIMEOUT_S) or self._refusal is not None:
            self.close()
            raise ClientError(f"the broker at {place} {self._refusal or 'gave no answer'}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye to the broker. May be called more than once."""
        self._paho.disconnect()
        self._paho.loop_stop()

    @property
    def connected(self) -> bool:
        """Whether the broker is there at the moment; while it is not, everything known is of before. Once it is back that is forgotten."""
        return self._paho.is_connected()

    def poses(self, timeout_s: float | None = None) -> Iterator[tuple[str, People]]:
        """Node and people, as they come; ends when none came for ``timeout_s``. Whoever is slow misses the oldest."""
        while True:
            try:
                yield self._poses.get(timeout=timeout_s)
            except queue.Empty:
                return

    def fleet(self) -> dict[str, NodeView]:
        """Every node heard since the connection came about, by name."""
        with self._lock:
            now_s = time.monotonic()
            return {name: replace(view, pose_rate_hz=self._rates[name].hz(now_s)) for name, view in sorted(self._fleet.items())}

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self._refusal = f"refused the login: {reason.getName()}"
            self._ready.set()
        else:
            self._refusal = None
            # What is retained comes again at once. A broker that lost its memory would never say that a node is gone meanwhile.
            with self._lock:
                self._fleet.clear()
                self._rates.clear()
            client.subscribe(self._filters)

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if all(reason.is_failure for reason in reasons):
            self._refusal = "does not let us listen to nodes: its access list denies it"
        self._ready.set()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # NATS passes on what is no topic of MQTT
            return
        node, _, suffix = topic.removeprefix(ROOT + "/").partition("/")
        kind = suffix.partition("/")[0]
        if not message.payload:  # a retained message was cleared
            self._forget(node, kind)
            return
        try:
            content = decode_pose(message.payload) if kind == "pose" else read(kind, message.payload)
        except MessageError as error:
            self._tell_not_understood(topic, error)
            return
        self._not_understood.discard(topic)
        self._note(node, _FIELDS.get(kind, kind), content)
        if isinstance(content, People):
            while self._poses.qsize() >= KEPT_POSES:
                with suppress(queue.Empty):  # the program that reads them may be faster
                    self._poses.get_nowait()
            self._poses.put((node, content))

    def _tell_not_understood(self, topic: str, error: MessageError) -> None:
        """Once, until something on this topic is understood again: a node of a later version says 30 such poses a second."""
        if topic not in self._not_understood:
            self._not_understood.add(topic)
            log.warning("%s is not understood: %s", harmless(topic), harmless(str(error).replace("\n", " ")))

    def _note(self, node: str, field: str, content: Any) -> None:
        with self._lock:
            now_s = time.monotonic()
            news: dict[str, Any] = {field: content, "heard_s": now_s}
            self._fleet[node] = replace(self._fleet.get(node) or NodeView(node, now_s), **news)
            rate = self._rates.setdefault(node, _Rate())
            if field == "people":
                rate.count(now_s)

    def _forget(self, node: str, kind: str) -> None:
        with self._lock:
            if kind == "status":
                self._fleet.pop(node, None)
            elif node in self._fleet:
                nothing: dict[str, Any] = {_FIELDS.get(kind, kind): None}
                self._fleet[node] = replace(self._fleet[node], **nothing)


def decode_pose(payload: bytes | bytearray) -> People:
    """The people of a ``pose`` message, or of a line of a recording, in either layout.

    ``captured_ns`` is reckoned back from now by the message's age. Raises ``MessageError``.
    """
    message = read_pose(payload)
    return people_in(message, time.monotonic_ns() - round(message["age_ms"] * 1e6))


class _Rate:
    """How often something happened lately."""

    def __init__(self) -> None:
        self._times_s: list[float] = []

    def count(self, now_s: float) -> None:
        self._times_s = [t for t in self._times_s if now_s - t <= RATE_WINDOW_S]
        self._times_s.append(now_s)

    def hz(self, now_s: float) -> float:
        recent = [t for t in self._times_s if now_s - t <= RATE_WINDOW_S]
        if len(recent) < 2:
            return 0.0
        return (len(recent) - 1) / max(recent[-1] - recent[0], 1e-6)
