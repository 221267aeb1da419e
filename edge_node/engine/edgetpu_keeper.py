"""Keeps the Edge TPU at work: starts it, notices its end, waits, tries again, and says all of it in ``health``.

One thread, which lives as long as the engine: the child process is tied to it. The thread that runs frames only takes the engine
that is there (``current``), and says when it failed (``lost``).
"""

import contextlib
import itertools
import logging
import os
import random
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_node.config.models import Model
from edge_node.engine.edgetpu import EdgeTpu, EdgeTpuEngine
from edge_node.engine.edgetpu_discovery import ROOT, TRIP_POINTS, fault_advice, find_hardware, heat_advice
from edge_node.engine.edgetpu_process import EdgeTpuError, StoppedError
from edge_node.engine.edgetpu_reasons import PERMANENT
from edge_node.health import Health
from edge_node.worker import Worker

log = logging.getLogger(__name__)

PART = "accelerator"
MODEL_PART = "edgetpu_model"
HEAT_PART = "edgetpu_temperature"
UNTIL_RESTART = " until the node is restarted"
"""Where nothing is tried again: whoever follows the advice has to do that, too."""
LOOK_S = 5.0
"""How often temperatures are read and ages are told."""
STOP_S = 3.0
ASK_S = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a lost Edge TPU is tried again: after ``first_s``, then twice as long each time up to ``longest_s``, ± ``jitter``.

    Only an engine that worked for ``settled_s`` starts the row afresh, so one that fails again and again is tried ever more
    rarely instead of flapping.
    """

    first_s: float = 1.0
    longest_s: float = 60.0
    settled_s: float = 60.0
    jitter: float = 0.25

    def delay_s(self, failures: int) -> float:
        """Before the attempt that follows so many failures in a row (1 or more)."""
        usual_s = min(self.first_s * 2.0 ** min(failures - 1, 30), self.longest_s)
        return usual_s * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311 - spreads attempts, protects nothing


class Keeper:
    """Owns the Edge TPU's thread. Where ``settings`` expect an Edge TPU its absence is a problem, not just how things are."""

    def __init__(self, edgetpu: EdgeTpu, health: Health, settings: Model, *, policy: RetryPolicy, root: Path = ROOT) -> None:
        self._edgetpu = edgetpu
        self._health = health
        self._expected = settings.expects_edgetpu
        self._required = settings.require_edgetpu
        self._device = settings.device
        self._policy = policy
        self._root = root
        self._current: EdgeTpuEngine | None = None
        self._problem: EdgeTpuError | None = None
        self._tried = threading.Event()
        self._outcome_lock = threading.Lock()
        self._stopping = False
        self._failures = 0
        self._last_fault: float | None = None
        self._looked_at = 0.0
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stop_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._error: BaseException | None = None
        self._worker = Worker("edgetpu", self._run, self._died)
        self._worker.start()

    @property
    def current(self) -> EdgeTpuEngine | None:
        """The engine to use for the next frame; ``None``: the CPU. Raises what ended the keeper's thread, if that failed."""
        if self._error is not None:
            raise self._error
        return self._current

    def lost(self, engine: EdgeTpuEngine) -> None:
        """``engine`` failed (its ``failure`` says how): it is not used any more, and its end is arranged."""
        if self._current is engine:
            self._current = None
        if not self._stopping:
            self._wake()

    def wait_for_first_attempt(self, seconds: float, give_up: Callable[[], bool]) -> None:
        """Wait until the first start succeeded or failed, ``seconds`` at most, or until ``give_up`` says so.

        An Edge TPU that takes longer is a problem until there is an outcome.
        """
        deadline = time.monotonic() + seconds
        while not self._tried.wait(ASK_S) and not give_up():
            if time.monotonic() >= deadline:
                self._not_ready_after(seconds)
                return

    def _not_ready_after(self, seconds: float) -> None:
        with self._outcome_lock:  # an outcome that comes now is told behind this
            if not self._required and not self._tried.is_set():
                self._tell(f"the Edge TPU is not ready after {seconds:.0f} s; the CPU carries on")

    @property
    def trouble(self) -> str:
        """Why there is no ``current`` engine."""
        return str(self._problem or f"it is not ready in time: {fault_advice(find_hardware(self._root), self._device)}")

    def close(self) -> None:
        """End the child and the thread. May be called more than once."""
        if self._stopping:
            return
        self._stopping = True
        os.eventfd_write(self._stop_fd, 1)
        self._wake()
        if self._worker.join(STOP_S):  # else the kernel holds the child; the descriptors die with this process
            os.close(self._wake_fd)
            os.close(self._stop_fd)

    def _wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._one_life()
        except StoppedError:
            pass

    def _died(self, error: BaseException | None) -> None:
        self._error = error
        self._tried.set()

    def _one_life(self) -> None:
        """From one start to the end of what it started, and the wait after it."""
        try:
            engine = self._edgetpu.start(self._stop_fd)
        except EdgeTpuError as error:
            hopeless = error.reason in PERMANENT and self._last_fault is None
            self._not_started(error, until=UNTIL_RESTART if hopeless else "")
            self._pause(None if hopeless else self._policy.delay_s(self._failures))
            return
        self._started(engine)
        began = time.monotonic()
        try:
            self._watch(engine)
        finally:
            self._current = None
            self._ended(engine, time.monotonic() - began)
        if not self._stopping:
            self._pause(self._policy.delay_s(self._failures))

    def _started(self, engine: EdgeTpuEngine) -> None:
        self._problem = None
        self._current = engine
        self._first_outcome()
        self._health.problem(PART, None)
        self._health.count("edgetpu_starts")
        self._health.fact("edgetpu", engine.description)
        self._health.fact("edgetpu_output", engine.graph)
        if engine.failed_trial is not None and engine.note is None:
            log.warning("the Edge TPU failed its first trial and passed the next: %s", engine.failed_trial)
        if self._health.problem(MODEL_PART, engine.note) and engine.note is not None:
            log.warning("Edge TPU: %s", engine.note)
        log.info("the Edge TPU is at work: %s", engine.description)

    def _not_started(self, error: EdgeTpuError, until: str) -> None:
        """``until``: how long that stays so, where that is known."""
        self._failures += 1
        self._problem = error.bare()
        self._first_outcome()
        self._health.fact("edgetpu", str(error))
        self._health.count("edgetpu_start_failures")
        if self._required and self._last_fault is None:
            return  # nothing carries on: whoever waits for the first attempt ends with this error
        if self._expected or self._last_fault is not None:
            self._tell(f"{error}; the CPU carries on{until}")
        elif self._failures == 1:
            log.info("no Edge TPU: %s; the CPU is used%s", error, until)

    def _first_outcome(self) -> None:
        with self._outcome_lock:
            self._tried.set()

    def _watch(self, engine: EdgeTpuEngine) -> None:
        """Until it failed, died or is to be stopped."""
        while not self._stopping and engine.failure is None:
            self._look_around()
            if not engine.watch(self._wake_fd, LOOK_S):
                return
            self._hear_wake()

    def _ended(self, engine: EdgeTpuEngine, worked_s: float) -> None:
        if self._stopping:
            self._end(engine, polite=True)
            return
        cause = self._end(engine, polite=False)
        failure = engine.failure
        reason = failure.reason if failure is not None and failure.reason != "died" else cause
        detail = f": {failure}" if failure is not None and reason == failure.reason else engine.last_words()
        self._failures = 1 if worked_s >= self._policy.settled_s else self._failures + 1
        self._last_fault = time.monotonic()
        self._health.count(f"fallback_{reason}")
        self._health.fact("edgetpu", f"failed: {reason}")
        self._health.fact("edgetpu_output", None)
        self._health.fact("edgetpu_last_fault_s", 0.0)  # the next look around may come only after a start that hangs for half a minute
        self._tell(f"the Edge TPU failed ({reason}{detail}); the CPU carries on")

    def _end(self, engine: EdgeTpuEngine, *, polite: bool) -> str:
        """End it, however long the kernel takes to let go; nothing else may open the device before."""
        try:
            return engine.end(polite=polite)
        except EdgeTpuError as stuck:
            self._tell(str(stuck))
            while not engine.gone():
                self._pause(LOOK_S)
            return stuck.reason

    def _tell(self, text: str) -> None:
        if self._health.problem(PART, text):
            log.warning("%s", text)

    def _pause(self, seconds: float | None) -> None:
        """Wait, for ever with ``None``. Raises ``StoppedError`` when the node stops meanwhile."""
        until = None if seconds is None else time.monotonic() + seconds
        while not self._stopping and (until is None or time.monotonic() < until):
            self._look_around()
            left_s = LOOK_S if until is None else min(LOOK_S, until - time.monotonic())
            self._wait_for_wake(max(left_s, 0.0))
        if self._stopping:
            raise StoppedError("the node stops")

    def _wait_for_wake(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        poll.poll(seconds * 1000)
        self._hear_wake()

    def _hear_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake_fd)

    def _look_around(self) -> None:
        """Temperature of a PCIe module, what to do about it, and how long ago the last fault was."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        hardware = find_hardware(self._root)
        module = hardware.module(self._device)
        self._health.fact("edgetpu_temperature_c", module.temperature_c if module else None)
        for number, trip_c in itertools.zip_longest(range(TRIP_POINTS), module.trip_points_c if module else ()):
            self._health.fact(f"edgetpu_trip_{number}_c", trip_c)
        heat = heat_advice(hardware)
        if self._health.problem(HEAT_PART, str(heat) if heat else None) and heat:
            log.warning("%s", heat)
        if self._last_fault is not None:
            self._health.fact("edgetpu_last_fault_s", round(now - self._last_fault, 1))
