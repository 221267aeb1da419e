"""``edge-node evaluate``: how right the poses are, on annotated pictures and on sequences with truth."""

import argparse
import json
import sys
from collections.abc import Sequence as Several
from pathlib import Path

from edge_node.commands.argument_types import positive
from edge_node.commands.settings_arguments import add_settings_arguments, loader, overrides_of
from edge_node.config.keys import shown
from edge_node.config.models import Model
from edge_node.config.settings import Settings
from edge_node.engine import Engine
from edge_node.engine.create import create_unmixed_engine
from edge_node.errors import EXIT_OK, UsageError
from edge_node.evaluate.coco import AnnotationError, CocoSet, Picture, read_coco
from edge_node.evaluate.protocols import DEFAULT_INFERENCES, run_protocol
from edge_node.evaluate.report import Report, describe_sequences, describe_stills, sequences_json, stills_json
from edge_node.evaluate.run import SequenceResult, follow, result, together
from edge_node.evaluate.sources import sequences_of
from edge_node.models import EDGETPU_SUFFIX, is_path

FRAMES, FIGURES = 60, 6
_USED = {
    "pictures": {"coco", "annotations", "limit", "protocol"},
    "virtual": {"coco", "annotations", "limit", "frames"},
    "crowd": {"coco", "annotations", "limit", "frames", "figures"},
    "synthetic": {"frames", "figures"},
    "clip": set[str](),
}
"""Which options count for what is measured; all others of these are told to be without effect."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    stills = parser.add_argument_group("annotated pictures")
    stills.add_argument("--coco", type=Path, metavar="DIR", help="a folder with images/ and person_keypoints.json, in COCO's form")
    stills.add_argument("--annotations", type=Path, metavar="FILE", help="the COCO keypoint annotation file, where it is not in DIR")
    stills.add_argument("--limit", type=positive, metavar="N", help="only the first N pictures")
    stills.add_argument(
        "--protocol",
        choices=tuple(DEFAULT_INFERENCES),
        help="boxes: each person's box is given; single: pictures of one person; people: everyone (default)",
    )
    sequences = parser.add_argument_group("sequences whose truth is known")
    sequences.add_argument(
        "--sequence",
        metavar="WHAT",
        help="a clip with truth (a .json file, or a folder of them: docs/evaluate.md); virtual or virtual:MOTION (a camera that moves "
        "over the pictures of --coco: pan, zoom, shake, cuts); crowd (people of --coco crossing); synthetic (the drawn scene)",
    )
    sequences.add_argument(
        "--frames",
        type=positive,
        metavar="N",
        help=f"frames of each sequence made here (default: {FRAMES}; virtual:cuts has 30 of each picture, whatever N)",
    )
    sequences.add_argument("--figures", type=positive, metavar="N", help=f"people of a crowd or of the drawn scene (default: {FIGURES})")
    parser.add_argument(
        "--max-inferences",
        type=positive,
        metavar="N",
        help="runs of the model a picture or frame at most "
        f"(default: people {DEFAULT_INFERENCES['people']}, single {DEFAULT_INFERENCES['single']}, sequences as set; boxes: one a person)",
    )
    parser.add_argument("--model", metavar="NAME", help="a model's name or a .tflite file, in place of model.name of the settings")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    if not (arguments.coco or arguments.sequence):
        raise UsageError("evaluate: nothing to measure on; give --coco DIR or --sequence WHAT")
    _say_what_has_no_effect(arguments)
    settings = Settings(loader(arguments, _own_overrides(arguments)))
    _say_what_is_measured(settings.current.model)
    engine = create_unmixed_engine(settings.current.model)
    try:
        report, text = _sequences(arguments, settings, engine) if arguments.sequence else _stills(arguments, settings, engine)
    finally:
        engine.close()
    print(json.dumps(report, indent=1) if arguments.json else text)
    return EXIT_OK


def _say_what_has_no_effect(arguments: argparse.Namespace) -> None:
    kind = (arguments.sequence or "pictures").partition(":")[0]
    used = _USED.get(kind, _USED["clip"])
    for option in sorted(set().union(*_USED.values()) - used):
        if getattr(arguments, option) is not None:
            of = f"--sequence {arguments.sequence}" if arguments.sequence else "annotated pictures"
            print(f"--{option} has no effect on {of}", file=sys.stderr)
    if kind == "pictures" and arguments.protocol == "boxes" and arguments.max_inferences is not None:
        print("--max-inferences has no effect with --protocol boxes: each person's box is looked at once", file=sys.stderr)


def _say_what_is_measured(model: Model) -> None:
    """The CPU runs a compiled model's twin: that is easily mistaken."""
    if is_path(model.name) and Path(model.name).stem.endswith(EDGETPU_SUFFIX) and not model.expects_edgetpu:
        print(f"{model.name}: its twin for the CPU is measured; for the Edge TPU: --set model.accelerator=edgetpu", file=sys.stderr)


def _own_overrides(arguments: argparse.Namespace) -> list[str]:
    return overrides_of({"pose.max_inferences": arguments.max_inferences, "model.name": arguments.model})


def _stills(arguments: argparse.Namespace, settings: Settings, engine: Engine) -> tuple[Report, str]:
    coco = _coco(arguments)
    pictures = coco.pictures[: arguments.limit]
    if not any(person.labelled and not person.crowd for picture in pictures for person in picture.people):
        print("nobody in these pictures has labelled keypoints: no figure can be had", file=sys.stderr)
    pose = settings.current.pose
    protocol = arguments.protocol or "people"
    budget = pose.max_inferences or DEFAULT_INFERENCES[protocol]
    measured = run_protocol(protocol, pictures, engine, budget, _show_progress, pose=pose)
    _notice(measured.skipped)
    found = (measured, engine.description, len(coco.missing))
    return stills_json(*found), describe_stills(*found)


def _sequences(arguments: argparse.Namespace, settings: Settings, engine: Engine) -> tuple[Report, str]:
    pictures: tuple[Picture, ...] = ()
    if arguments.coco:
        pictures = _readable(_coco(arguments).pictures[: arguments.limit])
    alone = settings.current.pose.max_people == 1
    frames, figures = arguments.frames or FRAMES, arguments.figures or FIGURES
    sequences = sequences_of(arguments.sequence, pictures, frames=frames, figures=figures, alone=alone)
    runs, parts = [], list[SequenceResult]()
    for number, sequence in enumerate(sequences):
        _show_progress(number, len(sequences))
        runs.append(follow(sequence, engine, settings))
        parts.append(result(sequence.name, runs[-1]))
    total = result("all together", together(runs))
    return sequences_json(arguments.sequence, parts, total, engine.description), describe_sequences(parts, total, engine.description)


def _coco(arguments: argparse.Namespace) -> CocoSet:
    coco = read_coco(arguments.coco, arguments.annotations)
    if coco.missing:
        _notice([f"{len(coco.missing)} annotated pictures are not in {arguments.coco}, the first: {shown(coco.missing[0])}"])
    return coco


def _readable(pictures: Several[Picture]) -> tuple[Picture, ...]:
    """Those of ``pictures`` that a sequence can be made of; the others are told of. Raises ``AnnotationError`` when there are none."""
    readable, unreadable = [], []
    for picture in pictures:
        try:
            picture.read()
        except AnnotationError as error:
            unreadable.append(str(error))
        else:
            readable.append(picture)
    if not readable:
        raise AnnotationError(f"no picture could be read; the first: {unreadable[0]}")
    _notice(unreadable)
    return tuple(readable)


def _notice(lines: Several[str]) -> None:
    for line in lines[:5]:
        print(f"left out: {line}", file=sys.stderr)
    if len(lines) > 5:
        print(f"left out: {len(lines) - 5} more", file=sys.stderr)


def _show_progress(done: int, of: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{done + 1} of {of}", end="" if done + 1 < of else "\r\n", file=sys.stderr, flush=True)
