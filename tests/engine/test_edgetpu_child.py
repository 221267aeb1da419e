"""How the child lets its interpreter's tensors lie in memory that its parent sees, without harm to what lies beside them."""

import ctypes
import itertools
import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.config.models import Model
from edge_node.engine.edgetpu import EdgeTpu, read_compiled
from edge_node.engine.edgetpu_child import PAGE, _map, _SharedTensors, _StartError, _stretches
from edge_node.engine.edgetpu_process import ChildProcess, ChildSpec, EdgeTpuError
from edge_node.engine.runtime import load_runtime
from tests.simtpu.simtpu import Fault

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


AT_REST = RESTLESS.replace("invoke = allocate_tensors", "invoke = lambda self: numpy.copyto(self._tensors[-1][1], self._tensors[-1][0])")

FAILING = f"""{AT_REST}

Sound = Interpreter

class Interpreter(Sound):
    left = 4

    def invoke(self):
        self.left -= 1
        if not self.left:
            raise MemoryError("nothing left")
        super().invoke()
"""

PIECES = """
import ctypes
from edge_node.engine.edgetpu_child import LARGE, VERY_LARGE, _in_heap, _map_memory_of, _stretches

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = (ctypes.c_void_p,)
libc.free(libc.malloc(16_000_000))  # glibc raises its own threshold by that
in_heap = lambda: print(_in_heap(_stretches([(libc.malloc(300_000), 300_000)])))
in_heap()
_map_memory_of(LARGE)
in_heap()
_map_memory_of(VERY_LARGE)
in_heap()
"""


@st.composite
def tensors(draw):
    """Address and bytes of tensors beside each other, in no order, with more or less between them."""
    address, found = draw(st.integers(1, 1000)) * 64, []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.integers(1, 5 * PAGE))
        found.append((address, size))
        address += size + draw(st.sampled_from((0, 64, PAGE, 5 * PAGE)))
    return draw(st.permutations(found))


@given(tensors())
def test_stretches_are_the_pages_with_tensors_on_them_and_no_others(tensors):
    wanted = {page for begin, size in tensors for page in range(begin // PAGE, (begin + size - 1) // PAGE + 1)}
    held = [page for stretch in _stretches(tensors) for page in range(stretch.begin // PAGE, stretch.end // PAGE)]
    assert held == sorted(wanted)
    assert all(stretch.begin % PAGE == stretch.end % PAGE == 0 for stretch in _stretches(tensors))


def test_a_tensor_within_another_one_makes_no_stretch_shorter():
    tensors = [(10 * PAGE, 3 * PAGE), (10 * PAGE, 80), (13 * PAGE, 20)]
    assert [(stretch.begin, stretch.end) for stretch in _stretches(tensors)] == [(10 * PAGE, 14 * PAGE)]


@given(tensors())
def test_stretches_lie_in_a_slot_one_behind_the_other(tensors):
    stretches = _stretches(tensors)
    assert stretches[0].at == 0
    for one, other in itertools.pairwise(stretches):
        assert other.at == one.at + one.end - one.begin


class Interpreter:
    """Memory with tensors in it, and something else around them."""

    def __init__(self, offset: int) -> None:
        self._memory = mmap.mmap(-1, 100 * PAGE)
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
        if slot:
            shared.bring_in(slot)
        assert np.array_equal(interpreter.tensor(0), contents[0])
        for number in range(1, len(SIZES)):
            interpreter.tensor(number)[:] = contents[number]
        if slot:
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


def test_pages_that_cannot_be_shared_are_a_failed_start(descriptor):
    os.ftruncate(descriptor, 100 * PAGE)
    memory = memoryview(mmap.mmap(descriptor, 100 * PAGE))
    read_only = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    interpreter = Interpreter(0)
    with pytest.raises(_StartError, match="memory cannot be shared: Permission denied") as failure:
        _map(read_only, memory, _stretches(interpreter.tensors)[0])
    os.close(read_only)
    assert failure.value.reason == "spawn"


def test_tensors_in_the_heap_are_copied_for_something_else_lies_there_too(descriptor, rng):
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    libc.sbrk.argtypes = (ctypes.c_ssize_t,)
    begin = libc.sbrk(sum(SIZES)) + 64
    shared = _SharedTensors(descriptor, 3, [(begin + sum(SIZES[:n]), size) for n, size in enumerate(SIZES[:3])])
    assert shared.first_copied == 0
    memory = mmap.mmap(descriptor, shared.slot_bytes)
    pixels, heads = rng.integers(0, 256, SIZES[0], dtype=np.uint8), rng.integers(0, 256, SIZES[2], dtype=np.uint8)
    memory[shared.places[0] : shared.places[0] + SIZES[0]] = pixels.tobytes()
    shared.bring_in(0)
    assert ctypes.string_at(begin, SIZES[0]) == pixels.tobytes()
    ctypes.memmove(begin + sum(SIZES[:2]), heads.tobytes(), SIZES[2])
    shared.bring_out(0)
    assert memory[shared.places[2] : shared.places[2] + SIZES[2]] == heads.tobytes()


def test_glibc_maps_large_pieces_by_themselves_where_it_had_ceased_to():
    done = subprocess.run([sys.executable, "-c", PIECES], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"]


def test_an_interpreter_does_not_keep_its_tensors_in_the_heap(tpu, compiled_model):
    engine = EdgeTpu(Model(), read_compiled(compiled_model.read_bytes()), load_runtime()).start()
    maps = Path(f"/proc/{engine.pid}/maps").read_text().splitlines()
    engine.close()
    # Slot 0 in the tensors' place, and all of it for the other slots.
    assert len([line for line in maps if "memfd:edge_node-edgetpu" in line and "rw-s" in line]) == 2


def test_the_end_of_the_channel_ends_the_child_even_in_an_invoke_that_never_ends(tpu, compiled_model):
    engine = EdgeTpu(Model(), read_compiled(compiled_model.read_bytes()), load_runtime()).start()
    tpu.control.fault = Fault.HANG
    engine._child.submit(0)
    with pytest.raises(EdgeTpuError, match="no answer within 200 ms"):
        engine._child.answer(0.2)
    engine._child._channel.shutdown(socket.SHUT_RDWR)
    assert engine._child._process.wait(5.0) == 0
    engine.close()


@pytest.fixture
def fake(tpu, tmp_path, monkeypatch):
    """Starts a child on a runtime whose interpreter has two tensors of 5000 bytes in the heap, and copies one into the other."""

    def start(source):
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (tmp_path / "fake_runtime.py").write_text(source)
        child = ChildProcess(ChildSpec(runtime="fake_runtime", slots=3))
        return child, child.start()["layout"]

    return start


@pytest.mark.parametrize("slot", [0, 1, 2])
def test_a_child_with_tensors_in_the_heap_answers_with_what_it_was_given(fake, slot):
    child, layout = fake(AT_REST)
    begin = slot * layout["slot_bytes"]
    for number in (1, 2):
        given = bytes([number]) * 5000
        child.memory[begin + layout["input_at"] : begin + layout["input_at"] + 5000] = given
        child.submit(slot)
        child.answer(5.0)
        assert child.memory[begin + layout["outputs_at"][0] : begin + layout["outputs_at"][0] + 5000] == given
    assert child.end(polite=True) == "exit"


def test_an_invoke_that_fails_as_none_should_ends_the_child_at_once(fake):
    child, _ = fake(FAILING)
    child.submit(0)
    child.answer(5.0)
    child.submit(0)
    with pytest.raises(EdgeTpuError, match="the Edge TPU process is gone"):
        child.answer(5.0)
    assert child.end() == "exit"
    assert child.output[-1] == "MemoryError: nothing left"


def test_an_answer_that_came_before_the_end_is_heard(fake):
    child, _ = fake(AT_REST)
    child.submit(0)
    while not child._entries[1]:
        time.sleep(0.001)
    time.sleep(0.05)
    child._process.kill()
    child._process.wait()
    assert child.answer(1.0) >= 0
    with pytest.raises(EdgeTpuError, match="the Edge TPU process is gone"):
        child.answer(1.0)
    child.end()


def test_a_child_whose_error_nobody_heard_ends_when_asked_to(tpu, compiled_model):
    engine = EdgeTpu(Model(), read_compiled(compiled_model.read_bytes()), load_runtime()).start()
    tpu.control.fault = Fault.ERROR
    engine._child.submit(0)
    while not tpu.control.faults:
        time.sleep(0.001)
    time.sleep(0.05)
    assert engine._child.end(polite=True) == "exit"


def test_an_interpreter_that_moves_its_tensors_is_refused(tpu, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "restless.py").write_text(RESTLESS)
    with pytest.raises(EdgeTpuError, match="the interpreter moves its tensors") as failure:
        ChildProcess(ChildSpec(runtime="restless", slots=3)).start()
    assert (failure.value.reason, failure.value.stage) == ("model", "trial")
