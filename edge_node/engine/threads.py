"""How many threads the CPU engine uses: measured once on a machine, model, runtime and rhythm, and remembered."""

import contextlib
import hashlib
import json
import logging
import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

CACHE_FILE = "threads.json"
MEASURE_S = 0.2
"""Time for one candidate, ``RESTS`` rests not counted; a slow board gets three runs of each at least."""
REST_S = 0.02
"""A live camera lets the model rest about so long after each frame. Threads that fell asleep meanwhile have to be woken, which may take
longer than they save: on two virtual cores, two threads were 1.5 times as fast as one in a row, and 0.8 times after 10 ms of rest."""
RESTS = 15
WORTH_IT = 0.95
"""More threads are taken for at most this share of the time."""


@dataclass(frozen=True, slots=True)
class ThreadPlan:
    """``solo_threads``: threads of the interpreter that runs a single square. ``workers``: how many squares run side by side."""

    solo_threads: int
    workers: int

    def __str__(self) -> str:
        threads = "1 thread" if self.solo_threads == 1 else f"{self.solo_threads} threads"
        return threads if self.workers == 1 else f"{threads}, {self.workers} squares side by side"


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def fixed_plan(threads: int) -> ThreadPlan:
    """The plan of a configured number of threads."""
    return ThreadPlan(threads, threads)


def measured_plan(
    open_square: Callable[[int], Callable[[], None]], key: str, cache: Path, *, live: bool, give_up: Callable[[], bool] = lambda: False
) -> ThreadPlan:
    """The fastest plan on this machine, from ``cache`` when it was measured before.

    ``open_square(threads)`` gives a function that runs the model once on an interpreter of its own. ``key`` names model and
    runtime; the machine is added here. ``live``: the model rests between frames, else it runs without a break. ``give_up`` is asked
    after each run: measuring takes seconds, and once it says so any plan will do, and none is kept.
    """
    cores = usable_cores()
    if cores == 1:
        return ThreadPlan(1, 1)
    machine = f"{platform.machine()} {cores} cores {processor()}"
    rhythm = "live" if live else "without a break"
    name = hashlib.sha256(f"{machine} {key} {rhythm}".encode()).hexdigest()[:16]
    path = cache / CACHE_FILE
    known = _read(path)
    plan = _plan_of(known.get(name), cores)
    if plan is None:
        busy = os.getloadavg()[0] > cores / 2
        plan = _measure(open_square, cores, REST_S if live else 0.0, give_up)
        if not busy and not give_up():  # what is measured beside other programs is used once, not kept
            _write(path, {**known, name: {**asdict(plan), "machine": machine, "rhythm": rhythm}})
    return plan


def _measure(open_square: Callable[[int], Callable[[], None]], cores: int, rest_s: float, give_up: Callable[[], bool]) -> ThreadPlan:
    solo_s = {}
    for threads in sorted({1, (cores + 1) // 2, cores - 1, cores}):
        solo_s[threads] = _usual_s(open_square(threads), rest_s, give_up)
        if give_up():
            return ThreadPlan(1, 1)
    best = 1
    for threads in sorted(solo_s):
        if solo_s[threads] < WORTH_IT * solo_s[best]:
            best = threads
    side_by_side_s = _side_by_side_s([open_square(1) for _ in range(cores)], rest_s, give_up) / cores
    workers = cores if side_by_side_s < WORTH_IT * solo_s[best] else 1
    log.info("threads measured: %s ms, side by side %.1f ms", {n: round(s * 1e3, 1) for n, s in solo_s.items()}, side_by_side_s * 1e3)
    return ThreadPlan(best, workers)


def _usual_s(invoke: Callable[[], None], rest_s: float, give_up: Callable[[], bool]) -> float:
    """Time of one invoke: the median; or, with a rest before each, the upper quartile, for then threads are now quick and now slow."""
    times: list[float] = []
    start = time.perf_counter()
    while not times or (not give_up() and (len(times) < 3 or time.perf_counter() - start < MEASURE_S + RESTS * rest_s)):
        if rest_s:
            time.sleep(rest_s)
        before = time.perf_counter()
        invoke()
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) * 3 // 4] if rest_s else statistics.median(times)


def _side_by_side_s(invokes: list[Callable[[], None]], rest_s: float, give_up: Callable[[], bool]) -> float:
    """Time of one invoke while every core runs one."""
    times = [0.0] * len(invokes)

    def run(number: int) -> None:
        times[number] = _usual_s(invokes[number], rest_s, give_up)

    workers = [threading.Thread(target=run, args=(number,)) for number in range(len(invokes))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return statistics.median(times)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor as /proc/cpuinfo gives it, with its family and model where it has them; empty elsewhere.

    A virtual machine may name no more than a brand, under which one processor takes four times as long for an invoke as another.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    values: dict[str, str] = {}
    for line in lines:
        key, _, value = line.partition(":")
        values.setdefault(key.strip(), value.strip())
    name = values.get("model name", values.get("Model", ""))
    kind = " ".join(f"{key.removeprefix('cpu ')} {values[key]}" for key in ("cpu family", "model") if key in values)
    return f"{name} {kind}".strip()


def _plan_of(kept: Any, cores: int) -> ThreadPlan | None:
    if not isinstance(kept, dict):
        return None
    solo, workers = kept.get("solo_threads"), kept.get("workers")
    if type(solo) is int and type(workers) is int and 1 <= solo <= cores and 1 <= workers <= cores:
        return ThreadPlan(solo, workers)
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # not there yet, or damaged: measured again
        return {}
    return kept if isinstance(kept, dict) else {}


def _write(path: Path, kept: dict[str, Any]) -> None:
    scratch = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        scratch.replace(path)
    except OSError as error:  # a cache that is full or read-only: it is measured at every start then
        with contextlib.suppress(OSError):
            scratch.unlink()
        log.warning("the measured threads cannot be kept: %s", error)
