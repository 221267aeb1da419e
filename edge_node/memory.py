"""Memory that is kept although nobody needs it any more: freed by Python and the C library, or used by the start alone."""

import contextlib
import ctypes
import gc
import mmap
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

_LIBRARY = ctypes.CDLL(None)
_MAPPINGS, _MEMORY = Path("/proc/self/maps"), Path("/proc/self/mem")
_OF_A_FILE = re.compile(r"^(?P<first>[0-9a-f]+)-(?P<behind>[0-9a-f]+) r-[x-]p (?P<offset>[0-9a-f]+) (?P<file>\S+ [1-9]\d*)", re.MULTILINE)
"""What cannot be written to, of files, which device and inode tell apart."""
_HEADER_BYTES = 4096
_ELF_64_BIT = b"\x7fELF\x02"
_HEADER = struct.Struct("32x Q 14x H H")
"""Of a library's header: where the list of its segments is, the size of an entry, and how many there are."""
_SEGMENT = struct.Struct("I I Q Q 8x Q")
"""Of an entry: type, flags, offset in the file, address, size in the file."""
_LOADED, _WRITABLE = 1, 2
"""PT_LOAD and PF_W."""


def settle() -> None:
    """To be called when everything is made and the first frame is about to come. Takes 3 to 7 ms.

    What Python has made so far stays to the end: looking through it for garbage would cost a frame now and then. Much of the libraries'
    code and constants only the start needed; they are counted as the process's memory all the same, 30 to 50 MB, the more the larger the
    pieces in which the kernel keeps files in memory (Linux 6.18 maps each as a whole).
    """
    gc.freeze()
    _let_go_of_libraries()


def give_back() -> None:
    """Return freed memory to the system, and what of libraries was used once and no more. Takes 3 to 10 ms.

    Python keeps up to 2000 freed tuples of each length, and takes those made of a generator from elsewhere, so these lists only fill; a
    full collection empties them. Pictures and arrays of many sizes come and go, and between those that stay glibc's heaps grow, ever more
    slowly, for months, although no more is in use. With another C library the heaps stay as they are.
    """
    gc.collect()
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(ctypes.c_size_t(0))
    _let_go_of_libraries()


def _let_go_of_libraries() -> None:
    """What nobody may write to, the linker included, is the same in the file; the kernel maps each piece again where it is used."""
    with contextlib.suppress(OSError):  # no /proc in this sandbox: nothing goes wrong without
        for begin, end in _unwritten(_MAPPINGS.read_text(encoding="utf-8", errors="replace")):
            _LIBRARY.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def _unwritten(mappings: str) -> Iterator[tuple[int, int]]:
    """First address and the one behind the last of what libraries have for code and constants.

    How a piece is mapped does not tell: the linker writes addresses into some that nobody may write to afterwards, and while it loads a
    library, on whatever thread, all of it is mapped as its first piece, also where data come to lie a moment later. So the library's own
    header is asked.
    """
    library, segments = "", []
    with _MEMORY.open("rb", buffering=0) as memory:
        for mapping in _OF_A_FILE.finditer(mappings):
            first, behind = int(mapping["first"], 16), int(mapping["behind"], 16)
            if int(mapping["offset"], 16) == 0:
                library, segments = mapping["file"], list(_unwritten_segments(memory.fileno(), first))
            if mapping["file"] == library:
                parts = ((max(first, begin), min(behind, end)) for begin, end in segments)
                yield from (part for part in parts if part[0] < part[1])


def _unwritten_segments(memory: int, begin: int) -> Iterator[tuple[int, int]]:
    """Whole pages of segments that are never written to, of the library whose header is at ``begin``; none of what is no library."""
    try:
        content = os.pread(memory, _HEADER_BYTES, begin)
    except OSError:  # not to be read, or unmapped by now
        return
    if not content.startswith(_ELF_64_BIT) or len(content) < _HEADER_BYTES:
        return
    place, entry_bytes, count = _HEADER.unpack_from(content)
    within = range(place, min(place + entry_bytes * count, _HEADER_BYTES - _SEGMENT.size + 1), entry_bytes or 1)
    entries = [_SEGMENT.unpack_from(content, at) for at in within]
    starts = [address for kind, _, offset, address, _ in entries if kind == _LOADED and offset == 0]
    for kind, flags, _, address, size in entries:
        if starts and kind == _LOADED and not flags & _WRITABLE:
            first = begin + address - starts[0]
            yield -(-first // mmap.PAGESIZE) * mmap.PAGESIZE, (first + size) // mmap.PAGESIZE * mmap.PAGESIZE
