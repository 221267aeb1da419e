"""How many threads the CPU engine uses: measured once on a machine, model, runtime and rhythm, and remembered."""

import contextlib
import hashlib
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

CACHE_FILE = "threads.json"
MEASURE_S = 0.2
"""Time for one candidate, ``RESTS`` rests not counted."""
TURNS = 8
"""Parts in which each candidate gets its time, so that a slow board gets as many runs of each at least."""
REST_S = 0.02
"""A live camera lets the model rest about so long after each frame. Threads that fell asleep meanwhile have to be woken, which may take
longer than they save: on two virtual cores, two threads were 1.5 times as fast as one in a row, and 0.8 times after 10 ms of rest."""
RESTS = 16
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
    """All candidates in turns, so that a machine that is slow for a while is so for each."""
    candidates = sorted({1, (cores + 1) // 2, cores - 1, cores})
    squares: list[Callable[[], None]] = []
    for threads in (*candidates, *[1] * (cores - 1)):
        if give_up():
            return ThreadPlan(1, 1)
        squares.append(open_square(threads))
    alone, beside = squares[: len(candidates)], [squares[0], *squares[len(candidates) :]]
    solo: dict[int, list[float]] = {threads: [] for threads in candidates}
    side_by_side: list[float] = []
    for _ in range(TURNS):
        for times, invoke in zip(solo.values(), alone, strict=True):
            times.extend(_times_s(invoke, rest_s, give_up))
            if give_up():
                return ThreadPlan(1, 1)
        side_by_side += _side_by_side_times_s(beside, rest_s, give_up)
    return _fastest({threads: _usual_s(times, rest_s) for threads, times in solo.items()}, _usual_s(side_by_side, rest_s) / cores, cores)


def _fastest(solo_s: Mapping[int, float], side_by_side_s: float, cores: int) -> ThreadPlan:
    """``solo_s``: time of an invoke by threads, fewest first. ``side_by_side_s``: time for each square while every core runs one."""
    best = 1
    for threads, took_s in solo_s.items():
        if took_s < WORTH_IT * solo_s[best]:
            best = threads
    log.info("threads measured: %s ms, side by side %.1f ms", {n: round(s * 1e3, 1) for n, s in solo_s.items()}, side_by_side_s * 1e3)
    return ThreadPlan(best, cores if side_by_side_s < WORTH_IT * solo_s[best] else 1)


def _times_s(invoke: Callable[[], None], rest_s: float, give_up: Callable[[], bool]) -> list[float]:
    """Times of the invokes of one turn, one at least."""
    times: list[float] = []
    start = time.perf_counter()
    while not times or (not give_up() and time.perf_counter() - start < (MEASURE_S + RESTS * rest_s) / TURNS):
        if rest_s:
            time.sleep(rest_s)
        before = time.perf_counter()
        invoke()
        times.append(time.perf_counter() - before)
    return times


def _side_by_side_times_s(invokes: list[Callable[[], None]], rest_s: float, give_up: Callable[[], bool]) -> list[float]:
    """The same while every core runs one."""
    with ThreadPoolExecutor(len(invokes)) as workers:
        return list(chain.from_iterable(workers.map(lambda invoke: _times_s(invoke, rest_s, give_up), invokes)))


def _usual_s(times: list[float], rest_s: float) -> float:
    """The median; or, with a rest before each, the upper quartile, for then threads are now quick and now slow."""
    return sorted(times)[len(times) * 3 // 4] if rest_s else statistics.median(times)


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
