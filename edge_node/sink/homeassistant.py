"""Announces the node to Home Assistant, keeps the announcement true, and takes it back.

Home Assistant forgets an entity only when it is told to: a component that is no longer there is first sent with nothing but
its platform, a device with an empty payload. What was announced is therefore kept in the state directory, so that a renamed
node, a zone taken out of the file, or discovery switched off leaves nothing behind.
"""

import contextlib
import json
import logging
import os
import random
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from edge_node.config.models import NODE_NAME_PATTERN, Config
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.sink.homeassistant_entities import discovery_payload, discovery_topic
from edge_node.sink.messages import encode, topic
from edge_node.sink.outgoing import Incoming, Outgoing

log = logging.getLogger(__name__)

DEFAULT_PREFIX = "homeassistant"
BIRTH = b"online"
BIRTH_JITTER_S = 3.0
"""After Home Assistant's start its devices announce themselves spread over this time."""
NAME_IN_USE_S = 5.0
"""How long to listen whether the old name has become another node's before its traces are removed."""
_TOPIC = r"[^#+\x00]{1,1000}"
_RETAINED = ("status", "info", "state", "health", "config")


@dataclass(frozen=True, slots=True)
class _Announced:
    """What Home Assistant was told last: the discovery topic, the node's name, and component to platform.

    ``configuration``: the node's configuration file, by which it is known when its name changes.
    """

    topic: str
    node: str
    components: dict[str, str] = field(default_factory=dict)
    withdrawn: bool = False
    """Taken back by command, until it is announced by command."""
    configuration: str | None = None


class HomeAssistantSpeaker:
    """Speaks to Home Assistant. ``state_directory`` keeps what was announced over restarts; without one it is of this run only.
    ``configuration``: the file that a node keeps when it is renamed; without one it is not known again under another name.

    ``announce`` and ``withdraw`` are for commands, on the sink's thread: they take effect at the next tick.
    """

    def __init__(self, settings: Settings, state_directory: Path | None, configuration: Path | None) -> None:
        self._settings = settings
        name = settings.current.node.name
        self._file = state_file(state_directory, name) if state_directory else None
        self._told = self._saved = _read(self._file)
        self._said = b""
        self._seen: Config | None = None
        self._connected = False
        self._due_s: float | None = None
        self._withdraw = False
        self._configuration = str(configuration.absolute()) if configuration else None
        self._former = _former_file(self._file, name, self._configuration)
        self._old = _read(self._former)
        self._old_due_s = 0.0
        if self._old is not None and self._old.node == name:
            self._take_over_file()

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Home Assistant's birth message; the status of a former name, while that is in question."""
        births = dict.fromkeys((f"{self._settings.current.homeassistant.prefix}/status", f"{DEFAULT_PREFIX}/status"))
        return (*births, *([topic(self._old.node, "status")] if self._old else []))

    def announce(self) -> None:
        """Tell Home Assistant again, also after ``withdraw``."""
        if self._told is not None and self._told.withdrawn:
            self._remember(None)
        self._due_s = time.monotonic()

    def withdraw(self) -> None:
        """Take the device out of Home Assistant, until ``announce``."""
        self._withdraw = True

    def connected(self) -> Iterable[Outgoing]:
        self._connected = True
        self._old_due_s = time.monotonic() + NAME_IN_USE_S
        self._due_s = time.monotonic()
        return self.tick()

    def saw(self, people: People) -> Iterable[Outgoing]:  # noqa: ARG002 - nothing to say of a single frame
        return ()

    def tick(self) -> Iterable[Outgoing]:
        if not self._connected:
            return
        now_s = time.monotonic()
        if self._old is not None and now_s >= self._old_due_s:
            yield from self._remove_old(self._old)
        if self._withdraw:
            self._withdraw = False
            yield from self._take_back(stays_away=True)
        due = self._due_s is not None and now_s >= self._due_s
        if due or self._settings.current is not self._seen:
            self._seen = self._settings.current
            self._due_s = None if due else self._due_s
            yield from self._say(again=due)

    def heard(self, message: Incoming) -> Iterable[Outgoing]:
        if self._old is not None and message.topic == topic(self._old.node, "status"):
            self._hear_of_old_name(message.payload)
        elif message.payload == BIRTH and message.topic in self.subscriptions:
            self._due_s = time.monotonic() + random.uniform(0, BIRTH_JITTER_S)  # noqa: S311 - spreads load, hides nothing
        return ()

    def finish(self) -> Iterable[Outgoing]:
        return ()

    def _say(self, again: bool) -> Iterable[Outgoing]:
        """What Home Assistant does not know yet; all of it ``again`` when that is due."""
        config = self._settings.current
        if not config.homeassistant.enabled:
            yield from self._take_back(stays_away=False)
            return
        if self._told is not None and self._told.withdrawn:
            return
        payload = discovery_payload(config)
        encoded = encode(payload)
        if encoded == self._said and not again:
            return
        place = discovery_topic(config.homeassistant.prefix, config.node.name)
        components = {name: entity["platform"] for name, entity in payload["components"].items()}
        if self._told is not None and self._told.topic != place:
            yield _empty(self._told.topic)
        elif gone := {name: kind for name, kind in (self._told.components if self._told else {}).items() if components.get(name) != kind}:
            removed: dict[str, Any] = {name: {"platform": kind} for name, kind in gone.items()}
            yield _retained(place, encode({**payload, "components": payload["components"] | removed}))
        yield _retained(place, encoded)
        self._said = encoded
        self._remember(_Announced(place, config.node.name, components, configuration=self._configuration))

    def _take_back(self, stays_away: bool) -> Iterable[Outgoing]:
        told, config = self._told, self._settings.current
        if told is not None and not told.withdrawn:
            yield _empty(told.topic)
        place = discovery_topic(config.homeassistant.prefix, config.node.name)
        self._remember(_Announced(place, config.node.name, withdrawn=True, configuration=self._configuration) if stays_away else None)

    def _take_over_file(self) -> None:
        """The file was called otherwise before; it is this node's, under the name it has now."""
        self._told, self._old = self._old, None
        if self._former is not None and self._file is not None:
            with contextlib.suppress(OSError):  # it is written under its name when something changes
                self._former.replace(self._file)
                self._saved = self._told

    def _hear_of_old_name(self, payload: bytes) -> None:
        with contextlib.suppress(orjson.JSONDecodeError):
            status = orjson.loads(payload)
            if self._old is not None and isinstance(status, dict) and status.get("state") == "online":
                log.info("the former name %s is in use by another node; its entities in Home Assistant stay", self._old.node)
                self._old = None
                self._save()

    def _remove_old(self, old: _Announced) -> Iterable[Outgoing]:
        self._old = None
        self._save()
        if self._former is not None:
            with contextlib.suppress(OSError):
                self._former.unlink(missing_ok=True)
        log.info("renamed from %s: its entities in Home Assistant and its retained messages are removed", old.node)
        yield _empty(old.topic)
        for suffix in _RETAINED:
            yield _empty(topic(old.node, suffix))

    def _remember(self, told: _Announced | None) -> None:
        self._told = told
        self._said = self._said if told is not None and not told.withdrawn else b""
        self._save()

    def _save(self) -> None:
        """Keep what was told. While a former name is in question only that one's file is there, in case we are stopped."""
        if self._file is None or self._old is not None or self._told == self._saved:
            return
        try:
            _write(self._file, self._told)
            self._saved = self._told
        except OSError as error:
            log.warning("%s cannot be written (%s): entities may stay in Home Assistant after a change", self._file, error)


def _retained(place: str, payload: bytes) -> Outgoing:
    return Outgoing(place, payload, 1, retain=True, keep=True)  # kept, so that what is taken away is taken away in order


def _empty(place: str) -> Outgoing:
    return _retained(place, b"")


def state_file(directory: Path, node: str) -> Path:
    """Where it is kept what the node of this name announced."""
    return directory / f"homeassistant-{node}.json"


def _former_file(file: Path | None, node: str, configuration: str | None) -> Path | None:
    """What this node announced before: in the file of all nodes that was used once, or under another name by the same configuration file.

    Any other file is of another node of this user, whether that one runs at the moment or not.
    """
    if file is None or os.access(file, os.F_OK) or not os.access(file.parent, os.R_OK | os.X_OK):
        return None
    for other in (file.with_name("homeassistant.json"), *sorted(file.parent.glob("homeassistant-*.json"))):
        told = _read(other)
        if told is not None and (told.node == node or (configuration is not None and told.configuration == configuration)):
            return other
    return None


def _read(file: Path | None) -> _Announced | None:
    if file is None:
        return None
    try:
        told = _Announced(**orjson.loads(file.read_bytes()))
        usable = re.fullmatch(_TOPIC, told.topic) and re.fullmatch(NODE_NAME_PATTERN, told.node) and isinstance(told.components, dict)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s cannot be used (%s); Home Assistant is told afresh", file, error)
        return None
    return told if usable else None


def _write(file: Path, told: _Announced | None) -> None:
    if told is None:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(told), indent=1), encoding="utf-8")
    scratch.replace(file)
