"""``edge-node check-config``: every mistake of a configuration file, at once, each with its place."""

import argparse
import json
import os
from pathlib import Path

from edge_node.config.load import load
from edge_node.errors import EXIT_OK, ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("file", type=Path, help="the YAML file")
    parser.add_argument("--json", action="store_true", help="print the result as JSON: ok, problems, and the effective settings")


def run(arguments: argparse.Namespace) -> int:
    """Check the file; the exit code is 78 when it has mistakes."""
    try:
        config = load(arguments.file, os.environ)
    except ConfigError as error:
        if not arguments.json:
            raise
        print(json.dumps({"ok": False, "problems": error.problems}, indent=1))
        return error.exit_code
    if arguments.json:
        print(json.dumps({"ok": True, "problems": [], "config": config.model_dump(mode="json")}, indent=1))
    else:
        print(f"{arguments.file}: fine")
    return EXIT_OK
