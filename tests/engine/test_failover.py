"""The Edge TPU lost and found again, with the stand-in for hardware: no frame is missed, and everything is said."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_node.config.models import Model
from edge_node.engine.create import create_engine
from edge_node.engine.edgetpu_keeper import RetryPolicy
from edge_node.errors import EngineError, ModelError
from edge_node.health import Health
from tests.descriptors import every_descriptor_taken
from tests.simtpu.simtpu import Fault
from tests.simtpu.sysfs import empty_machine, pci_module

AT_ONCE = RetryPolicy(first_s=0.02, longest_s=0.02)


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def created(tpu, cpu_model, health, tmp_path):
    """Creates engines as the node does, and closes them with the test."""
    engines = []

    def create(policy=AT_ONCE, **settings):
        settings = {"name": str(cpu_model), "accelerator": "edgetpu", "threads": 1} | settings
        engines.append(create_engine(Model(**settings), health, policy=policy, root=tmp_path))
        return engines[-1]

    yield create
    for engine in engines:
        engine.close()


def grey(view):
    view[:] = 127


def shapes(heads):
    return heads.heatmap.values.shape


def wait_until(holds, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        (Fault.ABORT, "fallback_abort"),
        (Fault.SEGFAULT, "fallback_crash"),
        (Fault.HANG, "fallback_hang"),
        (Fault.LATE, "fallback_hang"),
        (Fault.ERROR, "fallback_error"),
    ],
)
def test_the_square_in_hand_is_run_on_the_cpu_and_the_edge_tpu_comes_back(created, tpu, health, fault, counted):
    engine = created()
    tpu.control.late_us = 3_000_000
    tpu.control.fault = fault
    assert [i.accelerator for i in engine.infer([grey] * 3, shapes)] == ["cpu"] * 3
    wait_until(lambda: counted in health.report().counters)
    assert health.report().counters[counted] == 1
    wait_until(lambda: engine.accelerator == "edgetpu")
    assert [i.accelerator for i in engine.infer([grey], shapes)] == ["edgetpu"]
    assert "accelerator" not in health.problems()


def test_squares_done_before_the_fault_are_kept(created, tpu):
    engine = created()

    def then_fail(_heads):
        tpu.control.fault = Fault.ABORT if tpu.control.faults == 0 else Fault.NONE

    made_by = [i.accelerator for i in engine.infer([grey] * 5, then_fail)]
    assert made_by[0] == "edgetpu"
    assert made_by[-1] == "cpu"
    assert made_by == sorted(made_by, reverse=True)


def test_a_stick_pulled_out_and_put_back_is_used_again(created, tpu, health):
    engine = created()
    tpu.control.fault = Fault.VANISH
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    wait_until(lambda: "no Edge TPU on USB or PCIe: plug it in" in health.problems().get("accelerator", ""))
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    tpu.control.present = 1
    wait_until(lambda: engine.accelerator == "edgetpu")


def test_a_killed_child_costs_no_square(created, health):
    engine = created()
    os.kill(engine._keeper.current.pid, signal.SIGKILL)
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    wait_until(lambda: "fallback_killed" in health.report().counters)
    wait_until(lambda: engine.accelerator == "edgetpu")


def test_signals_for_the_whole_service_are_left_to_the_node(created, health):
    engine = created()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(engine._keeper.current.pid, number)
    assert [engine.infer([grey], shapes)[0].accelerator for _ in range(5)] == ["edgetpu"] * 5


def test_a_child_that_dies_between_frames_is_noticed(created, health):
    engine = created(policy=RetryPolicy(first_s=60))
    os.kill(engine._keeper.current.pid, signal.SIGKILL)
    wait_until(lambda: health.problems().get("accelerator") == "the Edge TPU failed (killed); the CPU carries on")
    assert engine.accelerator == "cpu"


def test_the_reason_quotes_the_librarys_last_words(created, tpu, health):
    engine = created(policy=RetryPolicy(first_s=60))
    tpu.control.fault = Fault.ABORT
    engine.infer([grey], shapes)
    wait_until(lambda: "accelerator" in health.problems())
    assert "USB transfer error 5" in health.problems()["accelerator"]


def test_faults_leave_no_descriptor_thread_or_zombie_behind(created, tpu):
    engine = created()

    def lose_and_regain(fault):
        tpu.control.fault = fault
        engine.infer([grey], shapes)
        wait_until(lambda: engine.accelerator == "edgetpu")

    def what_there_is():
        zombies = [child for child in children_of(os.getpid()) if not runs(child)]
        return len(list(Path("/proc/self/fd").iterdir())), len(list(Path("/proc/self/task").iterdir())), len(zombies)

    lose_and_regain(Fault.ERROR)
    before = what_there_is()
    for fault in (Fault.ABORT, Fault.SEGFAULT, Fault.ERROR, Fault.HANG):
        lose_and_regain(fault)
    assert what_there_is() == before


def test_one_that_fails_again_and_again_is_tried_ever_more_rarely():
    policy = RetryPolicy(first_s=1, longest_s=60, jitter=0)
    assert [policy.delay_s(n) for n in (1, 2, 3, 7, 8, 5000)] == [1, 2, 4, 60, 60, 60]


def test_waits_are_spread():
    waits = [RetryPolicy(first_s=1, jitter=0.25).delay_s(1) for _ in range(200)]
    assert 0.75 <= min(waits) < 0.9
    assert 1.1 < max(waits) <= 1.25


def test_a_short_recovery_does_not_start_the_waits_afresh(created, tpu):
    engine = created(policy=RetryPolicy(first_s=0.02, longest_s=0.3, settled_s=3600, jitter=0))
    for _ in range(5):
        tpu.control.fault = Fault.ERROR
        engine.infer([grey], shapes)
        lost_at = time.monotonic()
        wait_until(lambda: engine.accelerator == "edgetpu")
    assert time.monotonic() - lost_at >= 0.3


def test_a_new_fault_is_the_last_one_from_then_on(created, tpu, health, monkeypatch):
    monkeypatch.setattr("edge_node.engine.edgetpu_keeper.LOOK_S", 0.2)
    engine = created()
    tpu.control.fault = Fault.ERROR
    engine.infer([grey], shapes)
    wait_until(lambda: float(health.report().facts.get("edgetpu_last_fault_s", 0)) > 1)
    wait_until(lambda: engine.accelerator == "edgetpu")
    tpu.control.open_hangs = 1
    tpu.control.fault = Fault.ERROR
    engine.infer([grey], shapes)
    wait_until(lambda: health.report().counters["fallback_error"] == 2)
    wait_until(lambda: "accelerator" in health.problems())
    assert health.report().facts["edgetpu_last_fault_s"] < 1


def test_the_time_since_the_last_fault_is_known(created, tpu, health, monkeypatch):
    monkeypatch.setattr("edge_node.engine.edgetpu_keeper.LOOK_S", 0.01)
    engine = created()
    tpu.control.fault = Fault.ERROR
    engine.infer([grey], shapes)
    wait_until(lambda: float(health.report().facts.get("edgetpu_last_fault_s", 0)) > 0.1)


def test_the_heat_of_a_module_is_told_and_cooling_takes_it_back(created, health, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_node.engine.edgetpu_keeper.LOOK_S", 0.01)
    pci_module(tmp_path, temperature_c=88)
    created()
    wait_until(lambda: "give it a heat sink" in health.problems().get("edgetpu_temperature", ""))
    assert health.report().facts["edgetpu_temperature_c"] == 88.0
    assert health.report().facts["edgetpu_trip_0_c"] == 85.0
    pci_module(tmp_path, temperature_c=60)
    wait_until(lambda: "edgetpu_temperature" not in health.problems())


@pytest.mark.parametrize(("wanted", "told_c"), [("", 60.0), ("pci:1", 70.0), (":1", 70.0), ("usb", None)])
def test_the_temperature_told_is_of_the_module_that_is_used(created, health, tmp_path, wanted, told_c):
    pci_module(tmp_path, temperature_c=60)
    pci_module(tmp_path, number=1, temperature_c=70)
    created(device=wanted)
    wait_until(lambda: "edgetpu" in health.report().facts)
    time.sleep(0.5)  # it looks as soon as the outcome of the start is told
    assert health.report().facts.get("edgetpu_temperature_c") == told_c


def test_nothing_is_told_of_the_heat_of_a_module_that_is_gone(created, health, tmp_path, monkeypatch):
    def heat():
        return {name for name in health.report().facts if name.startswith(("edgetpu_temperature", "edgetpu_trip"))}

    monkeypatch.setattr("edge_node.engine.edgetpu_keeper.LOOK_S", 0.01)
    node = pci_module(tmp_path)
    created()
    wait_until(lambda: len(heat()) == 4)
    node.unlink()
    wait_until(lambda: not heat())


def test_use_of_the_stock_model_is_a_standing_problem(created, tpu, health):
    tpu.control.refuse_cut = 1
    created()
    assert "its stock output is used" in health.problems()["edgetpu_model"]
    assert health.report().facts["edgetpu_output"] == "stock"


def test_use_of_the_stock_model_is_still_a_problem_after_a_recovery(created, tpu, health):
    tpu.control.refuse_cut = 1
    engine = created()
    tpu.control.fault = Fault.ABORT
    engine.infer([grey], lambda _output: None)
    wait_until(lambda: health.report().counters.get("edgetpu_starts") == 2)
    wait_until(lambda: engine.accelerator == "edgetpu")
    assert "its stock output is used" in health.problems()["edgetpu_model"]


def test_auto_without_an_edge_tpu_is_no_problem(created, tpu, health):
    tpu.control.present = 0
    engine = created(accelerator="auto")
    wait_until(lambda: "edgetpu" in health.report().facts)
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    assert health.problems() == {}


def test_what_waiting_cannot_cure_is_tried_once(created, health, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    created(accelerator="auto")
    wait_until(lambda: "edgetpu" in health.report().facts)
    time.sleep(0.5)  # 25 times the wait between attempts
    assert health.report().counters["edgetpu_start_failures"] == 1


def test_what_is_not_tried_again_is_said_to_want_a_restart(created, health, cpu_model, tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    created()
    assert health.problems()["accelerator"].endswith("names for this system; the CPU carries on until the node is restarted")
    (tmp_path / "own.tflite").symlink_to(cpu_model)
    created(name=str(tmp_path / "own.tflite"))
    assert health.problems()["accelerator"].endswith("edgetpu_compiler own.tflite; the CPU carries on until the node is restarted")


def test_a_mistake_in_the_keepers_own_thread_is_not_swallowed(created, monkeypatch):
    monkeypatch.setattr("edge_node.engine.edgetpu.EdgeTpu.start", lambda _self, _stop: 1 / 0)
    engine = created()
    with pytest.raises(ZeroDivisionError):
        engine.infer([grey], shapes)


def test_a_system_with_no_descriptor_left_for_the_child_costs_no_square(created, health):
    engine = created()
    wait_until(lambda: engine.infer([grey], shapes)[0].accelerator == "edgetpu")
    with every_descriptor_taken():
        os.kill(engine._keeper.current.pid, signal.SIGKILL)
        wait_until(lambda: "cannot be started: Too many open files" in health.problems().get("accelerator", ""))
        assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    wait_until(lambda: engine.infer([grey], shapes)[0].accelerator == "edgetpu")


def test_a_system_with_no_descriptor_left_to_look_for_devices_ends_nothing(created, tmp_path, monkeypatch):
    monkeypatch.setattr("edge_node.engine.edgetpu_keeper.LOOK_S", 0.01)
    empty_machine(tmp_path)
    (tmp_path / "dev").mkdir()
    engine = created()
    with every_descriptor_taken():
        time.sleep(0.3)
        assert engine.infer([grey], shapes)[0].accelerator == "edgetpu"


def test_auto_starts_on_the_cpu_and_moves_over(created, tpu):
    engine = created(accelerator="auto")
    wait_until(lambda: engine.infer([grey], shapes)[0].accelerator == "edgetpu")


def test_asked_for_and_absent_is_said_loudly(created, tpu, health, tmp_path):
    empty_machine(tmp_path)
    tpu.control.present = 0
    assert created().infer([grey], shapes)[0].accelerator == "cpu"
    assert "no Edge TPU on USB or PCIe: plug it in" in health.problems()["accelerator"]


def test_required_and_absent_is_an_error(created, tpu):
    tpu.control.present = 0
    with pytest.raises(EngineError, match=r"model\.require_edgetpu is set, and the Edge TPU cannot be used: no Edge TPU on USB or PCIe"):
        created(require_edgetpu=True)


@pytest.mark.parametrize("accelerator", ["edgetpu", "auto"])
def test_required_and_there_is_used_from_the_first_square_on(created, accelerator):
    assert created(accelerator=accelerator, require_edgetpu=True).infer([grey], shapes)[0].accelerator == "edgetpu"


def test_required_means_the_same_with_auto(created, tpu):
    tpu.control.present = 0
    with pytest.raises(EngineError, match=r"model\.require_edgetpu is set, and the Edge TPU cannot be used: no Edge TPU on USB or PCIe"):
        created(accelerator="auto", require_edgetpu=True)


def test_one_that_hangs_while_it_is_opened_is_a_problem_until_it_starts(created, tpu, health, monkeypatch, caplog):
    monkeypatch.setattr("edge_node.engine.create.FIRST_ATTEMPT_S", 1.0)
    tpu.control.open_hangs = 1
    engine = created()
    assert health.problems()["accelerator"] == "the Edge TPU is not ready after 1 s; the CPU carries on"
    assert "the Edge TPU is not ready after 1 s; the CPU carries on" in caplog.messages
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    wait_until(lambda: tpu.control.open_hangs == 0)  # else it would be the next child that hangs
    (hanging,) = [pid for pid in children_of(os.getpid()) if b"edgetpu_child.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(hanging, signal.SIGKILL)
    wait_until(lambda: engine.accelerator == "edgetpu")
    wait_until(lambda: "accelerator" not in health.problems())


def test_a_required_one_that_is_not_ready_in_time_is_an_error_with_advice(created, tpu, monkeypatch):
    monkeypatch.setattr("edge_node.engine.create.STARTUP_S", 1.0)
    tpu.control.open_hangs = 1
    with pytest.raises(EngineError, match="the Edge TPU cannot be used: it is not ready in time: another port and cable"):
        created(require_edgetpu=True)


def test_required_without_a_library_is_an_error(created, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    with pytest.raises(EngineError, match=r"libedgetpu is not installed \(libedgetpu\.so\.1: cannot open shared object file"):
        created(require_edgetpu=True)


def test_a_cpu_model_under_the_compiled_ones_name_is_refused(created, cpu_model, health, tmp_path):
    for name in ("own.tflite", "own_edgetpu.tflite"):
        (tmp_path / name).symlink_to(cpu_model)
    created(name=str(tmp_path / "own.tflite"))
    assert "own_edgetpu.tflite: not compiled for the Edge TPU; run edgetpu_compiler" in health.problems()["accelerator"]


def test_a_compiled_model_under_the_cpu_ones_name_is_refused(created, compiled_model, tmp_path):
    (tmp_path / "own.tflite").symlink_to(compiled_model)
    with pytest.raises(
        ModelError, match=r"own\.tflite: compiled for the Edge TPU, it cannot run on the CPU; give the model it was compiled from"
    ):
        created(name=str(tmp_path / "own.tflite"))


def test_without_a_compiled_twin_the_cpu_runs_alone_and_says_so(created, cpu_model, health, tmp_path):
    (tmp_path / "own.tflite").symlink_to(cpu_model)
    engine = created(name=str(tmp_path / "own.tflite"))
    assert engine.infer([grey], shapes)[0].accelerator == "cpu"
    assert "own_edgetpu.tflite is not there" in health.problems()["accelerator"]


def run_node(tmp_path, cpu_model, *more):
    settings = [
        "mqtt.enabled=false",
        "camera.source=synthetic",
        f"model.name={cpu_model}",
        "model.accelerator=edgetpu",
        "model.threads=1",
        *more,
    ]
    words = [sys.executable, "-m", "edge_node", "run", *(word for setting in settings for word in ("--set", setting))]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | {"XDG_STATE_HOME": str(tmp_path)})


def runs(pid):
    """Not gone, and not dead either: this machine's init may be slow to reap what it inherits."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] not in "ZX"


def children_of(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task").glob("*/children") for child in child.read_text().split()]


def test_a_required_edge_tpu_that_is_absent_ends_the_node_with_exit_code_1(tpu, tmp_path, cpu_model):
    tpu.control.present = 0
    node = run_node(tmp_path, cpu_model, "model.require_edgetpu=true")
    _, errors = node.communicate(timeout=60)
    assert node.returncode == 1
    assert "model.require_edgetpu is set, and the Edge TPU cannot be used: no Edge TPU" in errors
    assert "the CPU carries on" not in errors
    assert "Traceback" not in errors


def test_a_node_that_waits_for_its_edge_tpu_still_stops_at_once(tpu, tmp_path, cpu_model):
    tpu.control.open_hangs = 1
    node = run_node(tmp_path, cpu_model, "model.require_edgetpu=true")
    wait_until(lambda: tpu.control.open_hangs == 0, seconds=60)
    node.terminate()
    stopped_within_s = 8.0  # 2 s in the journal of an idle machine; what matters here is that it is not the 30 s of an opening
    _, errors = node.communicate(timeout=stopped_within_s)
    assert (node.returncode, "Traceback" in errors) == (0, False)


@pytest.mark.parametrize("busy", [False, True], ids=["working", "hanging in an invoke"])
def test_a_killed_node_takes_its_child_with_it(tpu, tmp_path, cpu_model, busy):
    node = run_node(tmp_path, cpu_model)
    try:
        wait_until(lambda: tpu.control.invokes > 10, seconds=60)
        if busy:
            tpu.control.fault = Fault.HANG
            wait_until(lambda: tpu.control.faults == 1)
        (child,) = children_of(node.pid)
        node.kill()
        wait_until(lambda: not runs(child), seconds=1.0)
    finally:
        node.kill()
        node.communicate()


def test_shared_memory_has_no_name_to_be_left_behind(created):
    engine = created()
    pid = engine._keeper.current.pid
    shared = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "memfd:edge_node-edgetpu (deleted)" in line]
    assert shared
    assert not [path for path in Path("/dev/shm").iterdir() if "edge_node" in path.name]


def test_both_run_the_same_model(created, rng):
    engine = created()
    picture = rng.integers(0, 256, (192, 192, 3), dtype=np.uint8)
    on_edgetpu = engine.infer([lambda view: np.copyto(view, picture)], lambda heads: heads.heatmap.real(heads.heatmap.values))[0]
    engine._keeper.close()
    on_cpu = engine.infer([lambda view: np.copyto(view, picture)], lambda heads: heads.heatmap.real(heads.heatmap.values))[0]
    assert (on_edgetpu.accelerator, on_cpu.accelerator) == ("edgetpu", "cpu")
    assert np.mean(np.abs(on_edgetpu.result - on_cpu.result)) < 1 / 256  # not the same by chance; the bits are another test's
