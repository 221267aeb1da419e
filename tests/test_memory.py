"""Memory that goes back to the system."""

import ctypes
import gc
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_node.memory import give_back, settle

BLOCKS, BLOCK_BYTES = 20_000, 3000
PART_BYTES = 1_000_000


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


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """A library with much code, many constants, and addresses that only the linker writes before nobody may any more."""
    folder = tmp_path_factory.mktemp("library")
    source, path = folder / "library.c", folder / "library.so"
    constants = ",".join(str(number % 251) for number in range(PART_BYTES))
    source.write_text(f"""
        __asm__(".text\\n.globl code\\ncode: .fill {PART_BYTES}, 1, 7\\n.balign 16\\n");
        const unsigned char constants[{PART_BYTES}] = {{{constants}}};
        const unsigned char *const addresses[] = {{constants, constants + 7}};
        const unsigned char *seventh(void) {{ return addresses[1]; }}
    """)
    subprocess.run(["cc", "-shared", "-fPIC", "-Wl,-z,relro", "-o", path, source], check=True)
    return ctypes.CDLL(str(path))


def in_memory_kb(path: str, access: str) -> int:
    """Of files whose path has ``path`` in it, in this process, mapped with this access."""
    mappings = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.MULTILINE)
    wanted = [text for text in mappings if path in text and f" {access} " in text.partition("\n")[0]]
    return sum(int(kb) for text in wanted for kb in re.findall(r"^Rss: +(\d+)", text, re.MULTILINE))


@pytest.mark.parametrize(("part", "access"), [("constants", "r--p"), ("code", "r-xp")])
@pytest.mark.parametrize("let_go", [settle, give_back])
@pytest.mark.usefixtures("unfrozen")
def test_what_was_used_of_a_library_is_let_go_and_comes_back_where_it_is_used_again(
    library: ctypes.CDLL, let_go: Callable[[], None], part: str, access: str
) -> None:
    content = (ctypes.c_ubyte * PART_BYTES).in_dll(library, part)
    used = bytes(content)
    before_kb = in_memory_kb(library._name, access)
    let_go()
    assert before_kb - in_memory_kb(library._name, access) > 0.9 * PART_BYTES / 1024
    assert bytes(content) == used


@pytest.mark.parametrize("let_go", [settle, give_back])
@pytest.mark.usefixtures("unfrozen")
def test_what_the_linker_wrote_stays(library: ctypes.CDLL, let_go: Callable[[], None]) -> None:
    addresses = (ctypes.c_void_p * 2).in_dll(library, "addresses")
    linked = list(addresses)
    let_go()
    assert list(addresses) == linked
    library.seventh.restype = ctypes.c_void_p
    assert library.seventh() == linked[1] == linked[0] + 7


@pytest.mark.usefixtures("unfrozen")
def test_libraries_that_are_loaded_meanwhile_keep_what_the_linker_writes(library: ctypes.CDLL, tmp_path: Path) -> None:
    paths = [shutil.copy(library._name, tmp_path / f"{number}.so") for number in range(20)]
    seen = []

    def load() -> None:
        for path in paths:
            loaded = ctypes.CDLL(str(path))
            loaded.seventh.restype = ctypes.c_void_p
            seen.append(loaded.seventh() - ctypes.addressof(ctypes.c_ubyte.in_dll(loaded, "constants")))

    loader = threading.Thread(target=load)
    loader.start()
    while loader.is_alive():
        settle()
    assert seen == [7] * len(paths)
