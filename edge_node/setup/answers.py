"""What the user answers, and the configuration that follows from it."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from edge_node.address import address
from edge_node.camera.source import LocalPath, parse_source
from edge_node.config.files import commented_yaml
from edge_node.config.keys import all_keys, json_value_of, value_of
from edge_node.config.models import Config
from edge_node.errors import ConfigError, SourceUnusableError

_BROKER = re.compile(r"(?:(?P<scheme>mqtts?)://)?(?:(?P<user>[^@/]+)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/@\s]+)(?::(?P<port>\d{1,5}))?/?")
_NOT_PLAIN_IN_A_USER = re.compile(r"[%@:/\s]")
_USER_HINT = "in a user name write % @ : / as %25 %40 %3A %2F"
NO_BROKER = "none, MQTT is off"
TLS_PORT = 8883


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is and who we are there."""

    host: str
    port: int
    username: str | None
    tls: bool


def parse_broker(text: str) -> BrokerAddress:
    """``host``, ``host:port``, ``user@host``, ``mqtts://user@host:port``; the user percent-encoded. Raises ``ConfigError``."""
    found = _BROKER.fullmatch(text.strip())
    if found is None:
        raise ConfigError([f"broker {text!r}: expected HOST, HOST:PORT or mqtts://USER@HOST:PORT; {_USER_HINT}"])
    user: str | None = found["user"]
    if ":" in (user or ""):
        why = "a password does not belong into the address; it is asked for, or read with --password-file"
        raise ConfigError([f"broker: {why}; {_USER_HINT}"])
    tls = found["scheme"] == "mqtts"
    port = int(found["port"]) if found["port"] else (TLS_PORT if tls else int(all_keys()["mqtt.port"].default))
    return BrokerAddress(found["host"].strip("[]"), port, user and unquote(user), tls)


def broker_text(config: Config) -> str:
    """The address of the configured broker, as ``parse_broker`` reads it; where MQTT is off, words that are no address."""
    mqtt = config.mqtt
    if not mqtt.enabled:
        return NO_BROKER
    user = _NOT_PLAIN_IN_A_USER.sub(lambda found: quote(found[0], safe=""), mqtt.username or "")
    return f"{'mqtts://' if mqtt.tls.enabled else ''}{f'{user}@' if user else ''}{address(mqtt.host, mqtt.port)}"


def broker_values(address: BrokerAddress) -> dict[str, Any]:
    """The keys a broker's address sets."""
    return {
        "mqtt.enabled": True,
        "mqtt.host": address.host,
        "mqtt.port": address.port,
        "mqtt.username": address.username,
        "mqtt.tls.enabled": address.tls,
    }


def camera_value(text: str) -> str | int:
    """``camera.source`` as YAML would read it: digits are an index. A path is made whole, as the service runs in another folder.

    Raises ``ConfigError``.
    """
    try:
        source = parse_source(text)
    except SourceUnusableError as error:
        raise ConfigError([str(error)]) from None
    if isinstance(source, LocalPath):
        return str(source.path.absolute())
    return int(text) if text.isdecimal() else text


def configuration_text(config: Config) -> str:
    """The YAML file of ``config``: every key explained, those that are not as by default set."""
    changed = [path for path, key in all_keys().items() if path == "node.name" or value_of(config, path) != key.default]
    return commented_yaml({path: json_value_of(config, path) for path in changed})
