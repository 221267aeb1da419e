"""Changes values in the user's YAML text and leaves the rest of it alone: comments, order, blank lines, line ends.

PyYAML says where each value stands; only those characters are replaced. A key that is not there yet goes below its commented
default, where the file has one, else to the end of its section. (Comments inside a replaced list go with it.)
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from edge_node.config.files import flow
from edge_node.errors import ConfigError

_INDENT = 2
_Pair = tuple[yaml.Node, yaml.Node]
"""A key and its value."""


def edited(text: str, values: Mapping[str, Any]) -> str:
    """``text`` with the keys of ``values`` (``pose.max_people``) set.

    Raises ``ConfigError`` where the text is written in a way that cannot be changed safely.
    """
    for path, value in values.items():
        section, name = path.split(".")
        try:
            document = _Document(text)
        except yaml.YAMLError:  # the configuration itself is read by libyaml, which accepts more
            raise _unsafe(section, name, flow(value)) from None
        text = document.set(section, name, flow(value))
    return text


class _Document:
    """The text and where its parts stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        plain = text.replace("\t", " ")  # as long; unlike libyaml, the Python loader takes no tab before a comment
        root = yaml.compose(plain, Loader=yaml.SafeLoader)  # the Python loader: its marks count characters
        self.root = root if isinstance(root, yaml.MappingNode) else None
        tokens = yaml.scan(plain, Loader=yaml.SafeLoader)
        self.end = next((token.start_mark.index for token in tokens if isinstance(token, yaml.DocumentEndToken)), len(text))

    def set(self, section: str, name: str, value: str) -> str:
        """The text with one key set to ``value``, which is YAML."""
        pair = _find(self.root, section)
        if pair is None:
            if self.root is not None and self.root.flow_style:
                raise _unsafe(section, name, value)
            return self._append([f"{section}:", f"{' ' * _INDENT}{name}: {value}"])
        inside = _find(pair[1], name)
        changed = self._replace(inside, value) if inside is not None else self._add(pair, name, value)
        if changed is None:
            raise _unsafe(section, name, value)
        return changed

    def _add(self, section: _Pair, name: str, value: str) -> str | None:
        key, body = section
        if isinstance(body, yaml.MappingNode) and body.flow_style:
            start = body.start_mark.index + 1
            comma = ", " if body.value else ""
            return f"{self.text[:start]}{name}: {value}{comma}{self.text[start:]}"
        if isinstance(body, yaml.ScalarNode) and body.start_mark.index < body.end_mark.index:  # null, or ~
            return self._replace(section, f"{{{name}: {value}}}")
        return self._insert(key, body, name, value)

    def _replace(self, pair: _Pair, value: str) -> str | None:
        key, old = pair
        start = old.start_mark.index
        if start < key.end_mark.index:  # an alias: its marks are those of the anchor
            return None
        end = start + len(self.text[start : _end(old)].rstrip())  # to the text of a block (>-) its line end belongs, too
        space = "" if self.text[start - 1].isspace() else " "
        return f"{self.text[:start]}{space}{value}{self.text[end:]}"

    def _insert(self, key: yaml.Node, body: yaml.Node, name: str, value: str) -> str:
        """A new line in a section written over several lines; its ``body`` is null while all its keys are comments."""
        lines = self.text.splitlines(keepends=True)
        keys = body.value if isinstance(body, yaml.MappingNode) else []
        indent = keys[0][0].start_mark.column if keys else _INDENT + key.start_mark.column
        first = key.end_mark.line + 1
        sections = self.root.value if self.root is not None else []
        last = min((k.start_mark.line for k, _ in sections if k.start_mark.line > key.start_mark.line), default=len(lines))
        default = re.compile(rf" {{{indent}}}#\s*{re.escape(name)}:(\s|$)")
        at = next((n + 1 for n in range(first, last) if default.match(lines[n])), None)
        if at is None:
            at = self.text.count("\n", 0, _end(body)) + 1 if keys else first
        if not lines[at - 1].endswith("\n"):
            lines[at - 1] += self.newline
        lines.insert(at, f"{' ' * indent}{name}: {value}{self.newline}")
        return "".join(lines)

    def _append(self, lines: list[str]) -> str:
        before = self.text[: self.end]
        gap = "" if not before or before.endswith("\n") else self.newline
        return f"{before}{gap}{self.newline.join(lines)}{self.newline}{self.text[self.end :]}"


def _find(mapping: yaml.Node | None, name: str) -> _Pair | None:
    if not isinstance(mapping, yaml.MappingNode):
        return None
    return next(((key, value) for key, value in mapping.value if key.value == name), None)


def _end(node: yaml.Node) -> int:
    """Where the text of ``node`` ends. A block's own mark lies beyond the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _unsafe(section: str, name: str, value: str) -> ConfigError:
    return ConfigError([f"{section}.{name}: the file is written in a way that is better changed by hand; set it to {value} there"])
