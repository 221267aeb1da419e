"""The benchmark: several runs of loop and bare blocks, latency to a subscriber, start-up; all in one result."""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from edge_node.bench.loop import Loop, Seen, alternate, warm_up
from edge_node.bench.process import rss_mb
from edge_node.bench.result import Measured, Result, result_of
from edge_node.bench.subscriber import subscriber
from edge_node.camera.capture import is_lossless
from edge_node.camera.source import shown
from edge_node.config.load import ENVIRONMENT_PREFIX, override
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.engine import Engine
from edge_node.engine.cpu import CpuEngine
from edge_node.engine.create import create_unmixed_engine
from edge_node.engine.graph import StockModel, read_model
from edge_node.engine.runtime import load_runtime
from edge_node.errors import EdgeNodeError
from edge_node.health import Health
from edge_node.local_broker import local_broker, mosquitto
from edge_node.models import find_model
from edge_node.sink import Sink
from edge_node.sink.messages import topic
from edge_node.sink.mqtt import mqtt_sink
from edge_node.sink.mqtt_node import About
from edge_node.temporary import temporary_folder

START_S = 120.0


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
    return result_of(config, engine, Measured(measured, health, arrivals, used_mb, allocated_kb, startup_s))


def _sinks(settings: Settings, health: Health, engine: Engine, lossless: bool) -> Iterator[Sink]:
    config = settings.current
    if config.mqtt.enabled:
        about = About(config.model.name, "", engine.description, shown(config.camera.source))
        yield mqtt_sink(settings, health, lambda: about, lossless=lossless)


def _whole_model(config: Config, engine: Engine) -> CpuEngine | None:
    """The model file as it stands, uncut, on as many interpreters and threads; ``None`` where the engine runs just that."""
    found = find_model(config.model.name, config.model.directory)
    if not isinstance(engine, CpuEngine) or isinstance(read_model(found.content, config.model.heads), StockModel):
        return None
    return CpuEngine(read_model(found.content, "stock"), load_runtime(config.model.runtime), engine.plan)


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
