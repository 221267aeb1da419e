"""How the child lets its interpreter's tensors lie in memory that its parent sees, without harm to what lies beside them."""

import ctypes
import itertools
import mmap
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engine.edgetpu_child import ALIGNMENT, PAGE, _map, _SharedTensors, _StartError, _stretches
from edge_node.engine.edgetpu_process import ChildProcess, ChildSpec, EdgeTpuError

SIZES = (110_592, 2_304, 39_168, 78_336)
"""Bytes of an input, and of outputs that are smaller and larger than a page."""

RESTLESS = """
import numpy

class Interpreter:
    def __init__(self, **_):
        self._tensors = []

    def allocate_tensors(self):
        self._tensors.append([numpy.zeros(5000, numpy.uint8) for _ in range(2)])

    invoke = allocate_tensors

    def get_input_details(self):
        return [{"index": 0, "dtype": numpy.uint8}]

    def get_output_details(self):
        return [{"index": 1, "dtype": numpy.uint8}]

    def tensor(self, index):
        return lambda: self._tensors[-1][index]

def load_delegate(*_):
    pass
"""


@st.composite
def tensors(draw):
    """Address and bytes of tensors beside each other, in no order, with more or less between them."""
    address, found = draw(st.integers(1, 1000)) * ALIGNMENT, []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.integers(1, 5 * PAGE))
        found.append((address, size))
        gap = draw(st.sampled_from((0, 1, 20, 300)))
        address += -(-size // ALIGNMENT + -gap) * ALIGNMENT
    return draw(st.permutations(found))


@given(tensors())
def test_stretches_hold_every_tensor_and_nothing_else(tensors):
    stretches = _stretches(tensors)
    held = {address for stretch in stretches for address in (stretch.begin, stretch.end)}
    for address, size in tensors:
        assert [stretch for stretch in stretches if stretch.begin <= address and address + size <= stretch.end]
    assert held <= {address for begin, size in tensors for address in (begin, begin + size)}
    covered = sum(stretch.end - stretch.begin for stretch in stretches)
    assert sum(size for _, size in tensors) <= covered <= sum(size for _, size in tensors) + ALIGNMENT * len(tensors)


def test_a_tensor_within_another_one_makes_no_stretch_shorter():
    assert [(stretch.begin, stretch.end) for stretch in _stretches([(640, 500), (640, 80), (1140, 20)])] == [(640, 1160)]


@given(tensors())
def test_a_stretch_is_its_whole_pages_and_its_ends(tensors):
    for stretch in _stretches(tensors):
        first, last = stretch.pages()
        parts = sorted([*stretch.ends(), (first, last)])
        assert (parts[0][0], parts[-1][1]) == (stretch.begin, stretch.end)
        assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
        assert first == last or (first % PAGE, last % PAGE) == (0, 0)
        assert all(end - begin < 2 * PAGE for begin, end in stretch.ends())


@given(tensors())
def test_no_two_stretches_have_a_page_of_a_slot_in_common(tensors):
    stretches = _stretches(tensors)
    for stretch in stretches:
        assert stretch.at % PAGE == stretch.begin % PAGE
    for one, other in itertools.pairwise(stretches):
        assert one.place(one.end - 1) // PAGE < other.at // PAGE


class Interpreter:
    """Memory with tensors in it, and something else around them."""

    def __init__(self, offset: int) -> None:
        self._memory = mmap.mmap(-1, 400_000)
        self._memory[:] = b"x" * len(self._memory)
        begin = ctypes.addressof(ctypes.c_char.from_buffer(self._memory)) + offset
        self.tensors = [(begin + sum(SIZES[:n]), size) for n, size in enumerate(SIZES)]
        self._at = [(offset + sum(SIZES[:n]), size) for n, size in enumerate(SIZES)]

    def tensor(self, number: int) -> np.ndarray:
        at, size = self._at[number]
        return np.frombuffer(self._memory, np.uint8, size, at)

    def around(self) -> set[int]:
        (begin, _), (end, size) = self._at[0], self._at[-1]
        return set(self._memory[:begin] + self._memory[end + size :])


@pytest.fixture
def descriptor():
    opened = os.memfd_create("test")
    yield opened
    os.close(opened)


@pytest.mark.parametrize("offset", [0, 64, PAGE - 64, PAGE + 1984])
@pytest.mark.parametrize("slot", [0, 1, 2])
def test_what_one_side_writes_the_other_reads_in_every_slot(descriptor, rng, slot, offset):
    interpreter = Interpreter(offset)
    shared = _SharedTensors(descriptor, 3, interpreter.tensors)
    memory = mmap.mmap(descriptor, 3 * shared.slot_bytes)

    def parents(number):
        return np.frombuffer(memory, np.uint8, SIZES[number], slot * shared.slot_bytes + shared.places[number])

    for _ in range(2):
        contents = [rng.integers(0, 256, size, dtype=np.uint8) for size in SIZES]
        parents(0)[:] = contents[0]
        shared.bring_in(slot)
        assert np.array_equal(interpreter.tensor(0), contents[0])
        for number in range(1, len(SIZES)):
            interpreter.tensor(number)[:] = contents[number]
        shared.bring_out(slot)
        assert all(np.array_equal(parents(number), contents[number]) for number in range(len(SIZES)))
    assert interpreter.around() == {ord("x")}


def test_what_waits_in_a_slot_survives_an_invoke_on_another(descriptor, rng):
    interpreter = Interpreter(64)
    shared = _SharedTensors(descriptor, 3, interpreter.tensors)
    memory = mmap.mmap(descriptor, 3 * shared.slot_bytes)
    waiting = rng.integers(0, 256, shared.slot_bytes, dtype=np.uint8).tobytes()
    memory[2 * shared.slot_bytes :] = waiting
    shared.bring_in(1)
    interpreter.tensor(1)[:] = 1
    shared.bring_out(1)
    assert memory[2 * shared.slot_bytes :] == waiting


def test_of_a_square_that_is_alone_only_the_ends_are_copied(descriptor):
    interpreter = Interpreter(64)
    shared = _SharedTensors(descriptor, 3, interpreter.tensors)
    assert sum(len(target) for target, _ in shared._before[0]) < 2 * PAGE


def test_pages_that_cannot_be_shared_are_a_failed_start(descriptor):
    os.ftruncate(descriptor, 100 * PAGE)
    read_only = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    with pytest.raises(_StartError, match="memory cannot be shared: Permission denied") as failure:
        _map(read_only, _stretches(Interpreter(0).tensors)[0])
    os.close(read_only)
    assert failure.value.reason == "spawn"


def test_an_interpreter_that_moves_its_tensors_is_refused(tpu, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "restless.py").write_text(RESTLESS)
    with pytest.raises(EdgeTpuError, match="the interpreter moves its tensors") as failure:
        ChildProcess(ChildSpec(runtime="restless", slots=3)).start()
    assert (failure.value.reason, failure.value.stage) == ("model", "trial")
