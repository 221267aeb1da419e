"""Memory that the C library keeps for itself after it was freed."""

import ctypes

_LIBRARY = ctypes.CDLL(None)


def give_back() -> None:
    """Have glibc return freed memory to the system. Pictures and arrays of many sizes come and go, and between those that stay its heaps
    grow, ever more slowly, for months, although no more is in use. Takes 0.4 to 4 ms. Does nothing where the C library is another.
    """
    if hasattr(_LIBRARY, "malloc_trim"):
        _LIBRARY.malloc_trim(ctypes.c_size_t(0))
