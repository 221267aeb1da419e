"""Reading recordings: files with one pose message a line, plain or gzip, as ``record.path`` writes them."""

import gzip
import logging
import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from edge_node.data import People
from edge_node.errors import MessageError, MessageVersionError, RecordingError
from edge_node.filesystem import is_file, stat_of
from edge_node.sink.messages import Pose, people_in, read_pose

log = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
STANDARD_INPUT = Path("-")
LONGEST_LINE = 1_000_000
"""Bytes. 32 people in the longer layout have 70,000; what is longer is not ours and may have no end at all."""


def is_compressed(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def looks_like_recording(path: Path) -> bool:
    """Whether the file begins as a recording does; what it is, reading it will tell.

    Raises ``RecordingError`` when it is there and cannot be read.
    """
    if not is_file(path, RecordingError):
        return False
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise _unreadable(path, error) from error
    return start == GZIP_MAGIC or start.startswith(b"{")


def read_recording(path: Path) -> Iterator[Pose]:
    """Every message of the recording ``path`` (``-``: standard input), in order.

    A last line that was cut off is left out, and so are damaged ones between good ones; both are said in the log. Raises
    ``RecordingError`` when the file cannot be read, is empty, or is no recording.
    """
    damaged, count = 0, 0
    for number, line, complete in _lines(path):
        message = _message(line, f"{path}:{number}", strict=count == 0 and complete)
        if message is not None:
            count += 1
            yield message
        elif complete:
            damaged += 1
        else:
            log.warning("%s: its last line was cut off and is left out", path)
    if damaged:
        log.warning("%s: %d damaged lines are left out", path, damaged)
    if not count:
        raise RecordingError(f"{path}: an empty recording")


def first_message(path: Path) -> Pose:
    """The first message. Raises ``RecordingError`` when ``path`` is no recording."""
    return next(read_recording(path))


def can_be_read_again(path: Path) -> bool:
    """Not so standard input and pipes: what was read of them once is gone. Raises ``RecordingError`` where the system does not tell."""
    found = None if path == STANDARD_INPUT else stat_of(path, RecordingError)
    return path != STANDARD_INPUT and not (found and stat.S_ISFIFO(found.st_mode))


def people_of(message: Pose) -> People:
    """What the node had said when it wrote ``message``, captured now; encoding gives the same message again."""
    return replace(people_in(message, time.monotonic_ns()), recorded_age_ms=message["age_ms"])


def _message(line: bytes, where: str, strict: bool) -> Pose | None:
    """The message in ``line``; ``None`` when there is none, or, where ``strict``, ``RecordingError`` says why."""
    try:
        return read_pose(line)
    except MessageVersionError as error:
        raise RecordingError(f"{where}: {error}") from None
    except MessageError as error:
        if strict:
            raise RecordingError(f"{where}: not a recording of edge_node: {error}") from None
    return None


def _lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Line number, line, and whether it is over: its end is there, or it is too long to wait for that."""
    number, inside_a_long_one = 0, False
    for part in _parts_of_lines(path):
        ends = part.endswith(b"\n")
        if not inside_a_long_one:
            number += 1
            yield number, part, ends or len(part) == LONGEST_LINE
        inside_a_long_one = not ends


def _parts_of_lines(path: Path) -> Iterator[bytes]:
    """Lines, those that are too long in pieces."""
    count = 0
    with _opened(path) as file:
        while True:
            try:
                part = file.readline(LONGEST_LINE)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                log.warning("%s: the compressed file was cut off after line %d", path, count)
                return
            except OSError as error:
                raise _unreadable(path, error) from error
            if not part:
                return
            count += part.endswith(b"\n")
            yield part


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(os.fdopen(0, "rb", closefd=False) if path == STANDARD_INPUT else path.open("rb"))
            compressed = file.peek(2)[:2] == GZIP_MAGIC  # a pipe's first bytes are there once only
        except OSError as error:
            raise _unreadable(path, error) from error
        yield cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=file))) if compressed else file


def _unreadable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(f"{path}: cannot be read: {error.strerror}")
