"""``edge-node doctor``: looks at everything the node needs on this machine, and says what to type where it is not fine."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from edge_node.commands.settings_arguments import add_settings_arguments, configuration_file, is_of_service, loader
from edge_node.doctor import Finding
from edge_node.errors import EXIT_FAILED, EXIT_OK, UsageError
from edge_node.filesystem import exists, is_folder
from edge_node.log import harmless
from edge_node.setup import service

MARKS = {"fine": "✓", "note": "·", "wrong": "✗"}
PLAIN_MARKS = {"fine": "ok", "note": "--", "wrong": "NO"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    add_settings_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a list of objects: part, state (fine, note, wrong), text, advice")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="look for devices in the sys/ and dev/ of this folder (a copy of a machine's)",
    )
    parser.epilog = "Exit code 0 when nothing is wrong, else 1. The Edge TPU and picamera2 are tried in processes of their own."


def run(arguments: argparse.Namespace) -> int:
    """Print what was found, line by line as it is found."""
    _refuse_unusable_root(arguments.root)
    logging.getLogger("edge_node").addHandler(logging.NullHandler())  # what the parts log on the way is in the findings
    findings = []
    marks = MARKS if (sys.stdout.encoding or "").lower().startswith("utf") else PLAIN_MARKS
    for finding in _examine(arguments):
        findings.append(finding)
        if not arguments.json:
            print(_line(finding, marks), flush=True)
    wrong = sum(finding.state == "wrong" for finding in findings)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1, ensure_ascii=False))
    else:
        print(f"\n{wrong} of {len(findings)} things are wrong" if wrong else "\nall is well")
    return EXIT_FAILED if wrong else EXIT_OK


def _refuse_unusable_root(root: Path) -> None:
    def refusal(text: str) -> UsageError:
        return UsageError(f"doctor: --root {text}")

    if not is_folder(root, refusal):
        raise refusal(f"{root}: no such folder")
    exists(root / "sys", refusal)  # raises where the folder may not be entered


def _examine(arguments: argparse.Namespace) -> Iterator[Finding]:
    from edge_node.doctor.accelerator import examine_accelerator  # noqa: PLC0415 - each imports what may be broken
    from edge_node.doctor.broker import examine_broker  # noqa: PLC0415 - the same
    from edge_node.doctor.software import examine_software  # noqa: PLC0415 - the same
    from edge_node.doctor.surroundings import examine_camera, examine_machine, examine_model  # noqa: PLC0415 - the same

    config = loader(arguments)()
    file = configuration_file(arguments)
    yield Finding("configuration", "fine", str(file) if file else "built-in values: no file given, none in /etc")
    of_service = is_of_service(file)
    sees_all = not of_service or service.look_where_service_looks()
    if not sees_all:
        yield Finding("service", "note", "its models and passwords are for root's eyes; they were not looked at", "sudo edge-node doctor")
    yield from examine_software(config.model)
    if sees_all:
        yield from examine_model(config.model)
    yield from examine_accelerator(config.model, arguments.root, of_service=of_service and os.geteuid() == 0)
    yield from examine_camera(config.camera)
    if sees_all or config.mqtt.username is None:
        yield from examine_broker(config)
    yield from examine_machine(arguments.root, config.model.directory)


def _line(finding: Finding, marks: dict[str, str]) -> str:
    line = harmless(f"{marks[finding.state]} {finding.part:<15} {finding.text}")
    return f"{line}\n{' ' * (len(marks[finding.state]) + 17)}→ {harmless(finding.advice)}" if finding.advice else line
