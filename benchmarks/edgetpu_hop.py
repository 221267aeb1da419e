"""What the hop to the Edge TPU's child process costs: the same model and delegate in this process and through the child, in turns.

    python benchmarks/edgetpu_hop.py            # needs cc and the model files (EDGE_NODE_SHARED)

The device is the stand-in of tests/simtpu, which answers after a given time, so the figures are of the hop and say nothing of a
Coral stick. "blocking" waits for the answer in the kernel, as the engine does; "spinning" polls for it first.
"""

import os
import socket
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the checkout comes first

from edge_node.config.models import Model  # noqa: E402 - the same
from edge_node.engine.edgetpu import EdgeTpu, EdgeTpuEngine, read_compiled  # noqa: E402 - the same
from edge_node.engine.edgetpu_process import LIBRARY  # noqa: E402 - the same
from edge_node.engine.runtime import load_runtime  # noqa: E402 - the same
from tests.simtpu.simtpu import simulated_tpu  # noqa: E402 - the same

SHARED = Path(os.environ.get("EDGE_NODE_SHARED", ROOT.parent / "shared"))
COMPILED_MODEL = SHARED / "models" / "movenet_single_pose_lightning_ptq_edgetpu.tflite"
ROUNDS = 400
WARM_UP = 50
DELAYS_MS = (0, 2, 7)


def main() -> int:
    with simulated_tpu() as tpu:
        model = read_compiled(COMPILED_MODEL.read_bytes())
        engine = EdgeTpu(Model(), model, load_runtime()).start()
        direct = in_this_process(model.cut.content, tpu.directory / LIBRARY)
        print("| answers after | in this process, p50 ms | through the child, p50 ms | hop p50 ms | hop p99 ms | spinning, hop p50 ms |")
        print("|---|---:|---:|---:|---:|---:|")
        worst = 0.0
        for delay_ms in DELAYS_MS:
            tpu.control.delay_us = delay_ms * 1000
            worst = max(worst, row(delay_ms, direct, engine))
        engine.close()
    return 0 if worst <= 0.1 else 1


def row(delay_ms: int, direct: Callable[[], float], engine: EdgeTpuEngine) -> float:
    alone, through, hops, spun = [], [], [], []
    for number in range(ROUNDS + WARM_UP):
        figures = (direct(), *blocking(engine), spinning(engine))
        if number >= WARM_UP:
            for kept, figure in zip((alone, through, hops, spun), figures, strict=True):
                kept.append(figure)
    hop = statistics.median(hops)
    p99 = float(np.percentile(hops, 99))
    print(
        f"| {delay_ms} ms | {statistics.median(alone):.3f} | {statistics.median(through):.3f} | {hop:.3f} | {p99:.3f} "
        f"| {statistics.median(spun):.3f} |",
        flush=True,
    )
    return hop


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


def fill(pixels: np.ndarray) -> None:
    pixels[:] = 127


def blocking(engine: EdgeTpuEngine) -> tuple[float, float]:
    """Milliseconds of one square through the engine, and of that what is beyond the child's own invoke and the sampling."""
    begin = time.perf_counter()
    inference = engine.infer([fill], lambda _heads: None)[0]
    took_ms = (time.perf_counter() - begin) * 1e3
    return took_ms, inference.invoke_ms - engine.device_invoke_ms


def spinning(engine: EdgeTpuEngine) -> float:
    """The same hop with a parent that polls for the answer instead of sleeping."""
    child = engine._child  # noqa: SLF001 - measures another way of waiting on the same child
    channel: socket.socket = child._channel  # noqa: SLF001 - the same
    begin = time.perf_counter()
    child.submit(0)
    channel.setblocking(False)
    while True:
        try:
            message = channel.recv(2048)
            break
        except BlockingIOError:
            continue
    took_ms = (time.perf_counter() - begin) * 1e3
    return took_ms - int.from_bytes(message[1:9], "little") / 1e6


sys.exit(main())
