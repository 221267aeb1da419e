"""Standard input, output and error as whoever started the program left them: closed, full, or without a reader."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from edge_node.errors import OutputError

UNWRITABLE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def open_closed_ones() -> None:
    """Have those that are closed (``2>&-``) lead nowhere. Else the next file or socket would take their numbers, and get what libraries
    say, or a recording. Whoever reads or writes by the number is refused as before, but for standard error.
    """
    for number, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # it gets the lowest number that is free
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 - to the end of the process
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the same
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the same


@contextlib.contextmanager
def output_watched() -> Iterator[None]:
    """Raises ``OutputError`` for what is printed within and cannot be written, ``BrokenPipeError`` when its reader went away (head, less).

    Nothing more is written to standard output then.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # when the interpreter does it, nobody can handle what comes of it
    except BrokenPipeError:
        _write_no_more()
        raise
    except OSError as error:
        if error.errno not in UNWRITABLE or error.filename is not None:
            raise
        _write_no_more()
        raise OutputError(f"standard output: {error.strerror}") from error


def _write_no_more() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
