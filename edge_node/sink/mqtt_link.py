"""Staying connected: the brokers in turn, again and again, and one clear line whenever the reason for being away changes."""

import logging
import random
import socket
import ssl
import threading
import time

from edge_node.address import address
from edge_node.config.models import Broker, Mqtt, MqttTls
from edge_node.errors import SinkError
from edge_node.health import Health
from edge_node.sink.certificate import file_trouble, load_own_certificate
from edge_node.sink.mqtt_session import Listener, Login, MqttVersion, RefusedError, Session
from edge_node.sink.mqtt_sizes import SizeLimit
from edge_node.worker import Worker

log = logging.getLogger(__name__)

ROUND_WAIT_S = (0.5, 1.25)
"""Between two rounds over the brokers: short enough to be back within two seconds of a broker's return, and different each time,
so that a fleet does not come back in one blow."""

BRIEF_S = 10.0
BRIEF_TIMES = 3
"""So many connections in a row that lasted no longer are no accident."""
_WANTS_CERTIFICATE = ", and whether it wants a certificate (mqtt.tls.certificate_file)"
_TAKES_CERTIFICATE = ", and whether it takes this node's certificate (mqtt.tls.certificate_file): who issued it, and until when it holds"


class Link:
    """Holds one ``Session`` whenever a broker lets it. Its thread connects; everybody else reads ``session``."""

    def __init__(self, config: Mqtt, login: Login, listener: Listener, health: Health) -> None:
        self._brokers = (Broker(host=config.host, port=config.port), *config.fallback_brokers)
        self._tls = config.tls
        self._auto = config.protocol == "auto"
        first: MqttVersion = "5" if config.protocol == "auto" else config.protocol
        self._protocols: dict[Broker, MqttVersion] = dict.fromkeys(self._brokers, first)
        self._take_5: set[Broker] = set()
        self._old_by_guess: set[Broker] = set()
        self._limits = {broker: SizeLimit() for broker in self._brokers}
        self._login = login
        self._listener = listener
        self._health = health
        self._session: Session | None = None
        self._why_not: dict[Broker, str] = {}
        self._connected_at_s = 0.0
        self._brief = 0
        self._said: str | None = None
        self._rounds_refused = 0
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._worker = Worker("mqtt-link", self._run, self._ended)

    @property
    def session(self) -> Session | None:
        """The connection, while there is one."""
        session = self._session
        return session if session is not None and not session.lost.is_set() else None

    @property
    def rounds_refused(self) -> int:
        """Rounds over all brokers in which none took us."""
        return self._rounds_refused

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._failure is not None:
            raise self._failure

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._worker.start()

    def stop(self, timeout_s: float) -> None:
        """Say goodbye to the broker and end."""
        self._stop.set()
        session = self._session
        if session is not None:
            session.disconnect()
            session.lost.wait(timeout_s)
            session.lost.set()
        self._worker.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            for broker in self._brokers:
                if self._stop.is_set() or self._stay_at(broker):
                    break
            else:
                self._rounds_refused += 1
            self._stop.wait(random.uniform(*ROUND_WAIT_S))  # noqa: S311 - jitter, not a secret

    def _ended(self, error: BaseException | None) -> None:
        self._failure = error

    def _stay_at(self, broker: Broker) -> bool:
        """Connect and stay until the connection is lost. False when the broker did not take us."""
        protocol, limit_bytes = self._protocols[broker], self._limits[broker].bytes
        try:
            session = Session(broker.host, broker.port, protocol, self._login, self._listener, max_payload_bytes=limit_bytes)
        except OSError as error:  # no descriptor is left
            self._say_why_not(broker, _unreachable(address(broker.host, broker.port), error))
            return False
        try:
            session.open()
        except RefusedError as error:
            if error.version_unknown and self._auto:
                return self._stay_at_with_old_version(broker)
            if error.silent and self._auto:
                self._take_other_version(broker)
            self._say_why_not(broker, f"the broker at {session.place} {error}; {_advice(error, self._tls)}")
            return False
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be one
            session.close()
            self._say_why_not(broker, _unreachable(session.place, error))
            return False
        self._connected(broker, session)
        # Where connections are lost again and again the log is told of one only that stands.
        if self._brief < BRIEF_TIMES or not session.lost.wait(BRIEF_S):
            self._say_connected(session)
        session.lost.wait()
        self._lost(broker, session)
        return True

    def _stay_at_with_old_version(self, broker: Broker) -> bool:
        log.info("the broker at %s:%d does not know MQTT 5; taking 3.1.1", broker.host, broker.port)
        self._protocols[broker] = "3.1.1"
        self._old_by_guess.discard(broker)
        return self._stay_at(broker)

    def _take_other_version(self, broker: Broker) -> None:
        """One that says nothing at all may be put off by the version, whichever it was: take the other next time.

        Not where version 5 was once taken: there a proxy, whose broker is away, has hung up.
        """
        if broker in self._take_5:
            return
        self._protocols[broker] = "3.1.1" if self._protocols[broker] == "5" else "5"
        self._old_by_guess.add(broker)

    def _connected(self, broker: Broker, session: Session) -> None:
        if session.protocol == "5":
            self._take_5.add(broker)
        self._why_not.clear()
        self._health.problem("mqtt", None)
        self._health.fact("mqtt_broker", session.place)
        self._session = session
        self._connected_at_s = time.monotonic()

    def _say_connected(self, session: Session) -> None:
        self._said = None
        log.info("connected to the broker at %s, MQTT %s%s", session.place, session.protocol, ", TLS" if self._login.tls else "")

    def _lost(self, broker: Broker, session: Session) -> None:
        self._session = None
        session.close()
        if broker in self._old_by_guess:
            self._old_by_guess.discard(broker)
            self._protocols[broker] = "5"
        self._health.fact("mqtt_broker", None)
        if not self._stop.is_set():
            self._health.count("mqtt_connection_lost")
            self._say_why_not(broker, f"lost the broker at {session.place}{self._reason(broker, session)}")

    def _reason(self, broker: Broker, session: Session) -> str:
        """Why a connection was lost, as far as it shows. Many brokers do not say that another client took over."""
        brief = time.monotonic() - self._connected_at_s < BRIEF_S
        self._brief = self._brief + 1 if brief else 0
        if session.farewell:
            return f": {session.farewell}"
        too_large = self._limits[broker].lost(session.unread, brief)
        if too_large is not None:
            what = f"a message of {len(too_large.payload)} bytes on {too_large.topic}"
            return f" again and again at {what}: it takes none that large, it seems; they are left out from now on"
        if self._brief < BRIEF_TIMES:
            return ""
        return (
            " again and again: does it find a message too large (its log may say so), "
            f"or is there another client with the id {self._login.client_id!r}, a second node of this name?"
        )

    def _say_why_not(self, broker: Broker, text: str) -> None:
        self._why_not[broker] = text
        everything = "; ".join(self._why_not.values())
        if self._health.problem("mqtt", everything) and text != self._said:
            self._said = text
            log.warning("%s (trying again)", text)


def tls_context(config: Mqtt) -> ssl.SSLContext | None:
    """What TLS of the configuration means; ``None`` when it is off. Raises ``SinkError`` for a file that cannot be used."""
    tls = config.tls
    if not tls.enabled:
        return None
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SinkError(f"mqtt.tls.ca_file: {tls.ca_file}: {file_trouble(error)}") from None
    if tls.certificate_file:
        try:
            load_own_certificate(context, tls.certificate_file, tls.key_file)
        except (OSError, ssl.SSLError) as error:
            files = f"{tls.certificate_file} with {tls.key_file or 'the key in it'}"
            raise SinkError(f"mqtt.tls.certificate_file, key_file: {files}: {file_trouble(error)}") from None
    if tls.alpn:
        context.set_alpn_protocols(tls.alpn)
    return context


def _advice(refusal: RefusedError, tls: MqttTls) -> str:
    if "refused the login" in str(refusal):
        return "check mqtt.username and the password (credential edge-node.mqtt-password or EDGE_NODE_MQTT_PASSWORD)"
    if "not supported" in str(refusal):
        return "the node needs QoS 1 and retained messages: allow them there (mosquitto: max_qos, retain_available)"
    # TLS 1.3: a broker looks at certificates when the encryption already stands, and mostly just hangs up.
    own = "" if not (refusal.silent and tls.enabled) else _TAKES_CERTIFICATE if tls.certificate_file else _WANTS_CERTIFICATE
    return f"check mqtt.host, mqtt.port and mqtt.tls{own}"


def _unreachable(place: str, error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the broker at {place} is not accepted: {error.verify_message}; check mqtt.host and mqtt.tls.ca_file"
    if isinstance(error, ssl.SSLError | ConnectionResetError):
        why = error.reason if isinstance(error, ssl.SSLError) else "it closed the connection at once"
        return f"no understanding with the broker at {place}: {why}; check mqtt.port and mqtt.tls{_WANTS_CERTIFICATE}"
    if isinstance(error, socket.gaierror | UnicodeError | ValueError):
        return f"unknown host in {place}; check mqtt.host"
    if isinstance(error, ConnectionRefusedError):
        return f"no broker listens at {place}; check mqtt.host and mqtt.port, or start the broker"
    if isinstance(error, TimeoutError):
        return f"the broker at {place} cannot be reached: no answer"
    return f"the broker at {place} cannot be reached: {error.strerror if isinstance(error, OSError) else error}"
