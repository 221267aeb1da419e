"""What the hop to the Edge TPU's child process costs: the same model and delegate in this process and through the child, in turns.

    python benchmarks/edgetpu_hop.py            # needs cc and the model files (EDGE_NODE_SHARED)

The device is the stand-in of tests/simtpu, which answers after a given time, so the figures are of the hop and say nothing of a
Coral stick. Both sample the same picture first, as the node does; the hop is what a square takes beyond sampling and the child's own
invoke. The last column is a process that is woken in the same way (eventfd), sleeps as long as the device works, and wakes this
one.

Each device is measured twice: as it is, and with the processors kept from resting (/dev/cpu_dma_latency, as cyclictest does; root
only). What a row takes beyond its double is the machine's: in a virtual machine a processor that rests is the host's to wake.

Exit code 1 when the hop takes more than 0.1 ms at p50 in any row.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - the checkout comes first
import numpy as np  # noqa: E402 - the checkout comes first

from edge_node.config.models import Model  # noqa: E402 - the same
from edge_node.engine.edgetpu import EdgeTpu, EdgeTpuEngine, read_compiled  # noqa: E402 - the same
from edge_node.engine.edgetpu_process import LIBRARY  # noqa: E402 - the same
from edge_node.engine.runtime import load_runtime  # noqa: E402 - the same
from edge_node.errors import EngineError  # noqa: E402 - the same
from edge_node.pose.region import placed, sampler, whole_frame  # noqa: E402 - the same
from tests.simtpu.simtpu import SimTpu, simulated_tpu  # noqa: E402 - the same

SHARED = Path(os.environ.get("EDGE_NODE_SHARED", ROOT.parent / "shared"))
COMPILED_MODEL = SHARED / "models" / "movenet_single_pose_lightning_ptq_edgetpu.tflite"
ROUNDS = 400
WARM_UP = 50
EMPTY = """
import os, sys, time
asked, answered, sleep_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
while os.eventfd_read(asked):
    begin = time.monotonic_ns()
    if sleep_s: time.sleep(sleep_s)
    os.eventfd_write(answered, time.monotonic_ns() - begin)
"""
DELAYS_MS = (0, 2, 7)
LIMIT_MS = 0.1
WAKE_LATENCY = Path("/dev/cpu_dma_latency")
cv2.setNumThreads(1)  # as the node does
fill = sampler(np.random.default_rng(1).integers(0, 256, (480, 640, 3), np.uint8), placed(whole_frame(640, 480), 640, 480, 192))


def main() -> int:
    with simulated_tpu() as tpu:
        model = read_compiled(COMPILED_MODEL.read_bytes())
        if model.cut is None:
            sys.exit(f"{COMPILED_MODEL.name} cannot be cut at its heads")
        engine = EdgeTpu(Model(), model, load_runtime()).start()
        direct = in_this_process(model.cut.content, tpu.directory / LIBRARY)
        print("| processors | answers after | in this process | through the child | hop p50 ms | hop p99 ms | an empty process, p50 ms |")
        print("|---|---|---:|---:|---:|---:|---:|")
        try:
            worst = max(max(compared(tpu, direct, engine, delay_ms)) for delay_ms in DELAYS_MS)
        except EngineError as error:  # a machine that stands still for a third of a second
            sys.exit(f"not measured to the end: {error}")
        engine.close()
    return 0 if worst <= LIMIT_MS else 1


def compared(tpu: SimTpu, direct: Callable[[], float], engine: EdgeTpuEngine, delay_ms: int) -> list[float]:
    """Measure a device that takes so long; returns the hop's milliseconds with the processors as they are, and awake where that can be."""
    tpu.control.delay_us = delay_ms * 1000
    with empty_process(delay_ms) as empty:
        hops_ms = [row("may rest", delay_ms, direct, engine, empty)]
        try:
            with processors_awake():
                hops_ms.append(row("kept awake", delay_ms, direct, engine, empty))
        except (PermissionError, FileNotFoundError) as error:
            print(f"the processors cannot be kept awake: {error}", file=sys.stderr)
    return hops_ms


def row(what: str, delay_ms: int, direct: Callable[[], float], engine: EdgeTpuEngine, empty: Callable[[], float]) -> float:
    """Measure and print; returns the median of what the hop takes, in ms."""
    columns: tuple[list[float], ...] = ([], [], [], [])
    for number in range(ROUNDS + WARM_UP):
        figures = (direct(), *child(engine), empty())
        if number >= WARM_UP:
            for kept, figure in zip(columns, figures, strict=True):
                kept.append(figure)
    alone, through, hop, floor = (statistics.median(column) for column in columns)
    p99 = float(np.percentile(columns[2], 99))
    print(f"| {what} | {delay_ms} ms | {alone:.3f} | {through:.3f} | {hop:.3f} | {p99:.3f} | {floor:.3f} |", flush=True)
    return hop


@contextlib.contextmanager
def processors_awake() -> Iterator[None]:
    """For as long as it is held no processor rests deeper than polling.

    Raises ``PermissionError`` unless root, ``FileNotFoundError`` where the kernel has no such device.
    """
    with WAKE_LATENCY.open("r+b", buffering=0) as request:
        request.write((0).to_bytes(4, "little"))
        yield


def in_this_process(content: bytes, library: Path) -> Callable[[], float]:
    runtime = load_runtime()
    interpreter = runtime.interpreter(model_content=content, experimental_delegates=[runtime.load_delegate(str(library), {})])
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]

    def run() -> float:
        begin = time.perf_counter()
        pixels = interpreter.tensor(index)()[0].view(np.uint8)
        fill(pixels)
        np.bitwise_xor(pixels, 0x80, out=pixels)
        del pixels
        interpreter.invoke()
        return (time.perf_counter() - begin) * 1e3

    return run


def child(engine: EdgeTpuEngine) -> tuple[float, float]:
    """Milliseconds of one square through the engine, and of that what is beyond the child's own invoke and the sampling."""
    begin = time.perf_counter()
    inference = engine.infer([fill], lambda _heads: None)[0]
    took_ms = (time.perf_counter() - begin) * 1e3
    return took_ms, inference.invoke_ms - engine.device_invoke_ms


@contextlib.contextmanager
def empty_process(sleep_ms: int) -> Iterator[Callable[[], float]]:
    """A child that only sleeps when asked; gives a function that asks it and returns the milliseconds beyond its sleep."""
    asked, answered = os.eventfd(0), os.eventfd(0)
    words = [sys.executable, "-c", EMPTY, str(asked), str(answered), str(sleep_ms / 1e3)]
    child = subprocess.Popen(words, pass_fds=(asked, answered))

    def ask() -> float:
        begin = time.perf_counter()
        os.eventfd_write(asked, 1)
        slept_ns = os.eventfd_read(answered)
        return (time.perf_counter() - begin) * 1e3 - slept_ns / 1e6

    try:
        yield ask
    finally:
        child.kill()
        child.wait()
        os.close(asked)
        os.close(answered)


sys.exit(main())
