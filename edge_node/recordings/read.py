"""Reading recordings: files with one pose message a line, plain or gzip, as ``record.path`` writes them."""

import gzip
import logging
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TypeGuard, cast

import numpy as np
import orjson
from pydantic import TypeAdapter, ValidationError

from edge_node.data import KeypointArray, People, Person
from edge_node.errors import RecordingError
from edge_node.sink.messages import VERSION, NamedKeypoint, Pose

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
    try:
        if not path.is_file():
            return path == STANDARD_INPUT
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error
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


def people_of(message: Pose, now_ns: int | None = None) -> People:
    """What the node had said when it wrote ``message``, captured at ``now_ns`` (default: now) of the monotonic clock.

    ``media_ns`` follows the message's ``ts``, and encoding gives the same message again.
    """
    captured_ns = time.monotonic_ns() if now_ns is None else now_ns
    return People(
        seq=message["seq"],
        captured_ns=captured_ns,
        media_ns=round(message["ts"] * 1e9),
        ts=message["ts"],
        width_px=message["width"],
        height_px=message["height"],
        accelerator=message["accelerator"],
        people=tuple(
            Person(id=p["id"], score=p["score"], box=_box(p["box"]), keypoints=keypoints_of(p["keypoints"])) for p in message["people"]
        ),
        recorded_age_ms=message["age_ms"],
    )


def keypoints_of(keypoints: list[float] | list[NamedKeypoint]) -> KeypointArray:
    """float32 [17, 3] of either layout of a message."""
    if _is_named(keypoints):
        return np.array([(k["x"], k["y"], k["score"]) for k in keypoints], np.float32)
    return np.array(keypoints, np.float32).reshape(-1, 3)


def _is_named(keypoints: list[float] | list[NamedKeypoint]) -> TypeGuard[list[NamedKeypoint]]:
    return bool(keypoints) and isinstance(keypoints[0], dict)


def _box(sides: list[float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = sides
    return x0, y0, x1, y1


@cache
def _adapter() -> TypeAdapter[Pose]:
    return TypeAdapter(Pose)


def _message(line: bytes, where: str, strict: bool) -> Pose | None:
    """The message in ``line``; ``None`` when there is none, or, where ``strict``, ``RecordingError`` says why."""
    try:
        value = orjson.loads(line)
        if isinstance(value, dict) and value.get("v") not in (None, VERSION):
            raise RecordingError(f"{where}: a message of version {value['v']}; this program reads version {VERSION}")
        return _adapter().validate_python(value)
    except orjson.JSONDecodeError as error:
        reason = f"not JSON ({error.msg})"
        if strict:
            raise RecordingError(f"{where}: not a recording of edge_node: {reason}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if strict:
            raise RecordingError(f"{where}: not a recording of edge_node: {place}: {first['msg'].lower()}") from error
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
            if not line:
                return
            number += 1
            yield number, line, line.endswith(b"\n")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        file = cast("IO[bytes]", gzip.GzipFile(path)) if is_compressed(path) else path.open("rb")
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}") from error
    with file:
        yield file
