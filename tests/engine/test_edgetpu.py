"""The real compiled model through the stand-in Edge TPU: real delegate loading, real child process, everything but the hardware."""

import contextlib
import dataclasses
import functools
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.config.models import Model
from edge_node.engine import StockPoses, edgetpu, edgetpu_process
from edge_node.engine.cpu import open_cpu_engine
from edge_node.engine.create import create_unmixed_engine
from edge_node.engine.edgetpu import LONGEST_DEADLINE_S, Deadline, EdgeTpu, InferenceLostError, read_compiled
from edge_node.engine.edgetpu_process import ChildProcess, EdgeTpuError
from edge_node.engine.edgetpu_reasons import explained
from edge_node.engine.runtime import load_runtime
from edge_node.errors import ModelError
from edge_node.pose.movenet import decode
from tests.simtpu import helper
from tests.simtpu.simtpu import Fault, build_library, compiled_for_runtime
from tests.simtpu.sysfs import pci_module

exact = pytest.mark.skipif(load_runtime().name != "litert", reason="only LiteRT gives the cut CPU model the very heads of the whole one")


@pytest.fixture(scope="module")
def cpu(cpu_model):
    engine = open_cpu_engine(Model(name=str(cpu_model), threads=1))
    yield engine
    engine.close()


@pytest.fixture
def opened(tpu, cpu, compiled_model):
    """Starts engines, and ends them with the test."""
    engines = []

    def start(content=None, **settings):
        settings = Model(**settings)
        model = read_compiled(content or compiled_model.read_bytes(), settings.heads, cpu.closeness)
        engines.append(EdgeTpu(settings, model, load_runtime()).start())
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def stick(tpu, cpu, compiled_model):
    """What starts engines, one after another."""
    return EdgeTpu(Model(), read_compiled(compiled_model.read_bytes(), closeness=cpu.closeness), load_runtime())


@pytest.fixture(scope="module")
def engine(device, cpu, compiled_model):
    """One that is shared by the tests that do it no harm."""
    device.reset()
    model = read_compiled(compiled_model.read_bytes(), closeness=cpu.closeness)
    engine = EdgeTpu(Model(), model, load_runtime()).start()
    yield engine
    engine.close()


def square(picture):
    """The whole picture, letterboxed."""
    scale = 192 / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:192, :192]

    def fill(view):
        view[:] = 0
        view[: small.shape[0], : small.shape[1]] = small

    return fill


def still(path):
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def clip(path, frames):
    video = cv2.VideoCapture(str(path))
    for _ in range(frames):
        found, picture = video.read()
        assert found
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def everyone(output):
    return decode(output, 0.1, 6)


def both(output):
    return decode(output, 0.5, 6)


def unweighted(heads):
    centre = heads.centre.real(heads.centre.values[..., 0])
    return centre / heads.closeness if heads.centre_weighted else centre


def real_heads(heads):
    return [head.real(head.values) for head in (heads.heatmap, heads.offset, heads.regression)]


@pytest.fixture(scope="module")
def from_cpu_heads(cpu, cpu_model, compiled_model):
    """Decodes the CPU model's own heads, its weighted centre among them, run in this process."""
    mind = helper.Heads(cpu_model, compiled_model)
    cut = read_compiled(compiled_model.read_bytes(), closeness=cpu.closeness).cut

    def decoded(fill, decode):
        pixels = np.empty((192, 192, 3), np.uint8)
        fill(pixels)
        values = np.frombuffer(mind.answer((pixels ^ 0x80).tobytes()), np.int8)
        centre, heatmap, _rescaled, offset, regression = np.split(values, np.cumsum([2304 * n for n in (1, 17, 17, 34)]))
        return decode(cut.heads([centre, heatmap, offset, regression]))

    return decoded


@exact
def test_its_heads_are_the_cpu_models_heads_value_for_value(engine, cpu, shared):
    fills = [square(still(shared.stills / name)) for name in ("squat.bmp", "two_people.bmp")]
    for ours, theirs in zip(engine.infer(fills, real_heads), cpu.infer(fills, real_heads), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(ours.result, theirs.result, strict=True))
        assert (ours.accelerator, theirs.accelerator) == ("edgetpu", "cpu")


@exact
def test_a_still_gives_the_keypoints_of_the_cpu_models_heads(engine, from_cpu_heads, shared):
    fill = square(still(shared.stills / "squat.bmp"))
    ours, theirs = engine.infer([fill], everyone)[0].result, from_cpu_heads(fill, everyone)
    assert len(ours.keypoints) == 1
    assert np.array_equal(ours.keypoints, theirs.keypoints)
    assert ours.keypoints[0, :, 2].mean() > 0.4


@exact
@pytest.mark.parametrize("name", ["squats", "dance", "two_people_jumping", "people_one_by_one"])
def test_clips_give_the_keypoints_of_the_cpu_models_heads(engine, from_cpu_heads, shared, name):
    fills = [square(picture) for picture in clip(shared.clips / f"{name}.mp4", 20)]
    for inference, fill in zip(engine.infer(fills, everyone), fills, strict=True):
        ours, theirs = inference.result, from_cpu_heads(fill, everyone)
        assert np.array_equal(ours.keypoints, theirs.keypoints)
        assert np.array_equal(ours.centre, theirs.centre)


@exact
def test_dividing_out_the_weighting_finds_both_people(engine, cpu, shared):
    """The CPU engine has the centre without its weighting: the same two people, at the same joints."""
    fill = square(still(shared.stills / "two_people.bmp"))
    ours, theirs = (runs_it.infer([fill], both)[0].result for runs_it in (engine, cpu))
    assert len(ours.keypoints) == len(theirs.keypoints) == 2
    assert np.array_equal(ours.keypoints, theirs.keypoints)
    assert np.allclose(ours.centre, theirs.centre, atol=0.015)


@exact
def test_the_recovered_centre_is_the_unweighted_one_within_its_quantisation(engine, cpu, shared):
    fills = [square(picture) for picture in clip(shared.clips / "two_people_jumping.mp4", 5)]
    step = 0.00205 / cpu.closeness + 1 / 256
    for ours, theirs in zip(engine.infer(fills, unweighted), cpu.infer(fills, unweighted), strict=True):
        assert np.all((np.abs(ours.result - theirs.result) <= step)[cpu.closeness > 0.05])


@exact
def test_the_stock_output_equals_the_cpu_models(opened, cpu_model, shared):
    fill = square(still(shared.stills / "squat.bmp"))
    stock = open_cpu_engine(Model(name=str(cpu_model), threads=1, heads="stock"))
    ours, theirs = (engine.infer([fill], lambda output: output.keypoints.copy())[0].result for engine in (opened(heads="stock"), stock))
    stock.close()
    assert np.array_equal(ours, theirs)


def test_where_the_cut_is_refused_the_stock_model_is_used_and_said(opened, tpu, shared):
    tpu.control.refuse_cut = 1
    engine = opened()
    assert engine.graph == "stock"
    assert "told to refuse" in engine.description
    assert isinstance(engine.infer([square(still(shared.stills / "squat.bmp"))], lambda output: output)[0].result, StockPoses)


def test_a_refused_cut_is_said_at_every_later_start_too(stick, tpu):
    tpu.control.refuse_cut = 1
    for _ in range(2):
        engine = stick.start()
        engine.close()
        assert engine.graph == "stock"
        assert "was refused (" in engine.note
        assert engine.note in engine.description


@pytest.mark.parametrize("fault", [Fault.ABORT, Fault.ERROR, Fault.SEGFAULT])
def test_one_fault_in_the_first_trial_does_not_cost_the_cut_model(stick, tpu, fault):
    tpu.control.fault = fault
    engine = stick.start()
    engine.close()
    assert (engine.graph, engine.note) == ("heads", None)
    assert engine.failed_trial is not None


def test_a_trial_that_fails_is_logged_by_whoever_starts_engines_not_at_each_attempt(stick, tpu, caplog):
    tpu.control.refuse_cut = 2
    stick.start().close()
    assert not caplog.messages


def test_an_engine_that_nobody_watches_reads_what_its_child_writes(tpu, cpu_model):
    """Else libedgetpu, which writes of its troubles, would wait for a reader in the midst of an invoke."""
    engine = create_unmixed_engine(Model(name=str(cpu_model), accelerator="edgetpu", threads=1))
    standard_error = os.open(f"/proc/{engine.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):  # it is full then
        while True:
            os.write(standard_error, 2048 * b"x\n")
    engine.infer([lambda view: view.fill(127)], lambda _heads: None)
    assert os.write(standard_error, b"x\n") == 2
    os.close(standard_error)
    engine.close()


def test_a_cut_that_fails_its_trial_twice_gives_way_until_the_next_start(stick, tpu):
    tpu.control.refuse_cut = 2  # by abort
    engine = stick.start()
    engine.close()
    assert engine.graph == "stock"
    assert "failed its trial twice" in engine.note
    tpu.control.refuse_cut = 0
    engine = stick.start()
    engine.close()
    assert (engine.graph, engine.note, engine.failed_trial) == ("heads", None, None)


@pytest.mark.parametrize(("wanted", "asked"), [("usb:0", "usb:0"), ("usb", "usb:0"), ("", ":0")])
def test_options_reach_the_library_with_the_index_without_which_they_do_not_count(opened, tpu, wanted, asked):
    opened(device=wanted, edgetpu_options={"Performance": "High"})
    assert set(tpu.control.options.decode().strip(";").split(";")) == {f"device={asked}", "Performance=High"}


def test_many_squares_come_back_in_order(engine, rng):
    pictures = rng.integers(0, 256, (7, 192, 192, 3), dtype=np.uint8)
    fills = [lambda view, p=p: np.copyto(view, p) for p in pictures]
    together = [i.result for i in engine.infer(fills, real_heads)]
    alone = [engine.infer([fill], real_heads)[0].result for fill in fills]
    for a, b in zip(together, alone, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_an_error_of_the_callers_own_leaves_nothing_in_the_pipe(engine, rng):
    one, other = (lambda view, p=p: np.copyto(view, p) for p in rng.integers(0, 256, (2, 192, 192, 3), dtype=np.uint8))
    expected = engine.infer([other], real_heads)[0].result

    def broken(_heads):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.infer([one, one, one], broken)
    assert all(np.array_equal(a, b) for a, b in zip(engine.infer([other], real_heads)[0].result, expected, strict=True))


def black(view):
    view[:] = 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.ABORT, "died"), (Fault.SEGFAULT, "died"), (Fault.HANG, "hang"), (Fault.LATE, "hang"), (Fault.ERROR, "error")],
)
def test_a_fault_is_told_with_what_was_done_before_it(opened, tpu, fault, reason):
    engine = opened()
    tpu.control.late_us = 3_000_000
    decoded = itertools.count()

    def then_fail(_heads):
        if next(decoded) == 0:
            tpu.control.fault = fault
        return "decoded"

    with pytest.raises(InferenceLostError) as lost:
        engine.infer([black] * 6, then_fail)
    assert lost.value.reason == reason
    assert 1 <= len(lost.value.done) < 6
    assert engine.failure is not None


def test_an_engine_that_failed_takes_no_late_answer_for_another_square_s(opened, tpu):
    engine = opened()
    tpu.control.late_us = 1_500_000
    tpu.control.fault = Fault.LATE
    with pytest.raises(InferenceLostError, match="no answer within"):
        engine.infer([black], lambda _heads: None)
    time.sleep(1.0)
    with pytest.raises(InferenceLostError, match="no answer within"):
        engine.infer([black], lambda _heads: None)


def test_a_square_for_an_engine_that_was_ended_wakes_nobody_else(tpu, compiled_model):
    engine = EdgeTpu(Model(), read_compiled(compiled_model.read_bytes()), load_runtime()).start()
    engine.end()
    others = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]  # these get the numbers that it had
    with pytest.raises(InferenceLostError, match="the Edge TPU process is gone"):
        engine.infer([black], lambda _heads: None)
    for other in others:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(other)
        os.close(other)


def test_a_late_answer_within_the_deadline_is_an_answer(opened, tpu):
    engine = opened()
    tpu.control.late_us = 60_000
    tpu.control.fault = Fault.LATE
    assert engine.infer([black], lambda _heads: "there")[0].result == "there"


START_FAULTS = {
    "no library": ({}, {"LD_LIBRARY_PATH": "/nowhere"}, "no_library", "libedgetpu is not installed"),
    "nothing plugged in": ({"present": 0}, {}, "absent", "no Edge TPU on USB or PCIe: plug it in"),
    "does not open": ({"open_failures": 1}, {}, "open", "no Edge TPU on USB or PCIe"),
    "older library's layout": ({"old_layout": 1}, {}, "crash", "built for another TensorFlow Lite"),
    "older runtime": ({"runtime_version": 11}, {}, "model_version", "compiled for Edge TPU runtime 12, libedgetpu offers 11"),
}


@pytest.mark.parametrize("name", START_FAULTS)
def test_what_is_wrong_at_the_start_is_said(opened, tpu, monkeypatch, name):
    control, environment, reason, text = START_FAULTS[name]
    for field, value in control.items():
        setattr(tpu.control, field, value)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(EdgeTpuError, match=text) as failure:
        opened()
    assert failure.value.reason == reason


def test_a_library_that_is_not_libedgetpu_is_named(opened, tmp_path, monkeypatch):
    libm = next(line.split()[-1] for line in Path("/proc/self/maps").read_text(encoding="ascii").splitlines() if "/libm.so" in line)
    (tmp_path / "libedgetpu.so.1").symlink_to(libm)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(EdgeTpuError, match=r"libedgetpu\.so\.1 is not libedgetpu: it has no edgetpu_list_devices"):
        opened()


def test_a_damaged_library_is_not_called_absent(opened, tmp_path, monkeypatch):
    (tmp_path / "libedgetpu.so.1").write_text("text")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(EdgeTpuError, match=r"^libedgetpu\.so\.1 cannot be loaded: .*: install the libedgetpu package") as failure:
        opened()
    assert failure.value.reason == "wrong_library"


@pytest.mark.parametrize(("end", "cause"), [("abort()", "abort"), ("exit(3)", "exit"), ("exit(0)", "exit")])
def test_a_library_that_ends_the_process_while_it_is_loaded_comes_with_advice(opened, tmp_path, monkeypatch, end, cause):
    source = tmp_path / "ends.c"
    source.write_text(f"#include <stdlib.h>\n__attribute__((constructor)) static void loaded(void) {{ {end}; }}\n")
    build_library(tmp_path, source)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(EdgeTpuError, match=rf"^libedgetpu cannot be loaded: .*\({cause}\) at: library: install the libedgetpu package"):
        opened()


@pytest.mark.parametrize(("reason", "stage"), [("abort", "trial"), ("hang", "trial"), ("error", "trial"), ("hang", "library")])
def test_a_fault_in_the_trial_or_while_devices_are_listed_comes_with_advice(tmp_path, reason, stage):
    said = explained(EdgeTpuError(reason, "it went wrong", stage), "", "litert", tmp_path)
    assert str(said).endswith("it went wrong: another port and cable, its own power; or unplug the stick, wait 5 s, plug it in again")
    pci_module(tmp_path)
    said = explained(EdgeTpuError(reason, "it went wrong", stage), "", "litert", tmp_path)
    assert "it went wrong: switch the machine off and on" in str(said)


def test_the_device_is_not_opened_again_while_a_process_that_cannot_be_killed_holds_it(stick, tpu, monkeypatch):
    tpu.control.open_hangs = 1
    with monkeypatch.context() as as_if_it_sat_in_the_kernel:
        as_if_it_sat_in_the_kernel.setattr(subprocess.Popen, "kill", lambda _process: None)
        as_if_it_sat_in_the_kernel.setattr(edgetpu_process, "KILLED_S", 0.1)
        as_if_it_sat_in_the_kernel.setattr(ChildProcess, "start", functools.partialmethod(ChildProcess.start, deadline_s=3.0))
        with pytest.raises(EdgeTpuError, match=r"process \d+ cannot be killed, the driver holds it") as first:
            stick.start()
        held_by = int(str(first.value).split()[1])
        with pytest.raises(EdgeTpuError, match=f"process {held_by} cannot be killed"):
            stick.start()
    os.kill(held_by, signal.SIGKILL)
    os.waitid(os.P_PID, held_by, os.WEXITED | os.WNOWAIT)
    stick.start().close()


def test_a_model_for_a_newer_runtime_is_refused_before_it_is_built(opened, compiled_model):
    with pytest.raises(EdgeTpuError, match="compiled for Edge TPU runtime 15, libedgetpu offers 14: install the libedgetpu package"):
        opened(compiled_for_runtime(compiled_model, 15))


def test_another_index_than_is_there_is_absent(opened):
    with pytest.raises(EdgeTpuError) as failure:
        opened(device="usb:1")
    assert failure.value.reason == "absent"


def test_a_model_for_the_cpu_is_refused(cpu_model):
    with pytest.raises(ModelError, match="not compiled for the Edge TPU; run edgetpu_compiler"):
        read_compiled(cpu_model.read_bytes())


def test_a_model_of_another_size_than_its_twin_is_refused(compiled_model):
    with pytest.raises(ModelError, match="takes 192 pixels, its CPU twin 256; give two files of one model"):
        read_compiled(compiled_model.read_bytes(), twin_size_px=256)


def test_the_weighting_is_taken_only_where_it_fits(compiled_model):
    model = read_compiled(compiled_model.read_bytes(), closeness=np.ones((64, 64), np.float32))
    assert model.cut is not None
    assert model.cut.closeness is None
    assert dataclasses.asdict(model)["needs_runtime"] == 12


def test_a_deadline_a_hair_below_a_second_is_kept_like_any_other(engine):
    with pytest.raises(EdgeTpuError, match="no answer within 1000 ms"):
        engine._child.answer(0.9999997)  # nothing was asked


def test_the_deadline_follows_the_slowest_recent_invoke_within_its_bounds():
    deadline = Deadline(0.007)
    assert deadline.seconds == edgetpu.SHORTEST_DEADLINE_S
    deadline.took(0.4)
    assert deadline.seconds == pytest.approx(1.6)
    deadline.took(1.0)
    assert deadline.seconds == LONGEST_DEADLINE_S
    for _ in range(2000):
        deadline.took(0.007)
    assert deadline.seconds == edgetpu.SHORTEST_DEADLINE_S
