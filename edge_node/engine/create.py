"""The engine that the ``model`` section of the configuration asks for."""

import logging
from collections.abc import Callable
from pathlib import Path

from edge_node.config.models import Model
from edge_node.engine import Engine
from edge_node.engine.cpu import CpuEngine, open_cpu_engine
from edge_node.engine.edgetpu import EdgeTpu, read_compiled
from edge_node.engine.edgetpu_discovery import ROOT
from edge_node.engine.edgetpu_keeper import PART, UNTIL_RESTART, Keeper, RetryPolicy
from edge_node.engine.edgetpu_process import STARTUP_S, EdgeTpuError
from edge_node.engine.failover import FailoverEngine
from edge_node.engine.runtime import load_runtime
from edge_node.errors import EngineError, ModelError
from edge_node.health import Health
from edge_node.models import find_model

log = logging.getLogger(__name__)

FIRST_ATTEMPT_S = 5.0
"""A healthy stick is at work well within this; the CPU bridges what is longer."""


def create_engine(
    settings: Model,
    health: Health,
    *,
    live: bool = False,
    give_up: Callable[[], bool] = lambda: False,
    policy: RetryPolicy | None = None,
    root: Path = ROOT,
) -> Engine:
    """The engine for ``settings``, ready for its first square. ``live``: it rests between the frames of a camera.

    Where an Edge TPU is expected it waits for the outcome of the first attempt, ``FIRST_ATTEMPT_S`` at most; with ``auto`` it starts
    on the CPU and moves over once the Edge TPU is ready. ``give_up`` is asked now and then whether the node stops meanwhile.
    ``root`` is where sysfs and /dev are looked for.

    Raises ``ModelError`` and ``EngineError`` when nothing can run the model, or when ``require_edgetpu`` cannot be met.
    """
    cpu = open_cpu_engine(settings, live=live, give_up=give_up)
    if settings.accelerator == "cpu":
        return cpu
    try:
        edgetpu = _edgetpu(settings, cpu, root)
    except ModelError as error:
        return _without_edgetpu(settings, cpu, health, error)
    keeper = Keeper(edgetpu, health, settings, policy=policy or RetryPolicy(), root=root)
    engine = FailoverEngine(cpu, keeper)
    if settings.expects_edgetpu:
        keeper.wait_for_first_attempt(STARTUP_S if settings.require_edgetpu else FIRST_ATTEMPT_S, give_up)
    if settings.require_edgetpu and keeper.current is None and not give_up():
        engine.close()
        raise EngineError(f"model.require_edgetpu is set, and the Edge TPU cannot be used: {keeper.trouble}")
    return engine


def create_unmixed_engine(settings: Model, *, live: bool = False) -> Engine:
    """The engine for a measurement, for figures of a mixture would be worth nothing: the Edge TPU's alone where ``settings`` expect
    one, which raises ``EngineError`` as soon as it fails; else the CPU's. ``live``: it rests between the frames of a camera.

    Raises ``ModelError`` and ``EngineError`` when it cannot be had.
    """
    cpu = open_cpu_engine(settings, live=live)
    if not settings.expects_edgetpu:
        return cpu
    try:
        engine = _edgetpu(settings, cpu, ROOT).start()
        engine.unwatched = True
        return engine
    except (ModelError, EdgeTpuError) as error:
        raise EngineError(f"the Edge TPU cannot be used: {error}") from error
    finally:
        cpu.close()


def _edgetpu(settings: Model, cpu: CpuEngine, root: Path) -> EdgeTpu:
    found = find_model(settings.name, settings.directory, "edgetpu")
    try:
        model = read_compiled(found.content, settings.heads, cpu.closeness, cpu.input_size_px)
    except ModelError as error:
        raise ModelError(f"model {found.path or found.name}: {error}") from error
    return EdgeTpu(settings, model, load_runtime(settings.runtime), root)


def _without_edgetpu(settings: Model, cpu: CpuEngine, health: Health, why: ModelError) -> CpuEngine:
    """No compiled model: the CPU alone. Whoever asked for the Edge TPU is told, or refused."""
    if settings.require_edgetpu:
        cpu.close()
        raise EngineError(f"model.require_edgetpu is set, and the Edge TPU cannot be used: {why}") from why
    health.fact("edgetpu", str(why))
    if settings.expects_edgetpu:
        health.problem(PART, f"{why}; the CPU carries on{UNTIL_RESTART}")
        log.warning("%s; the CPU carries on%s", why, UNTIL_RESTART)
    else:
        log.info("no Edge TPU: %s; the CPU is used%s", why, UNTIL_RESTART)
    return cpu
