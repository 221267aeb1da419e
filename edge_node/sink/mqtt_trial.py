"""Logging in at the brokers of a configuration as the node would, under another client id, and leaving at once."""

import time
from dataclasses import dataclass

from edge_node.config.models import Broker, Config, Mqtt
from edge_node.errors import SinkError
from edge_node.health import Health
from edge_node.sink.messages import topic
from edge_node.sink.mqtt_link import Link, tls_context
from edge_node.sink.mqtt_session import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Login, Session
from edge_node.sink.outgoing import Incoming, Outgoing

ROUNDS = 2
"""A broker that hangs up without a word may be put off by the MQTT version; the second round takes the other one."""
ATTEMPT_S = CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S + 1.0
"""A little longer than one connection attempt with all its own time limits."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The connection that was made, ended by now: it knows the broker's place and the protocol."""

    session: Session
    refusals: tuple[str, ...]
    """Why each broker before that one did not take this node."""


def try_login(config: Config, who: str, password: str | None) -> Taken:
    """What the first broker says that takes this node. Takes up to ``ATTEMPT_S`` for each broker and round.

    ``who`` is added to the node's client id: the node itself may be connected. Raises ``SinkError`` with the reason of each broker
    when none takes this node, or when the TLS files cannot be used.
    """
    mqtt, login = config.mqtt, _login(config, who, password)
    refusals: list[str] = []
    for broker in (Broker(host=mqtt.host, port=mqtt.port), *mqtt.fallback_brokers):
        alone = mqtt.model_copy(update={"host": broker.host, "port": broker.port, "fallback_brokers": []})
        try:
            return Taken(_connected(alone, login), tuple(refusals))
        except SinkError as error:
            refusals.append(str(error))
    raise SinkError("; ".join(refusals))


def _connected(mqtt: Mqtt, login: Login) -> Session:
    """The connection to the one broker of ``mqtt``. Raises ``SinkError`` with the reason that there is none."""
    health = Health()
    link = Link(mqtt, login, _Deaf(), health)
    link.start()
    try:
        longest_s = ROUNDS * ATTEMPT_S
        deadline = time.monotonic() + longest_s
        while (session := link.session) is None:
            if link.rounds_refused >= ROUNDS or time.monotonic() >= deadline:
                raise SinkError(
                    health.problems().get("mqtt", f"{mqtt.host}: no answer within {longest_s:.0f} s; check mqtt.host and the network")
                )
            time.sleep(0.02)
        return session
    finally:
        link.stop(1.0)


def _login(config: Config, who: str, password: str | None) -> Login:
    mqtt, node = config.mqtt, config.node.name
    return Login(
        client_id=f"{mqtt.client_id or f'edge_node-{node}'}-{who}",
        username=mqtt.username,
        password=password,
        tls=tls_context(mqtt),
        keepalive_s=mqtt.keepalive_s,
        will_topic=topic(node, who),
        will=b"",
        probe_topic=topic(node, "probe"),
    )


class _Deaf:
    """A ``Listener`` of a connection on which nothing is said."""

    def acknowledged(self, session: Session, message_id: int) -> None:
        pass

    def answered(self, session: Session) -> None:
        pass

    def exchanged(self) -> None:
        pass

    def refused(self, session: Session, message: Outgoing, limit_bytes: int) -> None:
        pass

    def taken(self, session: Session, topic: str) -> None:
        pass

    def received(self, message: Incoming) -> None:
        pass
