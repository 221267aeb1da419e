"""``edge-node status``: how the node that runs on this machine is."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from edge_node.errors import EXIT_FAILED, EXIT_OK
from edge_node.log import harmless
from edge_node.status_socket import NoAnswerError, ask, running_sockets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--node", metavar="NAME", help="only the node of this name")
    parser.add_argument("--json", action="store_true", help="print a list of JSON objects, one for each node")
    parser.epilog = "Exit code 0 when a node runs and nothing is wrong with it, else 1. The history of a service: journalctl -u edge-node"


def run(arguments: argparse.Namespace) -> int:
    """Print the status of each node that runs here."""
    answers: list[dict[str, Any]] = []
    silent: list[NoAnswerError] = []
    for path in running_sockets():
        try:
            answer = ask(path)
        except NoAnswerError as error:
            silent.append(error)
            continue
        if answer is not None and arguments.node in (None, answer.get("node")):
            answers.append(answer)
    if arguments.node and answers:
        silent.clear()  # they are other nodes'
    if arguments.json:
        print(json.dumps(answers, indent=1))
    else:
        print("\n\n".join(_text(answer) for answer in answers), end="\n" if answers else "")
    for no_answer in silent:
        print(no_answer, file=sys.stderr)
    if not answers and not silent:
        which = f"node {arguments.node}" if arguments.node else "node"
        print(f"no {which} runs here; start it with: systemctl start edge-node (or: edge-node run)", file=sys.stderr)
    well = bool(answers) and not silent and not any(answer.get("problems") for answer in answers)
    return EXIT_OK if well else EXIT_FAILED


def _text(answer: Mapping[str, Any]) -> str:
    """What a person wants to know, line by line."""
    lines = [f"{answer['node']}: {_summary(answer)}"]
    lines += [f"  ! {part}: {text}" for part, text in sorted(answer["problems"].items())]
    rows = {
        "running": f"{_duration(answer['uptime_s'])}, process {answer['pid']}, edge_node {answer['version']}",
        "configuration": answer.get("configuration") or "no file",
        "frames": f"{answer['frames']:,} seen, {answer['people']} people in the last one",
        **{name.replace("_", " "): str(value) for name, value in answer["facts"].items()},
        **{name: f"{p['p50_ms']:g} ms, 99 % within {p['p99_ms']:g} ms" for name, p in answer["stages"].items()},
        **{name.replace("_", " "): f"{value:,}" for name, value in sorted(answer["counters"].items())},
    }
    width = max(len(name) for name in rows)
    return "\n".join(harmless(line) for line in [*lines, *(f"  {name:<{width}}  {value}" for name, value in rows.items())])


def _summary(answer: Mapping[str, Any]) -> str:
    if not answer["frames"]:
        return "no frame yet"
    speed = f"{answer['fps']:.1f} frames a second on the {answer['accelerator']}"
    return speed if not answer["problems"] else f"{speed}, with {len(answer['problems'])} problem(s)"


def _duration(seconds: float) -> str:
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds) % 60} s" if minutes else f"{int(seconds)} s"
