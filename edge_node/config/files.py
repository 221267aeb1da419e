"""The files made from the configuration's models: the commented YAML file and the JSON Schema."""

import textwrap
from typing import Any

import yaml
from pydantic import BaseModel

from edge_node.config.keys import Key, all_keys
from edge_node.config.models import Config

SCHEMA_FILE = "edge-node.schema.json"
_WIDTH = 116


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the YAML file."""
    schema = Config.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "edge-node.yaml"
    return schema


def commented_yaml(values: dict[str, Any] | None = None) -> str:
    """The whole configuration as YAML, every key with its meaning and default above it.

    A key whose path is in ``values`` is written with that value; every other key stands as a comment with its default.
    """
    values = values or {}
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        "# edge_node: every key with its meaning and default. Take away the # before a key to set it.",
        "# Check it with: edge-node check-config FILE. Keys marked (live) can also be tuned while the node runs.",
    ]
    lines += _section_lines(Config, "", values)
    return "\n".join(lines) + "\n"


def _section_lines(model: type[BaseModel], prefix: str, values: dict[str, Any]) -> list[str]:
    indent = "  " * prefix.count(".")
    lines: list[str] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            lines += ["", *_comment(inner.__doc__ or "", indent), f"{indent}{name}:"]
            lines += _section_lines(inner, f"{prefix}{name}.", values)
        else:
            lines += _key_lines(all_keys()[f"{prefix}{name}"], name, indent, values)
    return lines


def _key_lines(key: Key, name: str, indent: str, values: dict[str, Any]) -> list[str]:
    mark = " (live)" if key.live else ""
    lines = _comment(f"{key.description}{_range(key)}{mark}", indent)
    if key.path in values:
        return [*lines, f"{indent}{name}: {flow(values[key.path])}"]
    default = "my-node" if key.path == "node.name" else key.default
    return [*lines, f"{indent}# {name}: {flow(default)}"]


def _range(key: Key) -> str:
    if key.choices:
        return f" One of: {', '.join(str(c) for c in key.choices)}."
    if key.minimum is None or key.maximum is None:
        return ""
    return f" From {'above ' if key.minimum_excluded else ''}{key.minimum:g} to {key.maximum:g}."


def _comment(text: str, indent: str) -> list[str]:
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH - len(indent))
    return [f"{indent}# {line}" for line in wrapped]


def flow(value: Any) -> str:
    """``value`` as YAML on one line."""
    if value is None:
        return "null"
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
