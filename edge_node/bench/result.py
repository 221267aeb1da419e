"""What the benchmark's runs amount to: each run's figures, and their medians."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edge_node import __version__
from edge_node.bench.loop import Alternated, Block
from edge_node.bench.process import NOTHING_USED, Machine, Usage, machine
from edge_node.camera.capture import has_end, is_lossless
from edge_node.camera.source import shown
from edge_node.config.models import Config, Model
from edge_node.data import People
from edge_node.engine import Engine
from edge_node.engine.cpu import CpuEngine
from edge_node.health import Health
from edge_node.models import Accelerator, find_model

STAGES = ("sample", "invoke", "decode", "track", "smooth")


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run. ``fps``: frames through the loop a second. ``bare_invoke_fps``: the most that bare invokes of the model file as it is
    published allow, at as many inferences a frame as the loop made; on an Edge TPU of the compiled model as the node runs it, the way to
    its process included. ``ratio``: the one by the other. ``heads_invoke_fps``: the same for the model as the node runs it on the CPU,
    cut at its heads, which is faster; ``None`` where it is not cut. ``bare_invoke_ms`` is of one square of the model as published.

    ``end_to_end_ms`` is capture to subscriber, ``beyond_invoke_ms`` the same less the frame's own invoke; ``beyond_bare_ms`` are
    percentiles of the same less, for each square, those of ``bare_invoke_ms``: median less median, and what one frame in a hundred takes
    less what one bare invoke in a hundred does. ``None`` without a broker. ``cpu_ms_per_frame`` is of all threads; ``cpu_ratio`` sets it
    against the bare model's for as many inferences.
    """

    fps: float
    bare_invoke_fps: float
    ratio: float
    heads_invoke_fps: float | None
    bare_invoke_ms: Latency
    end_to_end_ms: Latency | None
    beyond_invoke_ms: Latency | None
    beyond_bare_ms: Latency | None
    cpu_ms_per_frame: float
    cpu_ratio: float


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. What ``Run`` has, too, and the percentiles of ``stages``, are medians of the runs; ``spread`` is the largest ratio
    less the smallest.

    ``pace``: ``live``, at the source's own, or ``full``, as fast as the loop takes frames. ``model``: its file's name without the
    ending. ``threads`` is ``None`` on an Edge TPU.
    """

    version: str
    machine: Machine
    source: str
    pace: Literal["live", "full"]
    model: str
    runtime: str
    accelerator: str
    threads: int | None
    people: int
    inferences_per_frame: float
    frames: int
    fps: float
    bare_invoke_fps: float
    ratio: float
    spread: float
    heads_invoke_fps: float | None
    runs: tuple[Run, ...]
    stages: Mapping[str, Latency]
    bare_invoke_ms: Latency
    end_to_end_ms: Latency | None
    beyond_invoke_ms: Latency | None
    beyond_bare_ms: Latency | None
    cpu_ms_per_frame: float
    cpu_ms_by_thread: Mapping[str, float]
    cpu_ratio: float
    allocated_kb_per_frame: float
    page_faults_per_frame: float
    rss_mb: float
    startup_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What ``result_of`` makes the result of."""

    runs: Sequence[Alternated]
    health: Health
    arrivals_ns: Mapping[int, int]
    rss_mb: float
    allocated_kb: float
    startup_s: float


def result_of(config: Config, engine: Engine, measured: Measured) -> Result:
    """The result of one measurement."""
    people = [p for one in measured.runs for p in one.people]
    used, frames = _total([one.loop for one in measured.runs])
    runs = tuple(_run(one, measured.arrivals_ns) for one in measured.runs)
    ratios = [run.ratio for run in runs]
    heads = [run.heads_invoke_fps for run in runs if run.heads_invoke_fps is not None]
    return Result(
        version=__version__,
        machine=machine(),
        source=_source(config, measured.health),
        pace="full" if is_lossless(config.camera) else "live",
        model=_model(config.model, "edgetpu" if config.model.expects_edgetpu else "cpu"),
        runtime=engine.description.split(",")[0],
        accelerator=people[-1].accelerator,
        threads=engine.threads if isinstance(engine, CpuEngine) else None,
        people=config.pose.max_people,
        inferences_per_frame=round(_squares(people), 2),
        frames=frames,
        fps=_median([run.fps for run in runs], 1),
        bare_invoke_fps=_median([run.bare_invoke_fps for run in runs], 1),
        ratio=_median(ratios),
        spread=round(max(ratios) - min(ratios), 3),
        heads_invoke_fps=_median(heads, 1) if heads else None,
        runs=runs,
        stages=_stages(measured.runs, measured.health),
        bare_invoke_ms=_usual([run.bare_invoke_ms for run in runs]),
        end_to_end_ms=_usual_or_none([run.end_to_end_ms for run in runs]),
        beyond_invoke_ms=_usual_or_none([run.beyond_invoke_ms for run in runs]),
        beyond_bare_ms=_usual_or_none([run.beyond_bare_ms for run in runs]),
        cpu_ms_per_frame=_median([run.cpu_ms_per_frame for run in runs], 2),
        cpu_ms_by_thread={name: round(1e3 * s / frames, 2) for name, s in sorted(used.by_thread_s.items()) if 1e3 * s / frames >= 0.01},
        cpu_ratio=_median([run.cpu_ratio for run in runs]),
        allocated_kb_per_frame=round(measured.allocated_kb, 1),
        page_faults_per_frame=round(used.minor_faults / frames, 2),
        rss_mb=round(measured.rss_mb, 1),
        startup_s=round(measured.startup_s, 3),
    )


def _run(one: Alternated, arrivals_ns: Mapping[int, int]) -> Run:
    bare = one.whole or one.bare
    squares = _squares(one.people)
    fps = one.loop.count / one.loop.took_s
    runs_as = one.bare.count / one.bare.took_s / squares
    published = bare.count / bare.took_s / squares
    bare_ms = _latency(bare.each_ms)
    arrived = [p for p in one.people if p.seq in arrivals_ns]
    from_capture = [(arrivals_ns[p.seq] - p.captured_ns) / 1e6 for p in arrived]
    cpu_ms = 1e3 * one.loop.used.cpu_s / one.loop.count
    return Run(
        fps=round(fps, 1),
        bare_invoke_fps=round(published, 1),
        ratio=round(fps / published, 4),
        heads_invoke_fps=round(runs_as, 1) if one.whole else None,
        bare_invoke_ms=bare_ms,
        end_to_end_ms=_latency(from_capture) if arrived else None,
        beyond_invoke_ms=_latency([ms - p.stage_ms["invoke"] for ms, p in zip(from_capture, arrived, strict=True)]) if arrived else None,
        beyond_bare_ms=_beyond_bare(from_capture, arrived, bare_ms) if arrived else None,
        cpu_ms_per_frame=round(cpu_ms, 2),
        cpu_ratio=round(cpu_ms / (1e3 * bare.used.cpu_s / bare.count * squares), 3),
    )


def _beyond_bare(from_capture_ms: Sequence[float], people: Sequence[People], bare_ms: Latency) -> Latency:
    """Each percentile less the bare model's own, for as many squares as the frame had: pauses of the machine meet both."""

    def less(a_square_ms: float) -> Latency:
        return _latency([ms - a_square_ms * len(p.regions) for ms, p in zip(from_capture_ms, people, strict=True)])

    return Latency(less(bare_ms.p50).p50, less(bare_ms.p99).p99)


def _squares(people: Sequence[People]) -> float:
    """Inferences a frame."""
    return sum(len(p.regions) for p in people) / len(people)


def _total(blocks: Sequence[Block]) -> tuple[Usage, int]:
    used = NOTHING_USED
    for block in blocks:
        used = used.plus(block.used)
    return used, sum(block.count for block in blocks)


def _stages(runs: Sequence[Alternated], health: Health) -> dict[str, Latency]:
    """``capture`` and ``publish`` are of their own threads, over the last frames."""
    others = health.report().stages
    stages = {name: _usual([_latency([p.stage_ms[name] for p in one.people]) for one in runs]) for name in STAGES}
    for name, of in (("capture", "capture"), ("publish", "publish_mqtt")):
        if of in others:
            stages[name] = Latency(others[of].p50_ms, others[of].p99_ms)
    order = ("capture", *STAGES, "publish")
    return {name: stages[name] for name in order if name in stages}


def _latency(samples_ms: Sequence[float]) -> Latency:
    p50, p99 = np.percentile(samples_ms, (50, 99))
    return Latency(round(float(p50), 3), round(float(p99), 3))


def _usual(runs: Sequence[Latency]) -> Latency:
    return Latency(_median([run.p50 for run in runs]), _median([run.p99 for run in runs]))


def _usual_or_none(runs: Sequence[Latency | None]) -> Latency | None:
    """Of the runs that have one; ``None`` where none has."""
    measured = [run for run in runs if run is not None]
    return _usual(measured) if measured else None


def _median(values: Sequence[float], digits: int = 3) -> float:
    return round(statistics.median(values), digits)


def _source(config: Config, health: Health) -> str:
    """A file's name; of a camera what it says of itself."""
    given = shown(config.camera.source)
    return Path(given).name if has_end(config.camera) else str(health.fact_of("camera") or given)


def _model(settings: Model, accelerator: Accelerator) -> str:
    """The file's name, however the model was asked for."""
    found = find_model(settings.name, settings.directory, accelerator)
    return found.path.stem if found.path else found.name
