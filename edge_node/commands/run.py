"""``edge-node run``: the node, until it is stopped or its file ends."""

import argparse
import contextlib
import ctypes
import faulthandler
import os
import sys
from pathlib import Path

from edge_node import log, paths
from edge_node.commands.argument_types import positive
from edge_node.commands.settings_arguments import add_settings_arguments, configuration_file, loader, naming_file
from edge_node.config.settings import Settings
from edge_node.interrupt import ended_at_once_by_ctrl_c

M_ARENA_MAX = -8
"""Of mallopt(3), as <malloc.h> has it."""
LAST_STANDARD_STREAM = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    add_settings_arguments(parser)
    parser.add_argument("--frames", type=positive, metavar="N", help="end after N frames")


def run(arguments: argparse.Namespace) -> int:
    """Run the node on this thread; returns its exit code."""
    _share_memory_between_threads()
    faulthandler.enable()  # systemd's watchdog sends SIGABRT: every thread's stack goes to the journal
    with ended_at_once_by_ctrl_c():
        settings = Settings(loader(arguments), paths.state_directory(), naming_file(arguments))
        log.configure(settings.current.log)
        from edge_node.node import Node  # noqa: PLC0415 - a wrong configuration is told before the heavy imports

    node = Node(settings, arguments.frames, configuration_file(arguments))
    code = node.run()
    if node.restart_wanted:
        leave_no_device_open()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same program anew, with the same arguments
    return code


def leave_no_device_open() -> None:
    """Let no descriptor but the standard streams pass to the next program. OpenCV opens devices so that they would, and where a stalled
    camera holds a thread of ours, that program would find the camera in use.
    """
    for entry in Path("/proc/self/fd").iterdir():
        descriptor = int(entry.name)
        if descriptor > LAST_STANDARD_STREAM:
            with contextlib.suppress(OSError):  # the one by which the list was read
                os.set_inheritable(descriptor, False)


def _share_memory_between_threads() -> None:
    """Have glibc keep two memory arenas instead of up to 16: a camera or broker that comes and goes brings new threads, each of which
    would start one of its own, and memory would grow for days.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)
