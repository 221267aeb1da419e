"""Memory that goes back to the system."""

import ctypes
import os
import sys
from pathlib import Path

import pytest

from edge_node.memory import give_back

BLOCKS, BLOCK_BYTES = 20_000, 3000


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_freed_between_things_that_stay_is_given_back() -> None:
    blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
    kept = blocks[:: BLOCKS // 10] + blocks[-1:]
    del blocks
    before = rss_bytes()
    give_back()
    assert before - rss_bytes() > BLOCKS * BLOCK_BYTES / 2
    assert all(len(block) == BLOCK_BYTES for block in kept)


def test_tuples_that_python_keeps_for_later_are_given_back() -> None:
    tuples = [tuple(n for n in range(3)) for _ in range(3000)]
    del tuples
    before = sys.getallocatedblocks()
    give_back()
    assert before - sys.getallocatedblocks() > 1000
