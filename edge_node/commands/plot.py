"""``edge-node plot``: a recording or a bench result as a picture."""

import argparse
from pathlib import Path

from edge_node.commands.settings_arguments import add_settings_arguments, loader
from edge_node.errors import EXIT_OK, SinkError, UsageError
from edge_node.filesystem import are_same
from edge_node.pose.skeleton import KEYPOINTS
from edge_node.recordings.plot import check_output, plot_bench, plot_recording, read_bench
from edge_node.recordings.read import read_recording


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, or a result of edge-node bench --json")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="out.png, out.svg or out.pdf")
    parser.add_argument("--joint", choices=KEYPOINTS, default="left_wrist", metavar="JOINT", help="whose path (default: left_wrist)")
    parser.add_argument("--person", type=int, metavar="ID", help="of whom (default: who is seen most)")
    parser.add_argument("--smooth", action="store_true", help="also draw the path smoothed as set (of edge-node record --raw)")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw; returns the exit code."""
    check_output(arguments.output)
    if are_same(arguments.output, arguments.file, SinkError):
        raise UsageError(f"plot: {arguments.output} is what is read; give another -o")
    bench = read_bench(arguments.file)
    if bench:
        plot_bench(bench, arguments.output)
    else:
        smoothing = loader(arguments)().smoothing if arguments.smooth else None
        plot_recording(list(read_recording(arguments.file)), arguments.output, arguments.joint, arguments.person, smoothing)
    print(arguments.output)
    return EXIT_OK
