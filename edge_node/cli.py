"""The ``edge-node`` command: finds the verb, hands over, and turns errors into one readable line and an exit code."""

import argparse
import importlib
import io
import signal
import sys
from collections.abc import Sequence
from types import ModuleType

from edge_node import __version__
from edge_node.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, EdgeNodeError
from edge_node.interrupt import ended_at_once_by_ctrl_c
from edge_node.standard_streams import open_closed_ones, output_watched

VERBS = {
    "setup": "set a node up, from nothing to a running service: ask, try each answer, write the configuration, start",
    "run": "run the node: camera, model, MQTT",
    "demo": "run it all on this machine: a broker, a clip or a drawn scene, poses on the terminal",
    "check-config": "check a configuration file and say every mistake in it",
    "config": "show what is set and where, and what was tuned; save or reset it",
    "doctor": "look at everything the node needs on this machine, and say what to type where it is not fine",
    "status": "say how the node that runs on this machine is",
    "watch": "every node of a broker, live: people, rate, accelerator",
    "record": "poses of a camera or clip into a file, and nowhere else",
    "replay": "a recording once more, over MQTT or on the live page, at any speed",
    "export": "a recording as a table (CSV, Parquet) or as COCO results",
    "render": "skeletons over a clip or on black, as a video or a sheet of pictures",
    "plot": "people, a joint's path and latencies of a recording or a bench, as a picture",
    "models": "list, fetch and verify the model files",
    "bench": "measure the loop against the bare model",
    "evaluate": "measure how right the poses are, on annotated pictures and on sequences with truth",
}
"""Verb to its one-line help. Each is a module of ``edge_node.commands`` (``-`` is ``_`` there) with ``add_arguments(parser)`` and
``run(arguments) -> exit code``; only the module of the verb in use is imported."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    open_closed_ones()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it: the name of a file need not be UTF-8
    try:
        with output_watched():
            return _run(words)
    except EdgeNodeError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away
        return EXIT_OK


def _run(words: list[str]) -> int:
    verb = _verb_of(words)
    if verb == "run":  # a reload asked for before the node listens to it: the start reads the file anyway
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_at_once_by_ctrl_c():
        parser = _parser(verb)
    arguments = parser.parse_args(words)
    if arguments.verb is None:
        parser.print_help()
        return EXIT_USAGE
    return int(_command(arguments.verb).run(arguments))


def _verb_of(words: list[str]) -> str | None:
    return next((word for word in words if word in VERBS), None)


def _command(verb: str) -> ModuleType:
    return importlib.import_module(f"edge_node.commands.{verb.replace('-', '_')}")


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-node",
        description="A camera node that says where people's joints are, and nothing else.",
        epilog="Exit codes: 0 fine, 1 failed, 2 wrong usage, 78 wrong configuration, 130 interrupted. "
        "Help for one verb: edge-node VERB --help",
    )
    parser.add_argument("--version", action="version", version=f"edge-node {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for verb, summary in VERBS.items():
        verb_parser = verbs.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if verb == chosen:
            _command(verb).add_arguments(verb_parser)
    return parser
