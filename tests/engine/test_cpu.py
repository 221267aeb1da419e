"""The CPU engine on the real model, with whichever runtime this environment has."""

import importlib.metadata
import itertools
import os
import threading

import numpy as np
import pytest

from edge_node.config.models import Model
from edge_node.engine import Heads, StockPoses
from edge_node.engine.cpu import CpuEngine, open_cpu_engine
from edge_node.engine.create import create_engine
from edge_node.engine.graph import read_model
from edge_node.engine.runtime import RUNTIMES, load_runtime, why_unusable
from edge_node.engine.threads import ThreadPlan, fixed_plan, measured_plan, processor
from edge_node.errors import EngineError, ModelError
from edge_node.health import Health

RUNTIME = os.environ.get("EDGE_NODE_TEST_RUNTIME", "auto")
"""scripts/test runs these tests once more with tflite-runtime."""


@pytest.fixture(scope="module")
def model(shared):
    return read_model((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes())


@pytest.fixture(scope="module")
def engine(model):
    engine = CpuEngine(model, load_runtime(RUNTIME), ThreadPlan(2, 2))
    yield engine
    engine.close()


def squares(rng, number):
    pictures = rng.integers(0, 256, (number, 192, 192, 3), dtype=np.uint8)
    return [lambda view, picture=picture: np.copyto(view, picture) for picture in pictures]


def copied(heads: Heads) -> list[np.ndarray]:
    return [head.values.copy() for head in (heads.centre, heads.heatmap, heads.offset, heads.regression)]


def test_heads_come_in_their_shapes(engine, rng):
    inference = engine.infer(squares(rng, 1), copied)[0]
    assert [values.shape for values in inference.result] == [(48, 48, 1), (48, 48, 17), (48, 48, 34), (48, 48, 34)]
    assert inference.accelerator == "cpu"
    assert min(inference.sample_ms, inference.invoke_ms, inference.decode_ms) > 0


def test_many_squares_side_by_side_give_what_each_gives_alone(engine, rng):
    fills = squares(rng, 5)
    together = engine.infer(fills, copied)
    alone = [engine.infer([fill], copied)[0] for fill in fills]
    for one, other in zip(together, alone, strict=True):
        for a, b in zip(one.result, other.result, strict=True):
            np.testing.assert_array_equal(a, b)


def test_as_many_threads_as_there_are_cores_take_every_core(model, monkeypatch):
    monkeypatch.setattr("edge_node.engine.cpu.usable_cores", lambda: 2)
    for threads, every_core in ((1, False), (2, True)):
        engine = CpuEngine(model, load_runtime(RUNTIME), fixed_plan(threads))
        assert engine.takes_every_core is every_core
        engine.close()


def test_no_squares_give_nothing(engine):
    assert engine.infer([], copied) == []


def test_the_stock_output_is_one_pose_in_the_square(shared):
    path = str(shared.models / "movenet_single_pose_lightning_ptq.tflite")
    engine = open_cpu_engine(Model(name=path, runtime=RUNTIME, heads="stock", threads=1))
    (inference,) = engine.infer([lambda view: view.fill(90)], lambda stock: (type(stock), stock.keypoints.copy()))
    kind, keypoints = inference.result
    assert kind is StockPoses
    assert keypoints.shape == (1, 17, 3)
    engine.close()


def test_what_goes_wrong_while_sampling_comes_out_and_the_engine_goes_on(engine, rng):
    def broken(view):
        raise ZeroDivisionError("in the middle of a square")

    fills = squares(rng, 3)
    came_out = False
    try:
        engine.infer([fills[0], broken, fills[2]], copied)
    except ZeroDivisionError:  # not pytest.raises: it keeps the traceback, and with it the view of the interpreter's input
        came_out = True
    assert came_out
    assert len(engine.infer(fills, copied)) == 3


def test_a_model_compiled_for_the_edge_tpu_is_refused_on_the_cpu(shared):
    compiled = read_model((shared.models / "movenet_single_pose_lightning_ptq_edgetpu.tflite").read_bytes())
    with pytest.raises(ModelError, match="compiled for the Edge TPU"):
        CpuEngine(compiled, load_runtime(RUNTIME), fixed_plan(1))


def test_runtimes_that_are_not_there_say_what_to_install():
    missing = [name for name in RUNTIMES if why_unusable(name)]
    assert missing, "not all of them can be installed together"
    for name in missing:
        with pytest.raises(EngineError, match=r"pip (un)?install|model\.runtime"):
            load_runtime(name)


def test_a_runtime_installed_by_another_package_tells_its_own_version(monkeypatch):
    def none_of_that_name(package):
        raise importlib.metadata.PackageNotFoundError(package)

    title = load_runtime(RUNTIME).title
    monkeypatch.setattr("importlib.metadata.version", none_of_that_name)
    assert load_runtime(RUNTIME).title == title


def test_measured_threads_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("edge_node.engine.threads.usable_cores", lambda: 2)
    monkeypatch.setattr("edge_node.engine.threads.MEASURE_S", 0.0)
    opened = []

    def open_square(threads):
        opened.append(threads)
        return lambda: None

    plan = measured_plan(open_square, "a model", tmp_path, live=False)
    assert opened == [1, 2, 1]  # with one thread and with two, and the first beside another of its kind
    assert measured_plan(open_square, "a model", tmp_path, live=False) == plan
    assert len(opened) == 3
    for times, damaged in enumerate(("{damaged", "[" * 100_000), start=2):
        (tmp_path / "threads.json").write_text(damaged)
        measured_plan(open_square, "a model", tmp_path, live=False)
        assert len(opened) == 3 * times


def test_a_measurement_that_is_given_up_ends_at_once_and_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("edge_node.engine.threads.usable_cores", lambda: 4)
    runs = []
    plan = measured_plan(lambda threads: lambda: runs.append(threads), "a model", tmp_path, live=True, give_up=lambda: len(runs) >= 2)
    assert (plan, runs) == (ThreadPlan(1, 1), [1, 1])
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_stops_while_threads_are_measured_does_not_wait_for_that(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("edge_node.engine.threads.usable_cores", lambda: 4)
    settings = Model(name="marker", runtime=RUNTIME, accelerator="cpu")
    engine = create_engine(settings, Health(), live=True, give_up=lambda: True)
    assert engine.parallel == 1
    assert list(tmp_path.iterdir()) == []
    engine.close()


def test_a_full_disk_is_left_without_a_trace(tmp_path, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr("edge_node.engine.threads.usable_cores", lambda: 2)
    monkeypatch.setattr("edge_node.engine.threads.MEASURE_S", 0.0)
    (tmp_path / f"threads.{os.getpid()}").symlink_to("/dev/full")
    measured_plan(lambda _: lambda: None, "a model", tmp_path, live=False)
    assert list(tmp_path.iterdir()) == []


class Clock(threading.local):
    """Time that passes by sleeping alone, on each thread for itself: a real sleep takes as long as a busy machine likes."""

    now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("edge_node.engine.threads.time", clock)
    monkeypatch.setattr("edge_node.engine.threads.usable_cores", lambda: 2)
    return clock


@pytest.mark.parametrize(("live", "threads"), [(False, 2), (True, 1)])
def test_threads_are_measured_in_the_rhythm_of_the_source(tmp_path, clock, live, threads):
    def open_square(threads):
        """Two threads are faster in a row, and slower once they fell asleep: as measured on two virtual cores."""
        last_s = -1.0

        def invoke():
            nonlocal last_s
            rested = clock.now_s - last_s > 0.01
            clock.sleep(0.008 if threads == 1 else 0.016 if rested else 0.004)
            last_s = clock.now_s

        return invoke

    assert measured_plan(open_square, "a model", tmp_path, live=live).solo_threads == threads


def test_threads_that_are_now_quick_and_now_slow_beside_a_live_camera_are_not_taken(tmp_path, clock):
    def open_square(threads):
        runs = itertools.count()
        return lambda: clock.sleep(0.008 if threads == 1 else 0.016 if next(runs) % 3 == 0 else 0.004)

    assert measured_plan(open_square, "a model", tmp_path, live=True).solo_threads == 1


@pytest.mark.parametrize(("gain", "threads"), [(0.04, 1), (0.06, 2)])
def test_more_threads_that_win_next_to_nothing_are_not_taken(tmp_path, clock, gain, threads):
    def open_square(threads):
        return lambda: clock.sleep(0.01 * (1 - gain * (threads - 1)))

    assert measured_plan(open_square, "a model", tmp_path, live=False).solo_threads == threads


def test_squares_run_side_by_side_where_that_gains_something(tmp_path, clock):
    def slower_beside(factor):
        """Squares on threads of their own take ``factor`` times as long."""
        main = threading.current_thread()
        return lambda _: lambda: clock.sleep(0.01 if threading.current_thread() is main else 0.01 * factor)

    assert measured_plan(slower_beside(1.8), "a model", tmp_path, live=False) == ThreadPlan(1, 2)
    assert measured_plan(slower_beside(1.95), "another", tmp_path, live=False) == ThreadPlan(1, 1)


@pytest.mark.parametrize("live", [False, True])
def test_a_machine_that_is_slow_for_a_while_is_so_for_every_candidate(tmp_path, clock, live):
    def open_square(_):
        return lambda: clock.sleep(0.02 if clock.now_s < 0.2 else 0.01)

    assert measured_plan(open_square, "a model", tmp_path, live=live).solo_threads == 1


def test_an_unknown_file_is_first_run_in_a_child_and_what_passed_is_remembered(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    content = bytearray((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes())
    own = tmp_path / "own.tflite"
    own.write_bytes(content + b"\0")  # not the manifest's any more, and still a model
    open_cpu_engine(Model(name=str(own), runtime=RUNTIME, threads=1)).close()
    (passed,) = (tmp_path / "edge-node" / "tried").iterdir()
    before = passed.stat().st_mtime_ns
    open_cpu_engine(Model(name=str(own), runtime=RUNTIME, threads=1)).close()
    assert passed.stat().st_mtime_ns == before


def test_the_trial_runs_no_module_of_the_working_directory(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "numpy.py").write_text("raise SystemExit('not numpy')\n")
    monkeypatch.chdir(tmp_path / "here")
    own = tmp_path / "own.tflite"
    own.write_bytes((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes() + b"\0")
    open_cpu_engine(Model(name=str(own), runtime=RUNTIME, threads=1)).close()


def test_a_file_that_kills_the_runtime_is_refused_and_the_node_lives(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    killer = tmp_path / "sitecustomize.py"
    killer.write_text("import os, sys\nif 'edge_node.engine.trial' in sys.orig_argv: os.abort()\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "own.tflite"
    own.write_bytes((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes() + b"\0")
    with pytest.raises(ModelError, match=r"own\.tflite: damaged: it crashes .* \(Aborted\)"):
        open_cpu_engine(Model(name=str(own), runtime=RUNTIME, threads=1))


@pytest.mark.parametrize(
    ("wrong", "heads", "reason"),
    [
        pytest.param(
            {2383756: 255, 2383757: 255, 2383758: 255, 2383759: 127},
            "stock",
            "damaged: the model could not be run: ",
            marks=pytest.mark.skipif(load_runtime(RUNTIME).name != "litert", reason="tflite-runtime 2.14 does not check the indices"),
            id="behind its heads",
        ),
        pytest.param({2399843: 255}, "auto", "damaged: .*utf-8.* codec", id="in a tensor's name"),
    ],
)
def test_a_file_that_loads_and_does_not_run_is_called_damaged_by_its_name(shared, tmp_path, wrong, heads, reason):
    content = bytearray((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes())
    for place, value in wrong.items():
        content[place] = value
    own = tmp_path / "own.tflite"
    own.write_bytes(content)
    with pytest.raises(ModelError, match=rf"own\.tflite: {reason}"):
        open_cpu_engine(Model(name=str(own), runtime=RUNTIME, threads=1, heads=heads))


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\n\nmodel\t\t: 1\n", "AMD EPYC family 25 model 1"),
        ("processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5 Model B\n", "Raspberry Pi 5 Model B"),
        ("processor\t: 0\n", ""),
    ],
)
def test_a_processor_is_named_by_its_kind_where_a_brand_says_too_little(tmp_path, cpuinfo, name):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert processor(file) == name
    assert processor(tmp_path / "absent") == ""
