"""What a viewer may ask for: look at pictures or not, tune, reset, save. Everything else is refused with a reason."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from edge_node.config.keys import Key, json_value_of, live_keys, value_of
from edge_node.config.load import override
from edge_node.config.models import Config
from edge_node.config.save import plan, write
from edge_node.config.settings import Settings
from edge_node.errors import ConfigError, EdgeNodeError
from edge_node.sink.web.server import Viewer
from edge_node.tuning import TOO_MANY, Allowance


class Requests:
    """Does what viewers ask for. Called on the server's thread."""

    def __init__(self, settings: Settings, file: Path | None) -> None:
        """``file``: the configuration that tuned values can be saved to; ``None`` where there is none."""
        self._settings = settings
        self._file = file
        self._allowance = Allowance()

    def handle(self, viewer: Viewer, message: str | bytes) -> str | None:
        """Answer one message; ``None`` when none is owed."""
        try:
            request = orjson.loads(message)
        except orjson.JSONDecodeError:
            return _answer(None, reason="not JSON")
        if not isinstance(request, dict):
            return _answer(None, reason="expected an object")
        if request.get("type") == "view":
            viewer.choose(image=request.get("image") is True and self._settings.current.web.show_image)
            return None
        try:
            return self._change(request)
        except EdgeNodeError as error:
            return _answer(request.get("id"), reason=str(error))

    def _change(self, request: Mapping[str, Any]) -> str:
        number, kind, key = request.get("id"), request.get("type"), request.get("key")
        if not self._settings.current.web.allow_tuning:
            return _answer(number, reason="tuning is switched off (web.allow_tuning)")
        if self._allowance.take(time.monotonic()) is not True:  # each change is a write to the SD card; all viewers share one allowance
            return _answer(number, reason=TOO_MANY)
        if kind == "set" and isinstance(key, str):
            return _answer(number, value=self._settings.set(key, request.get("value")))
        if kind == "reset" and (key is None or isinstance(key, str)):
            self._settings.reset(key)
            return _answer(number, value=None)
        if kind == "save" and self._file is not None:
            return self._save(number, self._file, request.get("shown"))
        return _answer(number, reason="no such request" if kind != "save" else "the node runs without a configuration file")

    def _save(self, number: Any, file: Path, shown: object) -> str:
        """Answers with the difference that saving makes to the file; made only when it is the one that was ``shown`` to the viewer.

        Raises ``ConfigError`` when another one was.
        """
        tuned = self._settings.overlay
        change = plan(file, tuned)
        if shown is not None and shown != change.diff:
            raise ConfigError(["not saved: what would change is no longer what was shown; look at it again"])
        if shown is None or not change.diff:
            return _answer(number, value=change.diff)
        write(change)
        self._settings.reload()
        return _answer(number, value=change.diff, overruled=self._reset_saved(tuned))

    def _reset_saved(self, tuned: Mapping[str, Any]) -> list[str]:
        """Forget what holds without having been tuned, too; returns the keys where a variable or ``--set`` stands over the file."""
        overruled = []
        without = self._settings.file
        expected = override(without, tuned)
        for key, value in tuned.items():
            if self._settings.overlay.get(key) != value:  # what was tuned again meanwhile, over MQTT, is not in the file
                continue
            if value_of(without, key) == value_of(expected, key):
                self._settings.reset(key)
            else:
                overruled.append(key)
        return overruled


def described_keys(config: Config, overlay: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tunable keys for the page: what they mean, their range, default, value in force, and whether it was tuned."""
    return [_described(key, json_value_of(config, path), path in overlay) for path, key in live_keys().items()]


def _described(key: Key, value: Any, tuned: bool) -> dict[str, Any]:
    return {
        "path": key.path,
        "type": key.type if isinstance(key.type, str) else key.type.__name__,
        "description": key.description,
        "default": key.default,
        "minimum": key.minimum,
        "minimum_excluded": key.minimum_excluded,
        "maximum": key.maximum,
        "choices": key.choices,
        "value": value,
        "tuned": tuned,
    }


def _answer(number: Any, value: Any = None, reason: str | None = None, **more: Any) -> str:
    answer = {"type": "result", "id": number, "ok": reason is None, "value": value, "reason": reason, **more}
    return orjson.dumps(answer).decode()
