"""Memory that goes back to the system."""

import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_node.memory import give_back, settle

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


@pytest.fixture
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "library.so"
    path.write_bytes(os.urandom(BLOCKS * BLOCK_BYTES))
    return path


@pytest.mark.parametrize("let_go", [settle, give_back])
@pytest.mark.usefixtures("unfrozen")
def test_code_that_was_used_is_let_go_and_comes_back_where_it_is_used_again(file: Path, let_go: Callable[[], None]) -> None:
    with file.open("rb") as opened:
        code = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
    used = bytes(code)
    before = rss_bytes()
    let_go()
    assert before - rss_bytes() > 0.9 * len(used)
    assert code[:] == used


@pytest.mark.usefixtures("unfrozen")
def test_what_a_library_has_changed_of_its_data_stays(file: Path) -> None:
    with file.open("rb") as opened:
        data = mmap.mmap(opened.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    data[:] = changed = os.urandom(len(data))
    settle()
    assert data[:] == changed
