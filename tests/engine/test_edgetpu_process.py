"""The child process itself: starting that never ends, stopping in the middle of it, and a process that will not die."""

import os
import signal
import time

import pytest

from edge_node.engine import edgetpu_process
from edge_node.engine.edgetpu_process import ChildProcess, ChildSpec, EdgeTpuError, StoppedError
from edge_node.engine.runtime import load_runtime


@pytest.fixture
def child(tpu):
    """A child that is told to open the device; where that succeeds it fails, because there is no model."""
    children = []

    def start():
        children.append(ChildProcess(ChildSpec(runtime=load_runtime().interpreter.__module__)))
        return children[-1]

    yield start
    for one in children:
        one._process.kill()
        one._process.wait()


def test_listing_needs_neither_model_nor_runtime(tpu):
    listed = ChildProcess(ChildSpec(list_only=True)).start()
    assert listed["devices"] == [{"type": "usb", "path": "/sys/bus/usb/devices/2-1"}]
    assert listed["version"] == "BuildLabel(simtpu stand-in), RuntimeVersion(14)"
    assert listed["path"].endswith("/libedgetpu.so.1")


def test_an_opening_that_never_ends_is_given_up_at_the_deadline(child, tpu):
    tpu.control.open_hangs = 1
    started = child()
    with pytest.raises(EdgeTpuError, match="did not start within the deadline; it hung at: open") as failure:
        started.start(deadline_s=4.0)
    assert (failure.value.reason, failure.value.stage) == ("hang", "open")
    assert started.gone()


def test_stopping_does_not_wait_for_an_opening_that_never_ends(child, tpu):
    tpu.control.open_hangs = 1
    stop = os.eventfd(1)
    started = child()
    with pytest.raises(StoppedError):
        started.start(stop)
    os.close(stop)
    assert started.gone()


def test_a_model_that_is_none_fails_at_building(child):
    with pytest.raises(EdgeTpuError) as failure:
        child().start()
    assert (failure.value.reason, failure.value.stage) == ("model", "build")


def test_a_process_whose_end_hangs_is_killed(tpu, monkeypatch, tmp_path):
    monkeypatch.setattr(edgetpu_process, "KILLED_S", 0.5)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    hang = "import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()\n"
    (tmp_path / "no_runtime.py").write_text(f"{hang}raise OSError\n")
    started = ChildProcess(ChildSpec(runtime="no_runtime"))
    with pytest.raises(EdgeTpuError, match="neither goes on nor ends; it hung at: runtime") as failure:
        started.start()
    assert (failure.value.reason, failure.value.stage) == ("hang", "runtime")
    assert started.gone()


def test_an_end_by_a_signal_without_a_name_is_told(child, tpu):
    tpu.control.open_hangs = 1
    started = child()
    os.kill(started.pid, signal.SIGRTMIN + 1)
    started._process.wait()
    assert started.end() == "signal"


def test_a_process_that_cannot_be_killed_is_reported_not_waited_for(child, tpu, monkeypatch):
    monkeypatch.setattr(edgetpu_process, "KILLED_S", 0.2)
    tpu.control.open_hangs = 1
    started = child()
    kill = started._process.kill
    monkeypatch.setattr(started._process, "kill", lambda: None)  # as if it sat in the kernel
    with pytest.raises(EdgeTpuError, match=r"process \d+ cannot be killed, the driver holds it: switch the device off and on"):
        started.start(deadline_s=0.5)
    assert not started.gone()
    kill()
    deadline = time.monotonic() + 5
    while not started.gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)
