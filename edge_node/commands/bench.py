"""``edge-node bench``: how close the loop is to the bare model, and what everything else costs."""

import argparse
import csv
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_node import log
from edge_node.commands.argument_types import positive
from edge_node.commands.settings_arguments import add_settings_arguments, loader, overrides_of
from edge_node.errors import EXIT_OK, UsageError
from edge_node.interrupt import ended_in_order_when_terminated

COLUMNS = (
    "date", "version", "source", "pace", "model", "runtime", "accelerator", "threads", "people", "inferences_per_frame", "frames",
    "fps", "bare_invoke_fps", "ratio", "spread", "heads_invoke_fps", "invoke_p50_ms", "end_to_end_p50_ms", "end_to_end_p99_ms",
    "beyond_invoke_p50_ms", "beyond_invoke_p99_ms", "beyond_bare_p50_ms", "beyond_bare_p99_ms",
    "cpu_ms_per_frame", "cpu_ratio", "allocated_kb_per_frame", "page_faults_per_frame",
    "rss_mb", "startup_s", "python", "governor", "temperature_c",
)  # fmt: skip
"""Of a row in ``benchmarks/<machine>.csv``."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--source", metavar="S", help="what to look at (default: camera.source); a file is played round and round")
    parser.add_argument("--frames", type=positive, default=200, metavar="N", help="frames of one run (default: 200)")
    parser.add_argument("--runs", type=positive, default=5, metavar="N", help="runs, of which medians are given (default: 5)")
    parser.add_argument("--people", type=positive, metavar="N", help="follow at most so many people (default: pose.max_people)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument("--row", type=Path, metavar="DIR", help="append a row to DIR/<machine>.csv")
    add_settings_arguments(parser)
    parser.epilog = (
        "Blocks of frames through the whole loop alternate with blocks of bare invokes of the same model file on the same threads; "
        "the ratio of their rates is what to compare between machines and versions. The CPU is measured; with --set "
        "model.accelerator=edgetpu the Edge TPU, which must then be there and stay."
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure, print, and append the row."""
    values = {
        "model.accelerator": "cpu",
        "model.require_edgetpu": False,
        "camera.source": arguments.source,
        "pose.max_people": arguments.people,
    }
    config = loader(arguments, overrides_of(values))()
    log.configure(config.log.model_copy(update={"level": "warning"}))
    from edge_node.bench.measure import measure  # noqa: PLC0415 - a wrong configuration is told before the heavy imports
    from edge_node.bench.process import machine  # noqa: PLC0415 - the same

    if arguments.row:
        _row_file(arguments.row, machine().name)  # what cannot be kept is told before the measurement
    with ended_in_order_when_terminated():
        result = asdict(measure(config, arguments.runs, arguments.frames))
    print(json.dumps(result, indent=1) if arguments.json else described(result))
    if arguments.row:
        append_row(arguments.row, result)
    return EXIT_OK


def append_row(folder: Path, result: dict[str, Any]) -> Path:
    """One more row in the machine's file; returns the file. Raises ``UsageError`` when it cannot be written, or is of another kind."""
    path = _row_file(folder, result["machine"]["name"])
    last_byte = path.read_bytes()[-1:]
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if not last_byte:
            writer.writeheader()
        elif last_byte != b"\n":  # a row that was cut, or a hand that left the end of the line out
            file.write("\n")
        writer.writerow(row_of(result))
    return path


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a machine's file, less those that are cut; none where there is no file. Raises ``UsageError`` for any other file."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: not a file of rows: {error}") from None
    if lines and lines[0] != list(COLUMNS):
        raise UsageError(f"{path}: has other columns than are written here; move it away")
    return [dict(zip(COLUMNS, values, strict=True)) for values in lines[1:] if len(values) == len(COLUMNS)]


def _row_file(folder: Path, machine_name: str) -> Path:
    """The machine's file, which can be written and takes these rows: an empty one where there was none."""
    path = folder / f"{machine_name}.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        reason = "is no folder" if folder.is_file() else f"{path.name} cannot be written there: {error.strerror or error}"
        raise UsageError(f"--row {folder}: {reason}") from None
    read_rows(path)
    return path


def row_of(result: dict[str, Any]) -> dict[str, Any]:
    """The columns of one result; empty where there is no value."""
    flat = {**result, **result["machine"], "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")}
    flat["invoke_p50_ms"] = result["stages"]["invoke"]["p50"]
    for name in ("end_to_end", "beyond_invoke", "beyond_bare"):
        for percentile in ("p50", "p99"):
            latency = result[f"{name}_ms"]
            flat[f"{name}_{percentile}_ms"] = latency[percentile] if latency else None
    return {column: "" if flat[column] is None else flat[column] for column in COLUMNS}


def described(result: dict[str, Any]) -> str:
    """The result, as ``asdict`` has it, for the terminal."""
    machine = result["machine"]
    by_thread = ", ".join(f"{name} {ms}" for name, ms in result["cpu_ms_by_thread"].items())
    names = {
        "bare invoke": "bare_invoke_ms",
        "end to end": "end_to_end_ms",
        "beyond invoke": "beyond_invoke_ms",
        "beyond bare": "beyond_bare_ms",
    }
    latencies = {**result["stages"], **{name: result[key] for name, key in names.items()}}
    table = [f"{name:16}{ms['p50']:9.3f}{ms['p99']:9.3f}" for name, ms in latencies.items() if ms]
    if result["end_to_end_ms"] is None:
        table.append("end to end      not measured: mosquitto is not installed (sudo apt install mosquitto)")
    heads = result["heads_invoke_fps"]
    cut = (
        f"cut at heads{heads:8.1f} frames/s   (the same, of the model as the node runs it; ratio {result['fps'] / heads:.3f})\n"
        if heads
        else ""
    )
    threads = f", {result['threads']} {'thread' if result['threads'] == 1 else 'threads'} for one square" if result["threads"] else ""
    on_cpu = result["accelerator"] == "cpu"
    bare = "of the model file as published" if on_cpu else "of the compiled model as the node runs it, the way to its process included"
    return f"""\
{machine["processor"] or machine["name"]}, {machine["cores"]} cores
{result["runtime"]}{threads}, {result["accelerator"]}
{result["source"]}, {result["people"]} people at most, {result["inferences_per_frame"]} inferences a frame

loop        {result["fps"]:8.1f} frames/s
bare invoke {result["bare_invoke_fps"]:8.1f} frames/s   ({bare})
{cut}ratio       {result["ratio"]:8.3f}   (spread {result["spread"]:.3f} over {len(result["runs"])} runs, {result["frames"]} frames)

milliseconds          p50      p99
{chr(10).join(table)}

processor   {result["cpu_ms_per_frame"]:.2f} ms a frame, {result["cpu_ratio"]:.2f} x the bare model's; by thread: {by_thread}
memory      {result["rss_mb"]:.0f} MB; a frame takes and gives back {result["allocated_kb_per_frame"]:.0f} kB
page faults {result["page_faults_per_frame"]:.1f} a frame
start-up    {result["startup_s"]:.2f} s to the first published pose"""
