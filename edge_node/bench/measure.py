"""The benchmark: several runs of loop and bare blocks, latency to a subscriber, start-up; all in one result."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge_node import __version__
from edge_node.bench.loop import Alternated, Block, Loop, Seen, alternate, warm_up
from edge_node.bench.process import NOTHING_USED, Machine, Usage, machine, rss_mb
from edge_node.bench.subscriber import subscriber
from edge_node.camera.capture import has_end, is_lossless
from edge_node.camera.source import shown
from edge_node.config.load import ENVIRONMENT_PREFIX, override
from edge_node.config.models import Config, Model
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.engine import Engine
from edge_node.engine.cpu import CpuEngine
from edge_node.engine.create import create_unmixed_engine
from edge_node.engine.graph import StockModel, read_model
from edge_node.engine.runtime import load_runtime
from edge_node.errors import EdgeNodeError
from edge_node.health import Health
from edge_node.local_broker import local_broker, mosquitto
from edge_node.models import Accelerator, find_model
from edge_node.sink import Sink
from edge_node.sink.messages import topic
from edge_node.sink.mqtt import mqtt_sink
from edge_node.sink.mqtt_node import About
from edge_node.temporary import temporary_folder

STAGES = ("sample", "invoke", "decode", "track", "smooth")
START_S = 120.0


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
    cut at its heads, which is faster; ``None`` where it is not cut.
    """

    fps: float
    bare_invoke_fps: float
    ratio: float
    heads_invoke_fps: float | None


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured. Values of several runs are medians; ``spread`` is the largest ratio less the smallest.

    ``end_to_end_ms`` is capture to subscriber, ``beyond_invoke_ms`` the same less the frame's own invoke, ``beyond_bare_ms`` less the
    usual time of the bare model file as published for as many squares; ``None`` without a broker. ``cpu_ms_per_frame`` is of all
    threads; ``cpu_ratio`` sets it against the bare model's for as many inferences. ``pace``: ``live``, at the source's own, or ``full``,
    as fast as the loop takes frames. ``model``: its file's name without the ending. ``threads`` is ``None`` on an Edge TPU.
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


def measure(config: Config, runs: int, frames: int) -> Result:
    """Run the benchmark. Raises what the node's parts raise when camera or model cannot be used."""
    with temporary_folder("edge-node-bench-") as folder, contextlib.ExitStack() as stack:
        os.environ["XDG_STATE_HOME"] = str(folder)  # neither the spool nor what was tuned of a node on this machine is touched
        os.environ.pop("STATE_DIRECTORY", None)
        port = stack.enter_context(local_broker()) if mosquitto() else None
        config = _for_bench(config, port)
        return _measure(config, port, runs, frames)


def _for_bench(config: Config, port: int | None) -> Config:
    """The settings under test; a file is played round and round, and poses go to the benchmark's own broker."""
    values: dict[str, Any] = {"camera.loop": True, "node.name": "bench", "web.enabled": False, "record.path": None}
    values["mqtt.enabled"] = port is not None
    values["mqtt.pose"] = True
    if port is not None:
        values |= {
            "mqtt.host": "127.0.0.1",
            "mqtt.port": port,
            "mqtt.fallback_brokers": [],
            "mqtt.username": None,
            "mqtt.tls.enabled": False,
        }
    return override(config, values)


def _measure(config: Config, port: int | None, runs: int, frames: int) -> Result:
    health = Health()
    settings = Settings(lambda: config)
    engine = create_unmixed_engine(config.model, live=not is_lossless(config.camera))
    seen = Seen()
    with contextlib.ExitStack() as stack:
        stack.callback(engine.close)
        listening = stack.enter_context(subscriber(port, topic(config.node.name, "pose"))) if port else None
        loop = stack.enter_context(Loop(settings, engine, health, lambda lossless: list(_sinks(settings, health, engine, lossless))))
        warm_up(loop)
        used_mb = rss_mb()
        whole = _whole_model(config, engine)
        if whole is not None:
            stack.callback(whole.close)
        measured = [alternate(loop, frames, whole, seen) for _ in range(runs)]
        allocated_kb = loop.allocated_kb()
        time.sleep(0.2)  # the last poses are on their way
        arrivals = listening.arrivals_ns() if listening else {}
    startup_s = statistics.median(_startup_s(config) for _ in range(min(runs, 3)))
    return _result(config, engine, _Measured(measured, seen.people, health, arrivals, used_mb, allocated_kb, startup_s))


@dataclass(frozen=True, slots=True)
class _Measured:
    """What ``_result`` makes the result of."""

    runs: Sequence[Alternated]
    people: Sequence[People]
    health: Health
    arrivals_ns: Mapping[int, int]
    rss_mb: float
    allocated_kb: float
    startup_s: float


def _sinks(settings: Settings, health: Health, engine: Engine, lossless: bool) -> Iterator[Sink]:
    config = settings.current
    if config.mqtt.enabled:
        about = About(config.model.name, "", engine.description, shown(config.camera.source))
        yield mqtt_sink(settings, health, lambda: about, lossless=lossless)


def _result(config: Config, engine: Engine, measured: _Measured) -> Result:
    people = measured.people
    per_frame = sum(len(p.regions) for p in people) / len(people)
    runs = tuple(_run(one, per_frame) for one in measured.runs)
    ratios = [run.ratio for run in runs]
    used, frames = _total([one.loop for one in measured.runs])
    bare = [one.whole or one.bare for one in measured.runs]
    bare_used, invokes = _total(bare)
    bare_ms = 1e3 * statistics.median(block.took_s / block.count for block in bare)
    heads = [run.heads_invoke_fps for run in runs if run.heads_invoke_fps is not None]
    cpu_ms = 1e3 * used.cpu_s / frames
    arrived = [(p, measured.arrivals_ns[p.seq]) for p in people if p.seq in measured.arrivals_ns]
    from_capture = [(at_ns - p.captured_ns) / 1e6 for p, at_ns in arrived]
    beyond = [whole - p.stage_ms["invoke"] for whole, (p, _) in zip(from_capture, arrived, strict=True)]
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
        inferences_per_frame=round(per_frame, 2),
        frames=frames,
        fps=round(statistics.median(run.fps for run in runs), 1),
        bare_invoke_fps=round(statistics.median(run.bare_invoke_fps for run in runs), 1),
        ratio=round(statistics.median(ratios), 3),
        spread=round(max(ratios) - min(ratios), 3),
        heads_invoke_fps=round(statistics.median(heads), 1) if heads else None,
        runs=runs,
        stages=_stages(people, measured.health),
        end_to_end_ms=_latency(from_capture),
        beyond_invoke_ms=_latency(beyond),
        beyond_bare_ms=_latency([whole - bare_ms * len(p.regions) for whole, (p, _) in zip(from_capture, arrived, strict=True)]),
        cpu_ms_per_frame=round(cpu_ms, 2),
        cpu_ms_by_thread={name: round(1e3 * s / frames, 2) for name, s in sorted(used.by_thread_s.items()) if 1e3 * s / frames >= 0.01},
        cpu_ratio=round(cpu_ms / (1e3 * bare_used.cpu_s / invokes * per_frame), 3),
        allocated_kb_per_frame=round(measured.allocated_kb, 1),
        page_faults_per_frame=round(used.minor_faults / frames, 2),
        rss_mb=round(measured.rss_mb, 1),
        startup_s=round(measured.startup_s, 3),
    )


def _run(one: Alternated, inferences_per_frame: float) -> Run:
    fps = one.loop.count / one.loop.took_s
    runs_as = one.bare.count / one.bare.took_s / inferences_per_frame
    published = one.whole.count / one.whole.took_s / inferences_per_frame if one.whole else runs_as
    return Run(round(fps, 1), round(published, 1), round(fps / published, 4), round(runs_as, 1) if one.whole else None)


def _total(blocks: Sequence[Block]) -> tuple[Usage, int]:
    used = NOTHING_USED
    for block in blocks:
        used = used.plus(block.used)
    return used, sum(block.count for block in blocks)


def _whole_model(config: Config, engine: Engine) -> CpuEngine | None:
    """The model file as it stands, uncut, on as many interpreters and threads; ``None`` where the engine runs just that."""
    found = find_model(config.model.name, config.model.directory)
    if not isinstance(engine, CpuEngine) or isinstance(read_model(found.content, config.model.heads), StockModel):
        return None
    return CpuEngine(read_model(found.content, "stock"), load_runtime(config.model.runtime), engine.plan)


def _stages(people: Sequence[People], health: Health) -> dict[str, Latency]:
    """``capture`` and ``publish`` are of their own threads, over the last frames."""
    others = health.report().stages
    stages = {name: _latency([p.stage_ms[name] for p in people]) for name in STAGES}
    for name, of in (("capture", "capture"), ("publish", "publish_mqtt")):
        if of in others:
            stages[name] = Latency(others[of].p50_ms, others[of].p99_ms)
    order = ("capture", *STAGES, "publish")
    return {name: latency for name in order if (latency := stages.get(name)) is not None}


def _latency(samples_ms: Sequence[float]) -> Latency | None:
    if not samples_ms:
        return None
    p50, p99 = np.percentile(samples_ms, (50, 99))
    return Latency(round(float(p50), 3), round(float(p99), 3))


def _source(config: Config, health: Health) -> str:
    """A file's name; of a camera what it says of itself."""
    given = shown(config.camera.source)
    return Path(given).name if has_end(config.camera) else str(health.fact_of("camera") or given)


def _model(settings: Model, accelerator: Accelerator) -> str:
    """The file's name, however the model was asked for."""
    found = find_model(settings.name, settings.directory, accelerator)
    return found.path.stem if found.path else found.name


def _startup_s(config: Config) -> float:
    """From starting the command to its first published pose; without a broker, to the end of ``run --frames 1``."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="edge-node-bench-") as file:
        file.write(config.model_dump_json(exclude_defaults=True))  # JSON is YAML
        file.flush()
        command = [sys.executable, "-m", "edge_node", "run", "-c", file.name, "--frames", "1", "--set", "node.name=bench-start"]
        if not config.mqtt.enabled:
            start = time.perf_counter()
            _run_to_its_end(command)
            return time.perf_counter() - start
        with subscriber(config.mqtt.port, topic("bench-start", "pose")) as listening:
            start_ns = time.monotonic_ns()
            _run_to_its_end(command)
            arrivals = listening.arrivals_ns()
    if not arrivals:
        raise EdgeNodeError("the node started for the benchmark published no pose")
    return (min(arrivals.values()) - start_ns) / 1e9


def _run_to_its_end(command: Sequence[str]) -> None:
    # What the environment says of the configuration is in the file already, and overruled there by the benchmark.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    try:
        done = subprocess.run(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=START_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"the node started for the benchmark gave no pose within {START_S:.0f} s") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise EdgeNodeError(f"the node started for the benchmark failed: {last}")
