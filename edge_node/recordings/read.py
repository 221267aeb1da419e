"""Reading recordings: files with one pose message a line, plain or gzip, as ``record.path`` writes them."""

import gzip
import logging
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from edge_node.data import People
from edge_node.errors import MessageError, MessageVersionError, RecordingError
from edge_node.filesystem import is_file
from edge_node.sink.messages import Pose, people_in, read_pose

log = logging.getLogger(__name__)

GZIP_MAGIC = b"\x1f\x8b"
STANDARD_INPUT = Path("-")


def is_compressed(path: Path) -> bool:
    """Whether the file begins as gzip does."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def looks_like_recording(path: Path) -> bool:
    """Whether the file begins as a recording does; what it is, reading it will tell.

    Raises ``RecordingError`` when it is there and cannot be read.
    """
    if not is_file(path, RecordingError):
        return path == STANDARD_INPUT
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
    """Line number, line, and whether its end is there."""
    with _opened(path) as file:
        number = 0
        while True:
            try:
                line = file.readline()
            except (EOFError, zlib.error, gzip.BadGzipFile):
                log.warning("%s: the compressed file was cut off after line %d", path, number)
                return
            except OSError as error:
                raise _unreadable(path, error) from error
            if not line:
                return
            number += 1
            yield number, line, line.endswith(b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        if path == STANDARD_INPUT:
            file: IO[bytes] = os.fdopen(0, "rb", closefd=False)
        else:
            file = cast("IO[bytes]", gzip.GzipFile(path)) if is_compressed(path) else path.open("rb")
    except OSError as error:
        raise _unreadable(path, error) from error
    with file:
        yield file


def _unreadable(path: Path, error: OSError) -> RecordingError:
    return RecordingError(f"{path}: cannot be read: {error.strerror}")
