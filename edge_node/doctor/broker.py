"""The MQTT broker: one connection, made as the node makes its own but under another client id, and ended at once."""

from collections.abc import Iterator

from edge_node import paths
from edge_node.config.models import Config
from edge_node.doctor import Finding, fine, note, wrong
from edge_node.errors import ConfigError, SinkError
from edge_node.sink.mqtt_trial import try_login


def examine_broker(config: Config) -> Iterator[Finding]:
    """Whether a broker of the configuration takes this node: address, TLS, login, MQTT version."""
    if not config.mqtt.enabled:
        yield note("broker", "mqtt.enabled is false: nothing is published over MQTT")
        return
    try:
        taken = try_login(config, "doctor", paths.secret("mqtt-password"))
    except ConfigError as error:
        yield wrong("broker", str(error), "correct it there")
        return
    except SinkError as error:
        yield wrong("broker", *_text_and_advice(str(error)))
        return
    session = taken.session
    yield fine("broker", f"{session.place} takes this node, MQTT {session.protocol}{', TLS' if config.mqtt.tls.enabled else ''}")
    for refusal in taken.refusals:
        text, advice = _text_and_advice(refusal)
        yield note("broker", f"that is a fallback: {text}", advice)


def _text_and_advice(refusal: str) -> tuple[str, str]:
    text, _, advice = refusal.rpartition("; ")
    return (text, advice) if text else (advice, "correct the section mqtt of the configuration, or check the network")
