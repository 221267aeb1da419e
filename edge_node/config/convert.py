"""A key's value from the text of a message: JSON, taken as what the key is where nothing else can be meant.

YAML is not read here: its aliases and endless nesting have no place in what strangers send.
"""

import math
import re
from typing import Any

import orjson

from edge_node.config.keys import Key, shown
from edge_node.errors import ConfigError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
"""As everybody writes one; Python would also read 1_0 and the digits of other scripts."""
_ON = {"on", "true", "yes", "1"}
_OFF = {"off", "false", "no", "0"}


def from_text(key: Key, text: str) -> Any:
    """The value of ``text`` for ``key``: ``12``, ``12.0``, ``ON``, ``flat``, ``"flat"``, ``[…]``.

    Raises ``ConfigError`` when it cannot be one. Range and choices are left to the configuration's models.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text.strip()
        if value[:1] in ("[", "{", '"') or key.type in ("list", "mapping"):
            raise _error(key, "is not valid JSON") from None
    return convert(key, value)


def convert(key: Key, value: Any) -> Any:
    """``value``, as JSON has it, as ``key`` wants it. Raises ``ConfigError`` when that would change its meaning."""
    if key.type is bool:
        return _switch(key, value)
    if key.type is int:
        return _whole(key, value)
    if key.type is float:
        return _number(key, value)
    if key.type is str and not isinstance(value, str):
        raise _error(key, f"should be text, not {shown(value)}")
    return value


def _switch(key: Key, value: Any) -> bool:
    word = str(value).lower() if isinstance(value, str | int) else ""
    if word not in _ON | _OFF:
        raise _error(key, f"should be true or false, not {shown(value)}")
    return word in _ON


def _whole(key: Key, value: Any) -> int:
    number = _number(key, value)
    if number != int(number):
        raise _error(key, f"should be a whole number, not {shown(value)}")
    return int(number)


def _number(key: Key, value: Any) -> float:
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise _error(key, f"should be a number, not {shown(value)}")
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _error(key, f"should be a number, not {shown(value)}")
    return float(value)


def _error(key: Key, text: str) -> ConfigError:
    return ConfigError([f"{key.path}: {text}"])
