"""``edge-node record``: poses of a camera or clip into a file, and nowhere else."""

import argparse
import os
import sys
from collections.abc import Mapping

from edge_node import log
from edge_node.commands.argument_types import positive
from edge_node.commands.settings_arguments import add_settings_arguments, configuration_file, loader, overrides_of
from edge_node.config.settings import Settings
from edge_node.errors import EXIT_FAILED, EXIT_OK


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("file", metavar="FILE", help="JSON Lines; a name ending in .gz is compressed; - is standard output")
    parser.add_argument("--source", metavar="S", help="camera, clip or address, in place of camera.source")
    parser.add_argument("--frames", type=positive, metavar="N", help="end after N frames")
    parser.add_argument("--raw", action="store_true", help="joints as the model gives them, not smoothed (for edge-node plot)")
    parser.add_argument("--max-bytes", type=positive, metavar="N", help="begin a new file beyond this size")
    parser.add_argument("--max-age", type=positive, metavar="S", help="begin a new file after so many seconds")
    parser.add_argument("--keep", type=positive, metavar="N", help="how many older files are kept")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Record until stopped or at the end of the clip; returns the exit code."""
    settings = Settings(loader(arguments, _own_overrides(arguments)))
    log.configure(settings.current.log)
    from edge_node.node import Node  # noqa: PLC0415 - a wrong configuration is told before the heavy imports

    node = Node(settings, arguments.frames, configuration_file(arguments))
    code = node.run()
    counters = node.health.report().counters
    missing = _missing(counters)
    print(", ".join((f"{arguments.file}: {counters.get('recorded', 0)} messages", *missing)), file=sys.stderr)
    return code or (EXIT_FAILED if missing else EXIT_OK)


def _missing(counters: Mapping[str, int]) -> list[str]:
    """What is not in the recording, and why."""
    reasons = {"record_lost": "could not be written", "record_dropped": "are missing: the disk, or whoever reads, was too slow"}
    return [f"{counters[name]} {reason}" for name, reason in reasons.items() if counters.get(name)]


def _own_overrides(arguments: argparse.Namespace) -> list[str]:
    values = {
        "mqtt.enabled": False,
        "homeassistant.enabled": False,
        "web.enabled": False,
        "node.name": f"record-{os.getpid()}",  # beside a node that serves
        "record.path": arguments.file,
        "camera.source": arguments.source,
        "record.max_bytes": arguments.max_bytes,
        "record.max_age_s": arguments.max_age,
        "record.keep": arguments.keep,
        "smoothing.enabled": False if arguments.raw else None,
    }
    return overrides_of(values)
