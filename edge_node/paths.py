"""Where this node keeps files of its own: state that must last, what can be fetched or computed again, and what a restart may take."""

import functools
import logging
import os
from pathlib import Path

from edge_node.errors import ConfigError

log = logging.getLogger(__name__)

STATE_UNDER_SYSTEMD = "STATE_DIRECTORY"
RUNTIME_UNDER_SYSTEMD = "RUNTIME_DIRECTORY"
CREDENTIALS_UNDER_SYSTEMD = "CREDENTIALS_DIRECTORY"
_MOST_SECRET_BYTES = 65_535


def expanded(text: str) -> Path:
    """A path that a user wrote, with ``~`` for a home directory. As in a shell, ``~name`` stays as it is where there is no such user."""
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises RuntimeError for an unknown user


def files_are_the_services() -> bool:
    """Whether this process is the service, or looks where the service does."""
    return bool(os.environ.get(STATE_UNDER_SYSTEMD))


def state_directory() -> Path:
    """systemd's ``StateDirectory``, else ``$XDG_STATE_HOME/edge-node``. It may not exist yet. Raises ``ConfigError`` without a home."""
    given = os.environ.get(STATE_UNDER_SYSTEMD, "").split(":")[0]
    return Path(given) if given else _xdg("XDG_STATE_HOME", ".local/state")


def cache_directory() -> Path:
    """``cache/`` of the state directory under systemd, else ``$XDG_CACHE_HOME/edge-node``. It may not exist yet. Raises ``ConfigError``
    without a home.
    """
    if files_are_the_services():
        return state_directory() / "cache"
    return _xdg("XDG_CACHE_HOME", ".cache")


def service_runtime_directory() -> Path | None:
    """systemd's ``RuntimeDirectory``, on a RAM disk; ``None`` for a process that is no service."""
    given = os.environ.get(RUNTIME_UNDER_SYSTEMD, "").split(":")[0]
    return Path(given) if given else None


def user_runtime_directory() -> Path | None:
    """``$XDG_RUNTIME_DIR/edge-node``, on a RAM disk; ``None`` where the user has none, as in a shell that ``su`` has left with the
    variable of another user. It may not exist yet.
    """
    base = os.environ.get("XDG_RUNTIME_DIR")
    return Path(base) / "edge-node" if base and os.access(base, os.W_OK | os.X_OK) and Path(base).is_dir() else None


def models_directory(configured: str | None) -> Path:
    """``model.directory`` of the configuration, else ``models/`` beside the state (systemd) or in the cache."""
    if configured:
        return expanded(configured)
    under = state_directory() if files_are_the_services() else cache_directory()
    return under / "models"


def secret(name: str) -> str | None:
    """A secret by name, such as ``mqtt-password``: systemd credential ``edge-node.<name>``, else ``EDGE_NODE_<NAME>``.

    An empty one is none. ``None`` when nobody gave one. Raises ``ConfigError``, which names the source, when it cannot be read.
    """
    directory = os.environ.get(CREDENTIALS_UNDER_SYSTEMD)
    if directory:
        file = Path(directory) / f"edge-node.{name}"
        try:
            given = secret_text(file.read_bytes(), str(file))
            if given:
                return given
            _tell_empty(file)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ConfigError([f"{file}: cannot be read: {error.strerror or error}"]) from None
    variable = "EDGE_NODE_" + name.upper().replace("-", "_")
    return secret_text(os.fsencode(os.environ.get(variable, "")), f"environment variable {variable}") or None


def secret_text(content: bytes, source: str) -> str:
    """A secret as text; one trailing line end is not part of it.

    Raises ``ConfigError``, which names the ``source`` and nothing of the content, when it is not UTF-8 or longer than MQTT carries.
    """
    if len(content) > _MOST_SECRET_BYTES:
        raise ConfigError([f"{source}: is longer than {_MOST_SECRET_BYTES:,} bytes"])
    try:
        return content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ConfigError([f"{source}: is not text in UTF-8"]) from None


@functools.cache
def _tell_empty(file: Path) -> None:
    """Once for each file: a camera's are read at every check of the configuration."""
    log.warning("%s is empty: taken as not given", file)


def _xdg(variable: str, fallback: str) -> Path:
    base = os.environ.get(variable)
    try:
        return (Path(base) if base else Path.home() / fallback) / "edge-node"
    except RuntimeError:  # a user of no name, as in a container
        raise ConfigError([f"this user has no home directory: set HOME or {variable}"]) from None
