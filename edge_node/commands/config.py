"""``edge-node config``: what is set and where, what was tuned, and writing it into the file."""

import argparse
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node import paths
from edge_node.commands.settings_arguments import SYSTEM_FILE, add_settings_arguments, configuration_file, is_of_service, loader
from edge_node.config.files import flow
from edge_node.config.keys import all_keys, json_value_of
from edge_node.config.load import origins
from edge_node.config.save import plan, write
from edge_node.config.settings import Settings
from edge_node.errors import EXIT_FAILED, EXIT_OK, UsageError

SERVICE_STATE = Path("/var/lib/edge-node")
RELOAD_HINT = "A node that runs takes this over on: systemctl reload edge-node (or SIGHUP, or cmd/reload over MQTT)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.epilog = (
        "Values tuned while the node runs (over MQTT, Home Assistant, the live page) are kept in the state directory and stand over "
        "the file until they are reset or saved."
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print every key, its value in force, and where that comes from")
    show.add_argument("--changed", action="store_true", help="leave out what has its default")
    show.add_argument("--json", action="store_true", help="print JSON: key to value and origin")
    diff = actions.add_parser("diff", help="print what was tuned, against the file; exit code 1 when there is something")
    reset = actions.add_parser("reset", help="forget what was tuned")
    reset.add_argument("keys", nargs="*", metavar="KEY", help="only these keys, such as pose.max_people")
    save = actions.add_parser("save", help="write what was tuned into the file, comments kept; shows the difference first")
    save.add_argument("--yes", action="store_true", help="do not ask")
    save.add_argument("--dry-run", action="store_true", help="show the difference and write nothing")
    for action in (show, diff, reset, save):
        add_settings_arguments(action)
        action.add_argument("--state-directory", type=Path, metavar="DIR", help="where the node keeps tuned values")


def run(arguments: argparse.Namespace) -> int:
    """Do the action."""
    settings = Settings(loader(arguments), _state_directory(arguments))
    if arguments.action == "show":
        return _show(arguments, settings)
    if arguments.action == "diff":
        return _diff(settings)
    if arguments.action == "reset":
        return _reset(arguments.keys, settings)
    return _save(arguments, settings)


def _show(arguments: argparse.Namespace, settings: Settings) -> int:
    places = origins(configuration_file(arguments), os.environ, arguments.overrides)
    tuned = settings.overlay
    rows = {
        key: (json_value_of(settings.current, key), "tuned" if key in tuned else places.get(key, "default"))
        for key in all_keys()
        if not arguments.changed or key in tuned or key in places
    }
    if arguments.json:
        print(json.dumps({key: {"value": value, "origin": origin} for key, (value, origin) in rows.items()}, indent=1))
        return EXIT_OK
    width = max((len(key) for key in rows), default=0)
    for key, (value, origin) in rows.items():
        print(f"{key:{width}}  {flow(value):<24}  {origin}")
    return EXIT_OK


def _diff(settings: Settings) -> int:
    for key, value in settings.overlay.items():
        print(f"{key}: {flow(json_value_of(settings.file, key))} -> {flow(value)}")
    return EXIT_FAILED if settings.overlay else EXIT_OK


def _reset(keys: list[str], settings: Settings) -> int:
    before = settings.overlay
    for key in keys:
        settings.reset(key)
    if not keys:
        settings.reset()
    gone = [key for key in before if key not in settings.overlay]
    print(f"Forgotten: {', '.join(gone)}. {RELOAD_HINT}" if gone else "Nothing was tuned.")
    return EXIT_OK


def _save(arguments: argparse.Namespace, settings: Settings) -> int:
    file = configuration_file(arguments)
    if file is None:
        raise UsageError(f"there is no {SYSTEM_FILE}; name the file to write to with -c FILE")
    tuned = settings.overlay
    if not tuned:
        print("Nothing was tuned.")
        return EXIT_OK
    change = plan(file, tuned)
    print(change.diff or f"{file} says all of it already.")
    if arguments.dry_run or not (arguments.yes or _agreed(file)):
        return EXIT_OK
    if change.diff:
        _warn_of_environment(tuned)
        print(f"Written; as it was before: {write(change)}. {RELOAD_HINT}")
    settings.reset()
    return EXIT_OK


def _warn_of_environment(tuned: Mapping[str, Any]) -> None:
    places = origins(None, os.environ)
    for key in tuned:
        if key in places:
            print(f"{key} is also set by {places[key]}, which stands over the file.", file=sys.stderr)


def _agreed(file: Path) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"nothing was written: say --yes to change {file} without being asked")
    try:
        return input(f"Write this to {file}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D: no answer is no
        print()
        return False


def _state_directory(arguments: argparse.Namespace) -> Path:
    """Where the overlay is: as told, as systemd says, the service's if its file is meant, else the user's own."""
    given: Path | None = arguments.state_directory
    if given is not None:
        return given
    of_service = is_of_service(configuration_file(arguments)) and SERVICE_STATE.is_dir()
    if of_service and paths.STATE_UNDER_SYSTEMD not in os.environ:
        return SERVICE_STATE
    return paths.state_directory()
