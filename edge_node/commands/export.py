"""``edge-node export``: a recording as CSV, Parquet or COCO results."""

import argparse
from pathlib import Path

from edge_node.errors import EXIT_OK, SinkError, UsageError
from edge_node.filesystem import are_same
from edge_node.recordings.export import FORMATS
from edge_node.recordings.read import STANDARD_INPUT, can_be_read_again, first_message, read_recording

SUFFIXES = {".csv": "csv", ".parquet": "parquet", ".json": "coco"}
DEFAULT_SUFFIXES = {"csv": ".csv", "parquet": ".parquet", "coco": ".coco.json"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording; - is standard input")
    parser.add_argument("--to", choices=sorted(FORMATS), help="the form (default: by the suffix of OUT: .csv .parquet .json)")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="file to write (default: beside FILE, with the form's suffix)")


def run(arguments: argparse.Namespace) -> int:
    """Convert; returns the exit code."""
    form = arguments.to or SUFFIXES.get((arguments.output or Path()).suffix.lower())
    if form is None:
        raise UsageError("export: to what? give --to csv, parquet or coco")
    output = _output(arguments.file, arguments.output, form)
    if are_same(output, arguments.file, SinkError):
        raise UsageError(f"export: {output} is the recording itself; give another -o")
    count = FORMATS[form](read_recording(arguments.file), output)
    print(f"{output}: {count} people")
    return EXIT_OK


def _output(recording: Path, given: Path | None, form: str) -> Path:
    """The file to write. Raises ``UsageError`` where there is no name for it, ``RecordingError`` when ``recording`` is none."""
    again = can_be_read_again(recording)
    if given == STANDARD_INPUT or not (given or again):
        raise UsageError("export: to which file? give -o OUT; it does not write to standard output")
    if again:
        first_message(recording)
    return given or _named_after(recording, DEFAULT_SUFFIXES[form])


def _named_after(recording: Path, suffix: str) -> Path:
    """``hall.csv`` of ``hall.jsonl`` and ``hall.jsonl.gz``; ``hall.1.csv`` of the older ``hall.jsonl.1``, beside which it stands."""
    number = recording.suffix if recording.suffix[1:].isdigit() else ""
    name = recording.name.removesuffix(number).removesuffix(".gz")
    return recording.with_name(Path(name).stem + number + suffix)
