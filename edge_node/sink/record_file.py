"""A file of lines that a kill at any moment leaves readable: each line goes to the operating system in one write.

With a name that ends in ``.gz`` the lines are compressed, and each is flushed out of the compressor first, so the same holds.
"""

import errno
import fcntl
import logging
import os
import stat
import time
import zlib
from pathlib import Path
from typing import Protocol

from edge_node.errors import RecordingError, SinkError
from edge_node.recordings.read import first_message, is_compressed
from edge_node.sink.record_gzip import GzipLines

log = logging.getLogger(__name__)

GZIP_WINDOW = 31
"""zlib's number for the largest window in a gzip envelope."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)
"""Not every file system has them."""
FIRST_BYTES = b'{"v":'
"""Every line of a recording begins so."""


class LineFile(Protocol):
    """Where lines go."""

    def write(self, line: bytes) -> None:
        """Write one line, its end included. Raises ``OSError``; the file then ends with the line before."""

    def close(self) -> None:
        """Complete the file, on the disk, too."""


class StandardOutput:
    """Lines to whoever reads our standard output. Raises ``SinkError`` when that reader is gone."""

    def __init__(self) -> None:
        self._within_line = False

    def write(self, line: bytes) -> None:
        """See ``LineFile``; what was written of a line cannot be taken back here, so the next one ends it."""
        view = memoryview(b"\n" + line if self._within_line else line)
        try:
            while view:
                view = view[os.write(1, view) :]
                self._within_line = bool(view)
        except BrokenPipeError as error:
            raise SinkError("record: whoever read the standard output has closed it") from error

    def close(self) -> None:
        """Standard output stays open."""


class RotatingFile:
    """Lines to ``path``; beyond ``max_bytes`` or after ``max_age_s`` (0: never) a new file is begun.

    The full file becomes ``path.1``, that one ``path.2`` …, and ``keep`` older files are kept. An existing recording is continued, another
    kind of file is refused. Raises ``SinkError`` when the file cannot be written.
    """

    def __init__(self, path: Path, max_bytes: int, max_age_s: float, keep: int) -> None:
        self._path = path
        self._max_bytes, self._max_age_s, self._keep = max_bytes, max_age_s, keep
        self._compressed = path.suffix == ".gz"
        self._handle = -1
        self._gzip: GzipLines | None = None
        try:
            self._refuse_foreign()
            self._refuse_shared()
            if self._compressed:
                self._shift()  # a compressed file that was cut off could not be continued
            self._open()
        except BlockingIOError as error:
            raise SinkError(f"record.path: {path}: another program records to it; choose another name") from error
        except OSError as error:
            raise SinkError(f"record.path: {path}: cannot be written: {error.strerror}") from error

    def write(self, line: bytes) -> None:
        if self._is_due():
            self.close()
            self._shift()
        if self._handle < 0:
            self._open()
        data = self._gzip.pack(line) if self._gzip else line
        try:
            _write_all(self._handle, data)
        except OSError:
            self._cut_off_half_a_line()
            raise
        if self._gzip:
            self._gzip.written()
        self._bytes += len(data)

    def close(self) -> None:
        if self._handle < 0:
            return
        try:
            if self._gzip and self._bytes:
                _write_all(self._handle, self._gzip.end())
            _to_the_disk(self._handle)
        finally:
            os.close(self._handle)
            self._handle = -1

    def _is_due(self) -> bool:
        too_big = 0 < self._max_bytes <= self._bytes
        too_old = 0 < self._max_age_s <= time.monotonic() - self._begun_s
        return self._bytes > 0 and (too_big or too_old)

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        _lock(self._handle)
        self._bytes = _without_torn_line(self._path, self._handle)
        self._begun_s = time.monotonic() - _age_s(self._path, self._bytes)
        self._gzip = GzipLines() if self._compressed else None

    def _cut_off_half_a_line(self) -> None:
        if os.fstat(self._handle).st_size > self._bytes:
            os.ftruncate(self._handle, self._bytes)

    def _shift(self) -> None:
        """The file becomes ``.1``, and so on; the oldest goes. An empty file is used again: nothing older is given up for it."""
        if not _size(self._path):
            return
        for number in range(self._keep, 0, -1):
            older = self._older(number)
            younger = self._older(number - 1)
            if younger.exists():
                younger.replace(older)

    def _older(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path

    def _refuse_shared(self) -> None:
        """Raise ``BlockingIOError`` before a file that another program records to is moved."""
        if _size(self._path):
            with self._path.open("rb") as file:
                _lock(file.fileno())

    def _refuse_foreign(self) -> None:
        if not _size(self._path):
            return
        if is_compressed(self._path) != self._compressed:
            kind = "not compressed" if self._compressed else "compressed"
            raise SinkError(f"record.path: {self._path}: exists and is {kind}; choose another name")
        try:
            if not _is_one_torn_line(self._path, self._compressed):
                first_message(self._path)
        except RecordingError as error:
            raise SinkError(f"record.path: {self._path}: exists and is no recording; choose another name") from error


def _is_one_torn_line(path: Path, compressed: bool) -> bool:
    """A power cut during the very first line, or, compressed, an end before it."""
    with path.open("rb") as file:
        start = file.read(1_000_000)
    if compressed:
        try:
            start = zlib.decompressobj(wbits=GZIP_WINDOW).decompress(start, 1_000_000)
        except zlib.error:
            return False
    return start.startswith(FIRST_BYTES[: len(start)]) and b"\n" not in start


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _age_s(path: Path, size: int) -> float:
    """How long ago the first of its messages was made, as far as the clock can be trusted."""
    try:
        return max(0.0, time.time() - first_message(path)["ts"]) if size else 0.0
    except RecordingError:
        return 0.0


def _without_torn_line(path: Path, handle: int) -> int:
    """Cut off what follows the last line end (a power cut can leave that); returns the file's size."""
    size = os.fstat(handle).st_size
    if not size or path.suffix == ".gz":
        return size
    with path.open("rb") as file:
        file.seek(max(0, size - 1_000_000))
        tail = file.read()
    torn = len(tail) - (tail.rfind(b"\n") + 1)
    if torn:
        log.warning("%s: its last line was cut off; recording goes on after the line before", path)
        os.ftruncate(handle, size - torn)
        return size - torn
    return size


def _lock(handle: int) -> None:
    """For as long as ``handle`` is open nobody else records here: two would cut off and move away each other's lines.

    Raises ``BlockingIOError`` when another program does.
    """
    if _is_regular(handle):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise


def _to_the_disk(handle: int) -> None:
    if _is_regular(handle):  # a pipe or device has none
        os.fsync(handle)


def _is_regular(handle: int) -> bool:
    return stat.S_ISREG(os.fstat(handle).st_mode)


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
