"""``python -m edge_node`` is the ``edge-node`` command."""

import sys

from edge_node.interrupt import ended_at_once_by_ctrl_c


def main() -> int:
    """Run the command line; returns the exit code."""
    with ended_at_once_by_ctrl_c():
        from edge_node.cli import main as command_line  # noqa: PLC0415 - Ctrl-C is quiet from here on
    return command_line()


if __name__ == "__main__":
    sys.exit(main())
