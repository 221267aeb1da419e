"""The settings in force while the node runs: the file's, with what was tuned since laid over them.

Whoever needs a value reads ``settings.current`` once a frame (or tick) and compares identity to learn of a change; the
``Config`` itself is frozen. Reload by SIGHUP, ``set/<key>`` over MQTT and the sliders of the live page all come through here.
"""

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node.config.former_name import former_name, remember
from edge_node.config.keys import all_keys, json_value_of, live_keys, suggest, value_of
from edge_node.config.load import override
from edge_node.config.models import Config
from edge_node.errors import ConfigError
from edge_node.filesystem import put_in_place

log = logging.getLogger(__name__)

_FILE_OF_ANY_NODE = "overlay.json"
"""What the overlay was called before several nodes of one user were told apart."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What reading the file again gave: keys whose value in force changed, keys that wait for a restart, and keys that were changed in the
    file, where a tuned value stands over them.
    """

    applied: tuple[str, ...]
    needs_restart: tuple[str, ...]
    tuned: tuple[str, ...]


class Settings:
    """Holds the configuration in force. All methods may be called from any thread.

    ``load`` reads the user's file afresh. ``state_directory`` keeps the overlay, and whatever else the node must know again, over
    restarts; without one all of that is of this run only. ``configuration``: the file that names the node, by which it is known again
    under another name; ``None`` where something else names it.
    """

    def __init__(self, load: Callable[[], Config], state_directory: Path | None = None, configuration: Path | None = None) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._file = load()
        self._state_directory = state_directory
        self._configuration = configuration
        self._overlay_path = overlay_file(state_directory, self._file.node.name) if state_directory else None
        if self._overlay_path is not None:
            self._take_over_former(self._overlay_path)
        self._unread: str | None = None
        self._overlay = self._read_overlay()
        self._remember_name()
        self._current = override(self._file, self._overlay)

    @property
    def current(self) -> Config:
        """The settings in force: frozen, and the same object until something changes."""
        return self._current

    @property
    def state_directory(self) -> Path | None:
        """Where the node keeps what it must know again after a restart; ``None`` for a run that leaves nothing behind."""
        return self._state_directory

    @property
    def configuration(self) -> Path | None:
        """The file by which the node is known again when its name changes; ``None`` where it is not."""
        return self._configuration

    @property
    def overlay(self) -> Mapping[str, Any]:
        """What was tuned and stands over the file's values: key path to value."""
        with self._lock:
            return dict(self._overlay)

    @property
    def file(self) -> Config:
        """What the file alone says."""
        return self._file

    def set(self, key: str, value: Any) -> Any:
        """Tune one key; returns the value in force, as JSON has it.

        Raises ``ConfigError``, and changes nothing, when the key may not be tuned, the value is out of its range, or it cannot be kept.
        """
        with self._lock:
            _refuse_unless_live(key)
            overlay = {**self._overlay, key: value}
            current = override(self._file, overlay)
            self._refuse_over_unread()
            if overlay != self._overlay:  # a request repeated costs no write to the SD card
                self._write_overlay(overlay)
                self._overlay, self._current = overlay, current
                self._remember_name()
            return json_value_of(self._current, key)

    def reset(self, key: str | None = None) -> None:
        """Forget what was tuned: one key, or everything.

        Raises ``ConfigError``, and changes nothing, for a key that may not be tuned, or when that cannot be kept.
        """
        with self._lock:
            if key is not None:
                _refuse_unless_live(key)
                self._refuse_over_unread()
                if key not in self._overlay:
                    return
            overlay = {k: v for k, v in self._overlay.items() if key is not None and k != key}
            current = override(self._file, overlay)
            self._write_overlay(overlay)
            self._overlay, self._current = overlay, current

    def reload(self) -> Reloaded:
        """Read the file again, and the overlay, which ``edge-node config`` may have changed.

        Raises ``ConfigError``, and keeps what is in force, when the file is not valid.
        Keys that need a restart keep their old value until then.
        """
        with self._lock:
            new, before = self._load(), self._current
            changed = [key for key in all_keys() if value_of(new, key) != value_of(self._file, key)]
            self._file = override(self._file, {key: value_of(new, key) for key in changed if key in live_keys()})
            if self._overlay_path is not None:
                self._overlay = self._read_overlay()
            self._current = override(self._file, self._overlay)
            return Reloaded(
                applied=tuple(key for key in live_keys() if value_of(self._current, key) != value_of(before, key)),
                needs_restart=tuple(key for key in changed if key not in live_keys()),
                tuned=tuple(key for key in changed if key in self._overlay),
            )

    def _take_over_former(self, overlay: Path) -> None:
        """Where there is no ``overlay`` yet, what was tuned when the node had another name, or files had none, is in it from now on."""
        _take_over(overlay.with_name(_FILE_OF_ANY_NODE), overlay)
        if self._configuration is not None:
            former = former_name(overlay.parent, self._configuration)
            if former is not None:
                _take_over(overlay_file(overlay.parent, former), overlay)

    def _remember_name(self) -> None:
        """Under which name there is something tuned."""
        if self._overlay and self._state_directory is not None and self._configuration is not None:
            remember(self._state_directory, self._configuration, self._file.node.name)

    def _read_overlay(self) -> dict[str, Any]:
        """The overlay on disk. One that cannot be read or does not fit (any more) is said in the log, and the file's values hold."""
        self._unread = None
        if self._overlay_path is None:
            return {}
        try:
            return self._checked(self._overlay_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            self._unread = f"{error.strerror or error} ({self._overlay_path})"
            log.warning("tuned values are not used: %s: %s", self._overlay_path, error.strerror or error)
        except (ValueError, TypeError, AttributeError, ConfigError) as error:
            log.warning("tuned values are not used (%s); %s", error, _set_aside(self._overlay_path))
        return {}

    def _checked(self, content: bytes) -> dict[str, Any]:
        overlay = dict(json.loads(content.decode("utf-8")).items())
        for key in overlay:
            _refuse_unless_live(key)
        override(self._file, overlay)
        return overlay

    def _refuse_over_unread(self) -> None:
        """What is in an overlay that cannot be read is lost once another takes its place."""
        if self._unread is not None:
            raise ConfigError([f"cannot be kept: what was tuned before cannot be read: {self._unread}; mend that, then reload"])

    def _write_overlay(self, overlay: Mapping[str, Any]) -> None:
        path = self._overlay_path
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            owner = _owner(path) if os.geteuid() == 0 else None
            put_in_place(path, path.with_suffix(".new"), json.dumps(overlay, indent=1).encode("utf-8"), owner)
        except OSError as error:
            raise ConfigError([f"cannot be kept: {error.strerror or error} ({path})"]) from None
        self._unread = None


def overlay_file(state_directory: Path, node: str) -> Path:
    """Where the values tuned on the node of this name are kept."""
    return state_directory / f"overlay-{node}.json"


def _owner(overlay: Path) -> os.stat_result:
    """Whose ``overlay`` is to be when root writes it for a node of another user, who must be able to read it again."""
    if overlay.exists() and overlay.stat().st_uid != 0:
        return overlay.stat()
    return overlay.parent.stat()


def _take_over(former: Path, overlay: Path) -> None:
    """Where there is no ``overlay``, what was tuned is in ``former``."""
    try:
        if not overlay.exists():
            former.replace(overlay)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("tuned values are not used: %s cannot become %s: %s", former, overlay.name, error.strerror or error)


def _set_aside(overlay: Path) -> str:
    """Out of the way, to be looked at; says how that went."""
    aside = overlay.with_suffix(".refused")
    try:
        overlay.replace(aside)
    except OSError as error:
        return f"{overlay} cannot be set aside: {error.strerror or error}"
    return f"set aside as {aside}"


def _refuse_unless_live(key: str) -> None:
    if key in live_keys():
        return
    if key in all_keys():
        raise ConfigError([f"{key}: needs a restart, so it is set in the configuration file"])
    raise ConfigError([f"{key}: {suggest(key, live_keys())}"])
