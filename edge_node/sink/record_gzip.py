"""Lines as gzip, each of them readable as soon as it is in the file, and none in the way of the next when it does not get there.

Each line is flushed out of the compressor, so a kill leaves a stream without an end that gives every line. The compressor goes on
from what it has seen; a line that could not be written would be missing there for whoever reads the next. Then what is in the file
gets its end, and a new member begins behind it: a gzip file may have any number. The envelope is made here, because the end
is of what was written, which zlib's own could only say by a copy of the compressor for each line.
"""

import struct
import zlib

_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no name, no time, any system."""
_LAST_BLOCK = b"\x03\x00"
"""Ends a stream that a flush has brought to a whole byte."""
_LEVEL = 4
"""Half of the processor time of zlib's usual 6 and 6 % more bytes: a line is too short to look long for what was there before."""
_RAW = -15
"""zlib's number for the largest window without an envelope."""


class GzipLines:
    """What a file gets for each line. ``written`` says of each ``pack`` that it is there."""

    def __init__(self) -> None:
        self._before = _HEAD
        self._compressor = _compressor()
        self._packed: bytes | None = None
        self._check = self._size = 0

    def pack(self, line: bytes) -> bytes:
        """The bytes that put ``line`` behind what was written so far."""
        if self._packed is not None:
            self._give_up()
        self._packed = line
        return self._before + self._compressor.compress(line) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def written(self) -> None:
        """What ``pack`` gave last is in the file."""
        line, self._packed = self._packed or b"", None
        self._before = b""
        self._check = zlib.crc32(line, self._check)
        self._size += len(line)

    def end(self) -> bytes:
        """The bytes that complete what was written."""
        return self._before + _LAST_BLOCK + struct.pack("<II", self._check, self._size & 0xFFFF_FFFF)

    def _give_up(self) -> None:
        """The compressor has seen a line that is not in the file."""
        if self._size:
            self._before = self.end() + _HEAD
        self._compressor = _compressor()
        self._check = self._size = 0


def _compressor() -> "zlib._Compress":
    return zlib.compressobj(_LEVEL, wbits=_RAW)
