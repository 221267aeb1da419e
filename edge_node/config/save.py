"""Writes tuned values into the user's configuration file: looked at first, checked before, all or nothing, with a backup."""

import difflib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node.config.edit import edited
from edge_node.config.keys import all_keys, value_of
from edge_node.config.load import load, override
from edge_node.errors import ConfigError
from edge_node.filesystem import put_in_place, remove_scratch


@dataclass(frozen=True, slots=True)
class Change:
    """What saving would do to ``file``: its text before and after. ``diff`` is empty when nothing would change."""

    file: Path
    before: str
    after: str

    @property
    def diff(self) -> str:
        """Unified diff of the two."""
        before, after = (text.splitlines(keepends=True) for text in (self.before, self.after))
        lines = difflib.unified_diff(before, after, str(self.file), f"{self.file} (tuned)", n=2)
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def plan(file: Path, tuned: Mapping[str, Any]) -> Change:
    """What writing the ``tuned`` values (key path to value) into ``file`` changes.

    Raises ``ConfigError`` when the file is not valid, or is written in a way that cannot be changed safely.
    """
    target = file.resolve()
    expected = override(load(target, {}), tuned)
    before = target.read_bytes().decode("utf-8")
    change = Change(target, before, edited(before, tuned))
    scratch = _scratch(target)
    try:
        scratch.write_bytes(change.after.encode("utf-8"))
        found = load(scratch, {})
        wrong = [key for key in all_keys() if value_of(found, key) != value_of(expected, key)]
    except OSError as error:
        raise _unwritable(target, error) from None
    except ConfigError:  # as where the anchor of an alias went with the value
        wrong = list(tuned)
    finally:
        remove_scratch(scratch)
    if wrong:
        raise ConfigError([f"{target}: {', '.join(wrong)}: cannot be changed safely; set it by hand"])
    return change


def write(change: Change) -> Path:
    """Do it; returns the backup, which has the text from before. Raises ``ConfigError`` when the folder cannot be written, or
    the file is no longer what ``plan`` saw.
    """
    target = change.file
    try:
        present = target.read_bytes()
    except OSError as error:
        raise ConfigError([f"{target}: cannot be read any more: {error.strerror or error}"]) from None
    if present != change.before.encode("utf-8"):
        raise ConfigError([f"{target}: was changed meanwhile; look at the difference again"])
    backup = target.with_name(target.name + ".bak")
    try:
        shutil.copy2(target, backup)
        put_in_place(target, _scratch(target), change.after.encode("utf-8"), target.stat())
    except OSError as error:
        raise _unwritable(target, error) from None
    return backup


def _scratch(target: Path) -> Path:
    return target.with_name(f".{target.name}.new")


def _unwritable(target: Path, error: OSError) -> ConfigError:
    return ConfigError([f"{target}: cannot be written: {error.strerror or error}"])
