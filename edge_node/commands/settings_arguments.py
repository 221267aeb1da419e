"""``-c FILE`` and ``--set KEY=VALUE``, for every verb that needs the configuration."""

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge_node.config.files import flow
from edge_node.config.load import NOT_UTF8, load, origins
from edge_node.config.models import Config
from edge_node.errors import ConfigError, UsageError
from edge_node.filesystem import exists

SYSTEM_FILE = Path("/etc/edge-node/edge-node.yaml")


def add_settings_arguments(parser: argparse.ArgumentParser) -> None:
    """Add both options."""
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help=f"configuration file (default: {SYSTEM_FILE}, if it is there)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="set one key over file and environment, such as camera.source=clip.mp4; may be given more than once",
    )


def configuration_file(arguments: argparse.Namespace) -> Path | None:
    """The file to read: the one given, else the system's if there is one."""
    given: Path | None = arguments.config
    return given or (SYSTEM_FILE if exists(SYSTEM_FILE, lambda why: ConfigError([why])) else None)


def is_of_service(file: Path | None) -> bool:
    """Whether ``file``, however it is written, is the one that the service reads."""
    return file is not None and os.path.realpath(file) == os.path.realpath(SYSTEM_FILE)


def naming_file(arguments: argparse.Namespace) -> Path | None:
    """The configuration file where the node's name is up to it, and so known to be one node's; ``None`` where a variable or ``--set``
    names the node: they may name several with one file.
    """
    return None if "node.name" in origins(None, os.environ, arguments.overrides) else configuration_file(arguments)


def overrides_of(values: Mapping[str, object]) -> list[str]:
    """``KEY=VALUE`` for each key with a value: one that is read back as just this value, whatever characters are in it.

    Raises ``UsageError`` for a text that is not UTF-8.
    """
    return [f"{key}={_yaml(value)}" for key, value in values.items() if value is not None]


def _yaml(value: object) -> str:
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{value}: is {NOT_UTF8}") from error
    return flow(value)


def loader(arguments: argparse.Namespace, defaults: Sequence[str] = ()) -> Callable[[], Config]:
    """What reads the configuration, now and at each reload; ``defaults`` are overrides that the user's own win over."""
    file = configuration_file(arguments)
    overrides = [*defaults, *arguments.overrides]
    return lambda: load(file, os.environ, overrides)
