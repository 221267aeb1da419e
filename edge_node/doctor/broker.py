"""The MQTT broker: one connection, made as the node makes its own but under another client id, and ended at once."""

import time
from collections.abc import Iterator

from edge_node import paths
from edge_node.config.models import Config
from edge_node.doctor import Finding, fine, note, wrong
from edge_node.errors import SinkError
from edge_node.health import Health
from edge_node.sink.messages import topic
from edge_node.sink.mqtt_link import Link, tls_context
from edge_node.sink.mqtt_session import Login, Session
from edge_node.sink.outgoing import Incoming

ANSWER_S = 6.0


class _Deaf:
    """A ``Listener`` of a connection on which nothing is said."""

    def acknowledged(self, session: Session, message_id: int) -> None:
        pass

    def answered(self, session: Session) -> None:
        pass

    def received(self, message: Incoming) -> None:
        pass


def examine_broker(config: Config) -> Iterator[Finding]:
    """Whether a broker of the configuration takes this node: address, TLS, login, MQTT version."""
    if not config.mqtt.enabled:
        yield note("broker", "mqtt.enabled is false: nothing is published over MQTT")
        return
    health = Health()
    try:
        link = Link(config.mqtt, _login(config), _Deaf(), health)
    except SinkError as error:
        yield wrong("broker", str(error), "correct that file")
        return
    link.start()
    session = _wait_for(link)
    link.stop(1.0)
    if session is not None:
        yield fine("broker", f"{session.place} takes this node, MQTT {session.protocol}{', TLS' if config.mqtt.tls.enabled else ''}")
        return
    text, _, advice = health.problems().get("mqtt", "no answer; check mqtt.host and the network").rpartition("; ")
    yield wrong("broker", text or advice, advice)


def _login(config: Config) -> Login:
    node = config.node.name
    return Login(
        client_id=f"{config.mqtt.client_id or f'edge_node-{node}'}-doctor",
        username=config.mqtt.username,
        password=paths.secret("mqtt-password"),
        tls=tls_context(config.mqtt),
        keepalive_s=config.mqtt.keepalive_s,
        will_topic=topic(node, "doctor"),
        will=b"",
        probe_topic=topic(node, "probe"),
    )


def _wait_for(link: Link) -> Session | None:
    deadline = time.monotonic() + ANSWER_S
    while link.session is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return link.session
