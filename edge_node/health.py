"""What the node knows of itself: counters, stage latencies, and the problems that stand at the moment.

One ``Health`` is shared by all threads. What it gives out is a frozen ``HealthReport``.
"""

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

NODE = "node"
"""The part whose problem is that a thread failed: the node ends, and nobody asked it to."""
WINDOW = 512
"""Latencies are of the last so many samples of a stage."""


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of one stage, in milliseconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A snapshot. ``problems``: part (``camera``, ``accelerator``, ``mqtt`` …) to one line of text; empty when all is well."""

    uptime_s: float
    fps: float
    frames: int
    people: int
    accelerator: str
    stages: Mapping[str, Percentiles]
    counters: Mapping[str, int]
    facts: Mapping[str, float | str | bool]
    problems: Mapping[str, str]


class Health:
    """Collects from every thread; each call holds the lock for microseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started_ns = time.monotonic_ns()
        self._stages: dict[str, deque[float]] = {}
        self._counters: dict[str, int] = {}
        self._facts: dict[str, float | str | bool] = {}
        self._problems: dict[str, str] = {}
        self._frame_times_ns: deque[int] = deque(maxlen=WINDOW)
        self._frames = 0
        self._people = 0
        self._accelerator = ""

    def frame(self, people: int, accelerator: str, stage_ms: Mapping[str, float]) -> None:
        """A frame was processed."""
        with self._lock:
            self._frames += 1
            self._people = people
            self._accelerator = accelerator
            self._frame_times_ns.append(time.monotonic_ns())
            for stage, ms in stage_ms.items():
                self._sample(stage, ms)

    def stage(self, name: str, ms: float) -> None:
        """One more latency of a stage that is not part of a frame's own (``publish`` …)."""
        with self._lock:
            self._sample(name, ms)

    def count(self, name: str, by: int = 1) -> None:
        """Something happened ``by`` more times: ``mqtt_dropped``, ``camera_reopened``, ``fallback_hang`` …"""
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by

    def fact(self, name: str, value: float | str | bool | None) -> None:
        """A value that is as it is until it is said again (``edgetpu_temperature_c`` …); ``None`` forgets it."""
        with self._lock:
            if value is None:
                self._facts.pop(name, None)
            else:
                self._facts[name] = value

    def fact_of(self, name: str) -> float | str | bool | None:
        """The value last said; ``None`` when there is none."""
        with self._lock:
            return self._facts.get(name)

    def problem(self, part: str, text: str | None) -> bool:
        """``part`` has a problem, or with ``None`` no longer has one. True when this is news."""
        with self._lock:
            before = self._problems.get(part)
            if text is None:
                self._problems.pop(part, None)
            else:
                self._problems[part] = text
            return before != text

    @property
    def accelerator(self) -> str:
        """What the last frame was worked out on; empty before the first."""
        with self._lock:
            return self._accelerator

    @property
    def people(self) -> int:
        """How many were in the last frame."""
        with self._lock:
            return self._people

    def fps(self) -> float:
        """Frames a second, of the last ten seconds."""
        with self._lock:
            now_ns, frame_times_ns = time.monotonic_ns(), list(self._frame_times_ns)
        return _fps(frame_times_ns, now_ns)

    def problems(self) -> dict[str, str]:
        """The problems that stand now."""
        with self._lock:
            return dict(self._problems)

    def report(self) -> HealthReport:
        """Everything, as of now."""
        with self._lock:
            now_ns = time.monotonic_ns()
            frame_times_ns = list(self._frame_times_ns)
            samples_ms = {name: list(samples) for name, samples in self._stages.items()}
            frames, people, accelerator = self._frames, self._people, self._accelerator
            counters, facts, problems = dict(self._counters), dict(self._facts), dict(self._problems)
        return HealthReport(  # outside of the lock: the frame loop takes it, too
            uptime_s=(now_ns - self._started_ns) / 1e9,
            fps=_fps(frame_times_ns, now_ns),
            frames=frames,
            people=people,
            accelerator=accelerator,
            stages={name: _percentiles(samples) for name, samples in samples_ms.items()},
            counters=counters,
            facts=facts,
            problems=problems,
        )

    def _sample(self, stage: str, ms: float) -> None:
        samples = self._stages.get(stage)
        if samples is None:
            samples = self._stages[stage] = deque(maxlen=WINDOW)
        samples.append(ms)


def _fps(frame_times_ns: Sequence[int], now_ns: int) -> float:
    recent = [t for t in frame_times_ns if now_ns - t <= 10_000_000_000]
    if len(recent) < 2:
        return 0.0
    return (len(recent) - 1) * 1e9 / max(now_ns - recent[0], 1)


def _percentiles(samples_ms: Sequence[float]) -> Percentiles:
    # Plain Python: numpy.percentile takes four times as long, in which no other thread runs.
    ordered = sorted(samples_ms)
    return Percentiles(round(_quantile(ordered, 0.5), 3), round(_quantile(ordered, 0.99), 3), round(ordered[-1], 3))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear between the two values on either side, as numpy has it."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
