"""Requests from outside to a running node: ``set/<key>`` changes a tunable key, ``cmd/<verb>`` does one of a few things.

Whatever arrives, the answer is the value in force or the reason for refusal; nothing is raised. Only keys marked live can be
set, and none of them names a path, host or URL. Values are JSON, read leniently where a home automation writes ``ON`` or
``12.0``. Kept apart from the transport: the MQTT sink hands over topic parts and payload, and publishes the answer.
"""

import difflib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from edge_node.config.convert import from_text
from edge_node.config.keys import json_value_of, live_keys
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.errors import ConfigError, EdgeNodeError

log = logging.getLogger(__name__)

MAX_SET_BYTES = 16_384
MAX_COMMAND_BYTES = 256
BURST = 20
PER_SECOND = 5.0
"""Requests beyond ``BURST`` at once and ``PER_SECOND`` on average are dropped; the first of them is answered."""
TOO_MANY = f"too many requests; {PER_SECOND:g} a second are answered"
SETTLED_S = 10.0
"""A restart is refused for so long after the start, so that a repeated request cannot keep a node restarting."""
_REMEMBERED_IDS = 64
_MAX_ID_CHARS = 64
_SHOWN_CHARS = 64

Kind = Literal["set", "cmd"]
Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Answer:
    """``value``, as JSON has it: of a key, what is in force now; of a verb, what it has to report. ``reason``: why not, when not ``ok``."""

    ok: bool
    kind: Kind
    name: str
    value: Any = None
    reason: str | None = None


class Tuning:
    """Answers requests. ``actions``: further verbs (``restart`` …) and what does them; what they raise of ``EdgeNodeError`` is
    answered. ``reload``, ``reset_tuning`` are always there. For one thread.
    """

    def __init__(self, settings: Settings, actions: Mapping[str, Action] | None = None) -> None:
        self._settings = settings
        self._actions: dict[str, Action] = {"reload": self._reload, "reset_tuning": settings.reset, **(actions or {})}
        self._started_s = time.monotonic()
        self._allowance = Allowance()
        self._done_ids: deque[str] = deque(maxlen=_REMEMBERED_IDS)

    @property
    def verbs(self) -> tuple[str, ...]:
        """What ``cmd/<verb>`` knows."""
        return tuple(self._actions)

    def handle(self, kind: Kind, name: str, payload: bytes, retained: bool, now_s: float) -> Answer | None:
        """Do what is asked, if it may be done. ``now_s`` is of the monotonic clock.

        ``None`` means that nothing is to be said: the message was retained (so nobody sent it now), it was the empty message
        that clears a retained value (an empty command is a command), or there are too many of them.
        """
        if retained or (kind == "set" and not payload):
            return None
        allowed = self._allowance.take(now_s)
        if allowed is not True:
            return None if allowed is None else _refusal(kind, name, TOO_MANY)
        if not self._settings.current.mqtt.allow_commands:
            return _refusal(kind, name, "switched off by mqtt.allow_commands in the configuration")
        answer = self._set(name, payload) if kind == "set" else self._command(name, payload, now_s)
        log.info("%s %s over MQTT: %s", kind, answer.name, _shown(answer.value) if answer.ok else f"refused: {answer.reason}")
        return answer

    def _set(self, name: str, payload: bytes) -> Answer:
        if len(payload) > MAX_SET_BYTES:
            return _refusal("set", name, f"the value has {len(payload)} bytes; {MAX_SET_BYTES} are read at most")
        try:
            key = live_keys().get(name)
            if key and payload.strip() == b"null":
                self._settings.reset(name)
            else:
                self._settings.set(name, from_text(key, payload.decode("utf-8")) if key else None)
            return Answer(True, "set", name, json_value_of(self._settings.current, name))
        except UnicodeDecodeError:
            return _refusal("set", name, "the value is not UTF-8 text")
        except ConfigError as error:
            return _refusal("set", name, "; ".join(error.problems))

    def _command(self, name: str, payload: bytes, now_s: float) -> Answer:
        action = self._actions.get(name)
        if action is None:
            return _refusal("cmd", name, _unknown_verb(name, self.verbs))
        try:
            request_id = _request_id(payload)
            self._admit(name, request_id, now_s)
            value = action()
        except (ValueError, EdgeNodeError) as error:
            return _refusal("cmd", name, str(error).replace("\n", "; "))
        if request_id is not None:
            self._done_ids.append(request_id)
        return Answer(True, "cmd", name, value)

    def _admit(self, name: str, request_id: str | None, now_s: float) -> None:
        """Raise ``ValueError`` for a request that was done before, or a restart that comes too soon."""
        if request_id is not None and request_id in self._done_ids:
            raise ValueError(f"the request {request_id} was done before")
        if name == "restart" and now_s - self._started_s < SETTLED_S:
            raise ValueError(f"the node started less than {SETTLED_S:g} s ago")

    def _reload(self) -> dict[str, list[str]]:
        reloaded = self._settings.reload()
        return {"applied": list(reloaded.applied), "needs_restart": list(reloaded.needs_restart)}


def tunable_values(config: Config) -> dict[str, Any]:
    """Every tunable key and its value in ``config``, as JSON has it. No tunable key is a secret."""
    return {path: json_value_of(config, path) for path in live_keys()}


class Allowance:
    """A token bucket for requests that change something. For one thread."""

    def __init__(self) -> None:
        self._tokens = float(BURST)
        self._at_s: float | None = None
        self._refusing = False

    def take(self, now_s: float) -> bool | None:
        """True: go on. False: refuse and say so. ``None``: refuse in silence."""
        elapsed_s = 0.0 if self._at_s is None else max(0.0, now_s - self._at_s)
        self._at_s = now_s
        self._tokens = min(float(BURST), self._tokens + elapsed_s * PER_SECOND)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            self._refusing = False
            return True
        first, self._refusing = not self._refusing, True
        return False if first else None


def _request_id(payload: bytes) -> str | None:
    """The ``id`` of a command's payload, which is empty or a JSON object with at most that. Raises ``ValueError``."""
    wanted = 'expected nothing, or {"id": "…"} to have it done once only'
    if len(payload) > MAX_COMMAND_BYTES:
        raise ValueError(f"the payload has {len(payload)} bytes; {wanted}")
    if not payload.strip():
        return None
    try:
        request = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise ValueError(f"the payload is not JSON; {wanted}") from None
    if not isinstance(request, dict) or not request.keys() <= {"id"}:
        raise ValueError(f"the payload is something else; {wanted}")
    request_id = request.get("id")
    if request_id is not None and not (isinstance(request_id, str) and 0 < len(request_id) <= _MAX_ID_CHARS):
        raise ValueError(f"id is to be text of at most {_MAX_ID_CHARS} characters")
    return request_id


def _refusal(kind: Kind, name: str, reason: str) -> Answer:
    return Answer(False, kind, name[:_SHOWN_CHARS], reason=reason)


def _unknown_verb(name: str, verbs: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name[:_SHOWN_CHARS], verbs, n=1)
    return f"unknown command, did you mean {near[0]}?" if near else f"unknown command; known: {', '.join(verbs)}"


def _shown(value: Any) -> str:
    text = "done" if value is None else str(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
