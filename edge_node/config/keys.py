"""Every key of the configuration, flat: ``camera.width`` and what is known of it."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from edge_node.config.models import Config


@dataclass(frozen=True, slots=True)
class Key:
    """One key: its ``path`` (``camera.width``), meaning, default, and range or choices where it has them."""

    path: str
    type: type | str
    """``bool``, ``int``, ``float``, ``str``, or ``"list"``, ``"mapping"``."""
    default: Any
    description: str
    live: bool
    minimum: float | None
    """Smallest value; excluded when ``minimum_excluded``."""
    minimum_excluded: bool
    maximum: float | None
    choices: tuple[str | int, ...]


@cache
def all_keys() -> Mapping[str, Key]:
    """Path to key, in the order of the models."""
    return MappingProxyType({key.path: key for key in _walk(Config, "")})


@cache
def live_keys() -> Mapping[str, Key]:
    """The keys that can be tuned while the node runs."""
    return MappingProxyType({path: key for path, key in all_keys().items() if key.live})


def value_of(config: Config, path: str) -> Any:
    """The value at ``path``. Raises ``KeyError`` for a path that does not exist."""
    value: Any = config
    for name in path.split("."):
        if not isinstance(value, BaseModel) or name not in type(value).model_fields:
            raise KeyError(path)
        value = getattr(value, name)
    return value


def json_value_of(config: Config, path: str) -> Any:
    """The value at ``path``, as JSON has it. Raises ``KeyError`` for a path that does not exist."""
    return to_jsonable_python(value_of(config, path))


def shown(value: Any) -> str:
    """``value`` as a message about it shows it: short."""
    if isinstance(value, int) and value.bit_length() > 1024:  # Python refuses to print the largest
        return "a number beyond all bounds"
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def suggest(name: str, known: Iterable[str]) -> str:
    """``unknown key``, with the nearest known one where there is one."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"unknown key, did you mean {near[0]}?" if near else "unknown key"


def _walk(model: type[BaseModel], prefix: str) -> Iterable[Key]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{prefix}{name}.")
        else:
            yield _key(f"{prefix}{name}", field)


def _key(path: str, field: FieldInfo) -> Key:
    extra = field.json_schema_extra
    minimum, excluded = _bound(field, "ge"), False
    if minimum is None:
        minimum = _bound(field, "gt")
        excluded = minimum is not None
    kind, choices = _kind(field.annotation)
    return Key(
        path=path,
        type=kind,
        default=field.get_default(call_default_factory=True, validated_data={}),
        description=field.description or "",
        live=isinstance(extra, dict) and extra.get("live") is True,
        minimum=minimum,
        minimum_excluded=excluded,
        maximum=_bound(field, "le"),
        choices=choices,
    )


def _bound(field: FieldInfo, name: str) -> float | None:
    return next((float(getattr(m, name)) for m in field.metadata if getattr(m, name, None) is not None), None)


def _kind(annotation: Any) -> tuple[type | str, tuple[str | int, ...]]:
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        choices = typing.get_args(annotation)
        return type(choices[0]), choices
    if origin is list:
        return "list", ()
    if origin is dict:
        return "mapping", ()
    if origin is typing.Annotated:
        return _kind(typing.get_args(annotation)[0])
    if isinstance(annotation, type):
        return annotation, ()
    return _kind(next(a for a in typing.get_args(annotation) if a is not type(None)))
