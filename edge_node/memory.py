"""Memory that is kept although nobody needs it any more: freed by Python and the C library, or used by the start alone."""

import contextlib
import ctypes
import gc
import mmap
from pathlib import Path

_LIBRARY = ctypes.CDLL(None)
_MAPPINGS = Path("/proc/self/maps")
_CODE = "r-xp"
"""How a library's code is mapped: it is never written to, so what is in memory is what is in the file."""


def settle() -> None:
    """To be called when everything is made and the first frame is about to come. Takes 2 to 5 ms.

    What Python has made so far stays to the end: looking through it for garbage would cost a frame now and then. Much of the libraries'
    code only the start needed; it is counted as the process's memory all the same, 20 to 40 MB, the more the larger the pieces in which
    the kernel keeps files in memory (Linux 6.18 maps each as a whole).
    """
    gc.freeze()
    _let_go_of_code()


def give_back() -> None:
    """Return freed memory to the system, and code that was used once and no more. Takes 2 to 9 ms.

    Python keeps up to 2000 freed tuples of each length, and takes those made of a generator from elsewhere, so these lists only fill; a
    full collection empties them. Pictures and arrays of many sizes come and go, and between those that stay glibc's heaps grow, ever more
    slowly, for months, although no more is in use. With another C library the heaps stay as they are.
    """
    gc.collect()
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(ctypes.c_size_t(0))
    _let_go_of_code()


def _let_go_of_code() -> None:
    """The kernel maps each piece again where it is used."""
    with contextlib.suppress(OSError):  # no /proc in this sandbox: nothing goes wrong without
        for line in _MAPPINGS.read_text(encoding="utf-8", errors="replace").splitlines():
            addresses, access, _, _, inode, *_ = line.split(maxsplit=5)
            if access == _CODE and inode != "0":
                begin, end = (int(address, 16) for address in addresses.split("-"))
                _LIBRARY.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)
