"""Reading the configuration: YAML file, then ``EDGE_NODE__SECTION__KEY`` of the environment, then ``--set KEY=VALUE``.

Every mistake is reported at once, each as ``file:line:column: key: what is wrong``.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from edge_node.config.keys import all_keys, shown, suggest
from edge_node.config.models import Config
from edge_node.errors import ConfigError

ENVIRONMENT_PREFIX = "EDGE_NODE__"
NOT_UTF8 = "not UTF-8, as a configuration must be; a file of such a name has to be renamed"
Loc = tuple[str | int, ...]
_SUBJECT = re.compile(r"^\w+ should\b")
"""Of pydantic's messages: Input, String, List; the key stands before them."""
_MAX_DEPTH = 16
NULL_TAG = "tag:yaml.org,2002:null"
_TOO_DEEP = "nested too deeply or too often"
_MAX_NODES = 20_000
"""More than any configuration needs: 32 zones of 64 corners have 6,272 values."""

_SECRETS = frozenset({"mqtt.password", "camera.username", "camera.password", "web.token"})
"""Keys that many would expect. Each is a name for ``paths.secret``: what is read, copied and shown is to hold none of them."""

_NO_VALUE = (yaml.YAMLError, ValueError, LookupError, AttributeError)
"""What PyYAML raises; all but the first from values that do not fit their tag, such as ``!!bool 3``."""

_REMEDIES = {"\t": "; indent with spaces, not tabs"} | {c: f" with {c}; put the value in quotes" for c in "@`%"}
"""By the character at which YAML stops."""

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Source:
    """The merged values, and for each path the words that say where it was written."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.places: dict[Loc, str] = {}
        self.problems: list[str] = []
        self.nodes = 0
        self.too_big = False

    def place(self, loc: Loc) -> str:
        """Where ``loc``, or the nearest thing around it, was written."""
        while loc not in self.places and loc:
            loc = loc[:-1]
        return self.places.get(loc, "configuration")

    def replace_places(self, loc: Loc, place: str) -> None:
        """All of ``loc`` was written at ``place``, and nothing of it any more where it stood before."""
        self.places = {there: text for there, text in self.places.items() if there[: len(loc)] != loc} | {loc: place}


def load(path: Path | None, environment: Mapping[str, str], overrides: Sequence[str] = ()) -> Config:
    """The configuration from file (if any), environment and ``KEY=VALUE`` overrides, the last winning.

    Raises ``ConfigError`` with every mistake.
    """
    return _validate(_read(path, environment, overrides))


def origins(path: Path | None, environment: Mapping[str, str], overrides: Sequence[str] = ()) -> dict[str, str]:
    """For each key that ``load`` is given, by itself or with its section: where (``file:line:column``, a variable, ``--set …``)."""
    source = _read(path, environment, overrides)
    return {key: source.place(tuple(key.split("."))) for key in all_keys() if _is_given(source.values, key)}


def _is_given(values: Any, key: str) -> bool:
    for name in key.split("."):
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def _read(path: Path | None, environment: Mapping[str, str], overrides: Sequence[str]) -> _Source:
    source = _Source()
    if path is not None:
        _read_file(path, source)
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX):
            keys = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
            _put(source, keys, environment[name], f"environment variable {name}")
        elif (meant := _variables_with_one_underscore().get(name)) is not None:
            source.problems.append(f"environment variable {name}: unknown, did you mean {meant}?")
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not key:
            source.problems.append(f"--set {text}: expected KEY=VALUE, such as camera.fps=15")
            continue
        _put(source, key.split("."), value, f"--set {text}")
    return source


@cache
def _variables_with_one_underscore() -> Mapping[str, str]:
    """What is easily written in place of a key's variable, to that variable."""
    paths = [path.upper() for path in all_keys()]
    return {f"{ENVIRONMENT_PREFIX[:-1]}{path.replace('.', '_')}": f"{ENVIRONMENT_PREFIX}{path.replace('.', '__')}" for path in paths}


def override(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with the values at the given key paths replaced. Raises ``ConfigError`` when one does not fit."""
    if not values:
        return config
    tree = config.model_dump()
    for path, value in values.items():
        *sections, name = path.split(".")
        place = tree
        for section in sections:
            place = place[section]
        place[name] = value
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError([f"{_dotted(e['loc'])}: {_reason(e)}" for e in error.errors()]) from None


def parse_value(text: str) -> Any:
    """The value that YAML would read: ``15`` a number, ``true`` a switch, ``[a, b]`` a list. Raises ``ValueError``."""
    if text.strip() == "-":  # the beginning of a list to YAML, standard output to everybody else
        return "-"
    try:
        _refuse_deep(text)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader, in C where there is one
    except UnicodeEncodeError:
        raise ValueError(NOT_UTF8) from None
    except _NO_VALUE as error:
        raise ValueError(f"cannot be read as YAML: {_said(error, text)}") from None


def _said(error: Exception, text: str = "") -> str:
    """What YAML finds wrong with ``text``, in one line and without a place."""
    if isinstance(error, yaml.MarkedYAMLError):
        at = error.problem_mark.index if error.problem_mark else len(text)
        return f"{error.problem or error.context}{_REMEDIES.get(text[at : at + 1], '')}"
    if isinstance(error, LookupError | AttributeError):
        return "is not what its tag says"
    return str(error).splitlines()[0]


def _refuse_deep(text: str) -> None:
    """Raise ``MarkedYAMLError`` for endless nesting: composing it recurses, in C without any limit."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _MAX_DEPTH:
                raise yaml.MarkedYAMLError(problem=_TOO_DEEP, problem_mark=cast("yaml.error.Mark", event.start_mark))
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _put(source: _Source, keys: list[str], text: str, place: str) -> None:
    try:
        value = parse_value(text)
    except ValueError as error:
        source.problems.append(f"{place}: {error}")
        return
    tree = source.values
    for depth, key in enumerate(keys[:-1], start=1):
        inner = tree.setdefault(key, {})
        if not isinstance(inner, dict):
            if not _is_section(tuple(keys[:depth])):  # a section that is none is told by its model
                source.problems.append(f"{place}: {_dotted(tuple(keys[:depth]))}: has no keys of its own")
            return
        source.places.setdefault(tuple(keys[:depth]), place)
        tree = inner
    tree[keys[-1]] = value
    source.replace_places(tuple(keys), place)


def _read_file(path: Path, source: _Source) -> None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([f"{path}: no such file; write one with: edge-node setup"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: cannot be read: it is not text in UTF-8"]) from None
    try:
        _refuse_deep(text)
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise ConfigError([f"{where}: not valid YAML: {_said(error, text)}"]) from None
    except yaml.YAMLError as error:
        raise ConfigError([f"{path}: not valid YAML: {_said(error)}"]) from None
    if root is None or root.tag == NULL_TAG:  # nothing at all, or nothing but comments below a ---
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError([f"{path}:1:1: expected sections such as camera: and mqtt:, found {_kind_of(root)}"])
    value = _construct(root, (), str(path), source)
    if isinstance(value, dict):
        source.values = value


def _construct(node: yaml.Node, loc: Loc, file: str, source: _Source) -> Any:
    """The value of ``node``, noting where each key stands."""
    source.nodes += 1
    if len(loc) > _MAX_DEPTH or source.nodes > _MAX_NODES:  # an alias that holds itself, or multiplies
        if not source.too_big:
            source.problems.append(
                f"{source.place(loc)}: {_dotted(loc[:3])}: nested too deeply or too often; write values out without aliases"
            )
        source.too_big = True
        return None
    source.places.setdefault(loc, f"{file}:{node.start_mark.line + 1}:{node.start_mark.column + 1}")
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*loc, i), file, source) for i, child in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return _scalar(node, loc, source)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = f"{file}:{key_node.start_mark.line + 1}:{key_node.start_mark.column + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            source.problems.append(f"{place}: {_dotted(loc)}: a key must be a word, not {_kind_of(key_node)}")
            continue
        key = str(key_node.value)
        if key in mapping:
            source.problems.append(f"{place}: {_dotted((*loc, key))}: stands twice; keep one of them")
            continue
        source.places[(*loc, key)] = place
        value = _construct(value_node, (*loc, key), file, source)
        # A section whose keys are all commented out reads as null: it means the defaults.
        mapping[key] = {} if value is None and _is_section((*loc, key)) else value
    return mapping


def _scalar(node: yaml.Node, loc: Loc, source: _Source) -> Any:
    loader = _Loader("")
    try:
        return loader.construct_object(node, deep=True)
    except _NO_VALUE as error:
        source.problems.append(f"{source.place(loc)}: {_dotted(loc)}: {_said(error)}")
        return None
    finally:
        loader.dispose()


def _validate(source: _Source) -> Config:
    try:
        config = Config.model_validate(source.values)
    except ValidationError as error:
        found = [f"{source.place(_yaml_loc(e['loc']))}: {_dotted(e['loc'])}: {_reason(e)}" for e in error.errors()]
        raise ConfigError(source.problems + list(dict.fromkeys(found))) from None
    if source.problems:
        raise ConfigError(source.problems)
    return config


def _yaml_loc(loc: Loc) -> Loc:
    """Pydantic's place less the names of union members, which nobody wrote."""
    return tuple(part for part in loc if part not in ("str", "int", "float"))


def _dotted(loc: Loc) -> str:
    return ".".join(str(part) for part in _yaml_loc(loc)) or "configuration"


def _reason(error: ErrorDetails) -> str:
    kind, context, given = error["type"], error.get("ctx", {}), error["input"]
    if kind == "extra_forbidden":
        return _elsewhere(_dotted(error["loc"])) or suggest(str(error["loc"][-1]), _siblings(error["loc"]))
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return f"{shown(given)} is not one of {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"{shown(given)} does not have the form {context['pattern']}"
    if kind == "value_error":  # of our own: says what is given, and leaves out the password of an address
        return str(context["error"])
    wanted = "should be a section of keys" if kind == "model_type" else _SUBJECT.sub("should", error["msg"])
    told = kind in ("too_short", "too_long")  # of a list: it says by itself how long that is
    return wanted.replace(" after validation", "") if told else f"{wanted}, not {shown(given)}"


def _elsewhere(key: str) -> str | None:
    """Where to give what ``key`` stands for, if that is a secret."""
    if key not in _SECRETS:
        return None
    return f"is no key; give it in EDGE_NODE_{key.upper().replace('.', '_')} or the systemd credential edge-node.{key.replace('.', '-')}"


def _siblings(loc: Loc) -> list[str]:
    """The keys that could stand where ``loc`` does."""
    model = _model_at(loc[:-1])
    return list(model.model_fields) if model else []


def _is_section(loc: Loc) -> bool:
    above = _model_at(loc[:-1])
    field = above.model_fields.get(str(loc[-1])) if above else None
    return field is not None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """The model of the section, or of the list's items, at ``loc``."""
    model: type[BaseModel] = Config
    for part in loc:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        annotation = field.annotation if field else None
        inner = annotation if isinstance(annotation, type) else getattr(annotation, "__args__", (None,))[0]
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return None
        model = inner
    return model


def _kind_of(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return f"{node.value!r}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a section"
