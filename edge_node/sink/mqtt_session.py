"""One connection to one broker, from CONNECT to its loss. A new connection is a new ``Session``, so nothing stale survives in it."""

import contextlib
import errno
import itertools
import logging
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode

from edge_node.address import address
from edge_node.errors import SinkError
from edge_node.sink.messages import CONTENT_TYPE, SCHEMA_ID
from edge_node.sink.mqtt_sizes import Unread
from edge_node.sink.mqtt_window import MOST, Window
from edge_node.sink.outgoing import Incoming, Outgoing

log = logging.getLogger(__name__)

MqttVersion = Literal["5", "3.1.1"]
CONNECT_TIMEOUT_S = 3.0
ANSWER_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0
POLL_MS = 500
MAX_INCOMING_BYTES = 65_536
_VERSIONS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
_LOGIN_REFUSED = {"Bad user name or password", "Not authorized", "Banned", "Bad authentication method"}
_TAKEN_OVER = 142


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are at a broker, and what it says for us when we are gone."""

    client_id: str
    username: str | None
    password: str | None
    tls: ssl.SSLContext | None
    keepalive_s: int
    will_topic: str
    will: bytes
    probe_topic: str


class RefusedError(SinkError):
    """A broker did not take the connection. ``version_unknown``: it does not know MQTT 5. ``silent``: it gave no reason at all."""

    def __init__(self, text: str, version_unknown: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.version_unknown = version_unknown
        self.silent = silent


class Listener(Protocol):
    """Whoever is told what comes in. Called on the connection's network thread: must not wait."""

    def acknowledged(self, session: "Session", message_id: int) -> None:
        """The broker has taken a message of QoS 1 (or one of QoS 0 went to the network)."""

    def answered(self, session: "Session") -> None:
        """The broker has answered a probe: it has read everything sent before."""

    def exchanged(self) -> None:
        """What had come in is dealt with, and what was queued by that is written."""

    def refused(self, session: "Session", message: Outgoing, limit_bytes: int) -> None:
        """The message just published is larger than the broker takes: it is not sent. On the thread that publishes."""

    def taken(self, session: "Session", topic: str) -> None:
        """A message on a topic whose last one was refused is small enough again. On the thread that publishes."""

    def received(self, message: Incoming) -> None:
        """A message on a subscribed topic."""


class _PackedOnce(Properties):
    """Properties that are made once and not changed any more: paho packs them anew for every message, a quarter of its work."""

    def pack(self) -> bytes:
        # Into the dictionary itself, as paho refuses attributes that are no property of MQTT.
        packed: bytes | None = self.__dict__.get("packed")
        if packed is None:
            packed = self.__dict__["packed"] = super().pack()  # type: ignore[no-untyped-call] # paho has no types here
        return packed


class Session:
    """A paho client that connects once. ``lost`` is set when the connection is over, for whatever reason.

    ``max_payload_bytes``: the broker is known to take no larger ones, though it does not say so.

    Messages are queued by ``publish``, ``probe`` and ``subscribe`` and go to the network with ``flush``, on the caller's thread: waking
    paho's own network thread for each would add two turns of the scheduler to every pose. Reading, and what cannot be written at
    once, is done by a thread of the session.
    """

    def __init__(
        self, host: str, port: int, protocol: MqttVersion, login: Login, listener: Listener, *, max_payload_bytes: int | None = None
    ) -> None:
        self.place = address(host, port)
        self.protocol = protocol
        self.unread = Unread()
        self.lost = threading.Event()
        self.farewell: str | None = None
        self._address = (host, port)
        self._login = login
        self._listener = listener
        self._connack = threading.Event()
        self._network = threading.Lock()
        self._wake, self._woken = socket.socketpair()
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="mqtt-network", daemon=True)
        self._refusal: RefusedError | None = RefusedError("closed the connection without an answer", silent=True)
        self._said_denied: set[str] = set()
        self._said_ignored = False
        self._properties: dict[tuple[int | None, bytes | None], Properties] = {}
        self._max_payload_bytes = max_payload_bytes
        self._max_packet_bytes: int | None = None
        self._window = Window()
        self._own_ids = itertools.count(-1, -1)
        self._refused_topics: set[str] = set()
        self._client = self._make_client()

    def open(self) -> None:
        """Connect and log in. Raises ``OSError`` (unreachable, certificate, no thread left for it) or ``RefusedError``."""
        properties = None
        if self.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho has no types here
            properties.MaximumPacketSize = MAX_INCOMING_BYTES
        clean = {"clean_start": True} if self.protocol == "5" else {}
        self._client.connect(*self._address, keepalive=self._login.keepalive_s, properties=properties, **clean)  # type: ignore[arg-type] # mypy takes **clean for any of them
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "the system has no thread left for it") from error
        if not self._connack.wait(ANSWER_TIMEOUT_S):
            self.close()
            raise RefusedError(f"gave no answer within {ANSWER_TIMEOUT_S:.0f} s")
        if self._refusal is not None:
            self.close()
            raise self._refusal

    @property
    def most_under_way(self) -> int:
        """So many messages of QoS 1 may be unacknowledged at one time; more of them wait here for their turn."""
        return self._window.most

    def publish(self, message: Outgoing) -> int | None:
        """Queue a message; returns its id, or ``None`` when the connection is gone.

        One that is larger than the broker takes is told to the listener and counts as acknowledged: sending it would end the
        connection, now and each time again.
        """
        properties = self._properties_of(message.expiry_s, message.correlation) if self.protocol == "5" else None
        if self._max_packet_bytes is not None and _packet_bytes(message, properties) > self._max_packet_bytes:
            return self._refuse(message, self._max_packet_bytes)
        if self._max_payload_bytes is not None and len(message.payload) > self._max_payload_bytes:
            return self._refuse(message, self._max_payload_bytes)
        if message.topic in self._refused_topics:
            self._refused_topics.discard(message.topic)
            self._listener.taken(self, message.topic)
        if message.qos == 0:
            return self._send(message, properties)
        return self._window.send(lambda: self._send(message, properties), next(self._own_ids))

    def _send(self, message: Outgoing, properties: Properties | None) -> int | None:
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            return None
        self.unread.sent(info.mid, message)
        return info.mid

    def _refuse(self, message: Outgoing, limit_bytes: int) -> int:
        self._refused_topics.add(message.topic)
        self._listener.refused(self, message, limit_bytes)
        message_id = next(self._own_ids)
        self._listener.acknowledged(self, message_id)
        return message_id

    def probe(self) -> None:
        """Ask for a sign of life: the broker answers in the order it reads, which QoS 0 alone never shows.

        Taking back a subscription that was never made changes nothing, is tiny, and no subscriber sees it.
        """
        # Behind what waits for room: the answer is one to everything published before.
        self._window.send(self._send_probe, next(self._own_ids), counts=False)

    def _send_probe(self) -> int | None:
        _, packet_id = self._client.unsubscribe(self._login.probe_topic)
        if packet_id is not None:
            self.unread.sent(packet_id, None)
        return packet_id

    def subscribe(self, topic_filter: str) -> None:
        """Ask for messages, QoS 1."""
        self._client.subscribe(topic_filter, qos=1)

    def flush(self, *, burst: bool = False) -> None:
        """Write what is queued, as far as the network takes it now; a ``burst`` of messages in full packets. Not from a callback."""
        sock = self._client.socket()
        if sock is None or not self._client.want_write():
            return
        with self._network, _in_full_packets(sock) if burst else contextlib.nullcontext():
            self._client.loop_write()
            if self._client.want_write():
                self._wake_up()

    def disconnect(self) -> None:
        """Say goodbye, so that the broker does not speak the will."""
        self._client.disconnect()
        self.flush()

    def close(self) -> None:
        """End the connection and its thread. May be called more than once, not from a callback."""
        self._closing = True
        self.disconnect()
        self._wake_up()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)
        self._wake.close()
        if not self._thread.is_alive():
            self._woken.close()
            self._forget_callbacks()
        self.lost.set()

    def _forget_callbacks(self) -> None:
        """They refer back to this session; without them paho's own sockets are closed at once and not when cycles are collected."""
        client = self._client
        client.on_connect = client.on_disconnect = client.on_publish = None
        client.on_subscribe = client.on_unsubscribe = client.on_message = None

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # the thread has ended: nobody is left to be woken
            self._wake.send(b"w")

    def _serve(self) -> None:
        """The session's thread: read, write what had to wait, and keep the connection alive."""
        try:
            poll = select.poll()
            poll.register(self._woken, select.POLLIN)
            while not self._closing and (sock := self._client.socket()) is not None and sock.fileno() >= 0:
                poll.register(sock, select.POLLIN | (select.POLLOUT if self._client.want_write() else 0))
                ready = [fd for fd, _ in poll.poll(POLL_MS)]
                if self._woken.fileno() in ready:
                    self._woken.recv(4096)
                with self._network:
                    self._exchange(sock, readable=sock.fileno() in ready)
        finally:
            sock = self._client.socket()
            if sock is not None:
                sock.close()
            self._connack.set()
            self.lost.set()

    def _exchange(self, sock: Any, readable: bool) -> None:
        while readable and self._client.loop_read() == paho.MQTT_ERR_SUCCESS:
            # TLS may hold more than it gave; poll would not tell.
            readable = isinstance(sock, ssl.SSLSocket) and sock.fileno() >= 0 and sock.pending() > 0
        self._window.pump()
        self._client.loop_misc()
        if self._client.want_write():
            self._client.loop_write()
        self._listener.exchanged()

    def _make_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=self._login.client_id, protocol=_VERSIONS[self.protocol], reconnect_on_failure=False
        )
        if self._login.username is not None:
            client.username_pw_set(self._login.username, self._login.password)
        if self._login.tls is not None:
            client.tls_set_context(self._login.tls)
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(MOST)
        client.will_set(self._login.will_topic, self._login.will, qos=1, retain=True)
        client.on_socket_open = _tune_socket
        client.on_socket_register_write = _written_by_us
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_unsubscribe = self._on_unsubscribe
        client.on_message = self._on_message
        return client

    def _properties_of(self, expiry_s: int | None, correlation: bytes | None) -> Properties:
        # Building one costs more than the publish itself; there are only a few different ones.
        cached = self._properties.get((expiry_s, correlation))
        if cached is not None:
            return cached
        properties = _PackedOnce(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call] # paho has no types here
        properties.ContentType = CONTENT_TYPE
        properties.UserProperty = ("schema", SCHEMA_ID)
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        if correlation is None:
            self._properties[expiry_s, None] = properties
        else:
            properties.CorrelationData = correlation
        return properties

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None) -> None:
        if reason.is_failure:
            name = reason.getName()
            version_unknown = name == "Unsupported protocol version" and self.protocol == "5"
            login = f" (user {self._login.username!r})" if self._login.username else " (no user name given)"
            self._refusal = RefusedError(
                f"refused the login{login}: {name}" if name in _LOGIN_REFUSED else f"refused the connection: {name}", version_unknown
            )
        else:
            self._refusal = None
            self._max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
            self._window.most = min(MOST, getattr(properties, "ReceiveMaximum", MOST))
        self._connack.set()

    def _on_disconnect(self, _client: paho.Client, _data: Any, flags: Any, reason: ReasonCode, _properties: Properties | None) -> None:
        if flags.is_disconnect_packet_from_server and self.farewell is None:
            self.farewell = (
                f"another client took over the client id {self._login.client_id!r}: is there a second node of this name?"
                if reason.value == _TAKEN_OVER
                else f"the broker ended the connection: {reason.getName()}"
            )
        self._connack.set()
        self.lost.set()

    def _on_unsubscribe(self, _client: paho.Client, _data: Any, mid: int, _reasons: Any, _properties: Properties | None) -> None:
        self.unread.answered(mid)
        self._listener.answered(self)

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties) -> None:
        self.unread.answered(mid)
        if reason.is_failure:
            self._denied(f"does not take a message of this node ({reason.getName()})")
        self._listener.acknowledged(self, self._window.acknowledged(mid))  # refused or not, sending it again would not help

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None) -> None:
        if any(reason.is_failure for reason in reasons):
            self._denied("does not let this node hear requests")

    def _denied(self, what: str) -> None:
        if what not in self._said_denied:
            self._said_denied.add(what)
            log.warning("the broker at %s %s; check its access list for the user %r", self.place, what, self._login.username)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # a broker should end the connection of who sends that; NATS passes it on
            self._ignored("messages on topics that are not UTF-8 are ignored")
            return
        if len(message.payload) > MAX_INCOMING_BYTES:
            self._ignored(f"messages of more than {MAX_INCOMING_BYTES} bytes are ignored, such as one on {topic:.80s}")
            return
        properties = message.properties
        self._listener.received(
            Incoming(
                topic,
                bytes(message.payload),
                bool(message.retain),
                getattr(properties, "ResponseTopic", None),
                getattr(properties, "CorrelationData", None),
            )
        )

    def _ignored(self, what: str) -> None:
        """Said once: whoever floods the node is not to flood the journal."""
        if not self._said_ignored:
            self._said_ignored = True
            log.warning("%s", what)


def _packet_bytes(message: Outgoing, properties: Properties | None) -> int:
    """The size of a PUBLISH packet as MQTT counts it, from the first byte of its header to the last of the payload."""
    packed = b"" if properties is None else properties.pack()  # type: ignore[no-untyped-call] # paho has no types here
    variable_bytes = 2 + len(message.topic.encode()) + (2 if message.qos else 0) + len(packed) + len(message.payload)
    return 1 + len(VariableByteIntegers.encode(variable_bytes)) + variable_bytes  # type: ignore[no-untyped-call] # the same


@contextlib.contextmanager
def _in_full_packets(sock: Any) -> Iterator[None]:
    """What is written meanwhile leaves at the end: network and broker are not troubled for each message, as paho would have it."""
    with contextlib.suppress(OSError):  # the connection is gone
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    yield
    with contextlib.suppress(OSError):  # saying goodbye closes the socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)


def _tune_socket(_client: paho.Client, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _written_by_us(_client: paho.Client, _data: Any, _sock: Any) -> None:
    """That this is set keeps paho from writing by itself, on whichever thread publishes."""
