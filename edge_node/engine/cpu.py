"""The CPU engine: LiteRT or tflite-runtime with XNNPACK.

One square runs on one interpreter with several threads; several squares run on single-threaded interpreters, one a core, with
sampling and decoding on the same worker: that is faster than one interpreter with threads, because nothing waits for the
slowest thread after every operator.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node import paths
from edge_node.config.models import Model
from edge_node.engine import Fill, Inference, ModelOutput
from edge_node.engine.graph import CutModel, StockModel, read_model
from edge_node.engine.runtime import Runtime, load_runtime
from edge_node.engine.square import CPU, Square
from edge_node.engine.threads import ThreadPlan, fixed_plan, measured_plan, usable_cores
from edge_node.engine.trial import try_unknown
from edge_node.errors import ModelError
from edge_node.models import find_model

T = TypeVar("T")


def open_cpu_engine(settings: Model, *, live: bool = False, give_up: Callable[[], bool] = lambda: False) -> "CpuEngine":
    """The engine that the ``model`` section asks for. ``live``: it rests between the frames of a camera. ``give_up`` is asked now and then
    whether the best number of threads still matters.

    Raises ``ModelError`` and ``EngineError`` that say what to do.
    """
    # OpenCV's own threads wait by spinning: they would take the cores from the model for a tenth of a millisecond won in sampling.
    cv2.setNumThreads(1)
    runtime = load_runtime(settings.runtime)
    found = find_model(settings.name, settings.directory)
    try:
        model = read_model(found.content, settings.heads)
        try_unknown(found, settings.heads, runtime, paths.cache_directory())
        if settings.threads:
            plan = fixed_plan(settings.threads)
        else:
            key = f"{found.sha256} {settings.heads} {runtime.title}"
            cache = paths.cache_directory()
            plan = measured_plan(lambda threads: Square(model, runtime, threads).invoke, key, cache, live=live, give_up=give_up)
        return CpuEngine(model, runtime, plan)
    except ModelError as error:
        raise ModelError(f"model {found.path or found.name}: {error}") from error


class CpuEngine:
    """Runs ``model`` by ``plan``. Offers the ``Engine`` interface; used by one thread, its workers are its own.

    Raises ``ModelError`` for a model compiled for the Edge TPU, or one that the runtime refuses.
    """

    def __init__(self, model: CutModel | StockModel, runtime: Runtime, plan: ThreadPlan) -> None:
        self._model = model
        self._runtime = runtime
        self._plan = plan
        self._takes_every_core = plan.solo_threads >= usable_cores()
        self._solo = Square(model, runtime, plan.solo_threads)
        self._squares = [self._solo]
        if plan.workers > 1:
            first = self._solo if plan.solo_threads == 1 else Square(model, runtime, 1)
            self._squares = [first, *(Square(model, runtime, 1) for _ in range(plan.workers - 1))]
        self._pool = ThreadPoolExecutor(plan.workers - 1, "cpu-engine") if plan.workers > 1 else None

    @property
    def input_size_px(self) -> int:
        return self._model.input_size_px

    @property
    def parallel(self) -> int:
        return len(self._squares)

    @property
    def takes_every_core(self) -> bool:
        return self._takes_every_core

    @property
    def accelerator(self) -> str:
        return CPU

    @property
    def plan(self) -> ThreadPlan:
        """How squares are spread over interpreters and threads."""
        return self._plan

    @property
    def threads(self) -> int:
        """Threads that run one square."""
        return self._plan.solo_threads

    @property
    def closeness(self) -> NDArray[np.float32] | None:
        """The model's constant preference for the middle, float32 [cells, cells], where the model is cut and carries it."""
        return self._model.closeness if isinstance(self._model, CutModel) else None

    @property
    def description(self) -> str:
        seen = (
            f"heads {self._model.cells} x {self._model.cells}"
            if isinstance(self._model, CutModel)
            else f"stock output ({self._model.reason})"
        )
        return f"{self._runtime.title}, {self._plan}, {seen}"

    def infer(self, fills: Sequence[Fill], decode: Callable[[ModelOutput], T]) -> list[Inference[T]]:
        """Run every square. An exception of ``fill`` or ``decode`` comes out here as it is."""
        if len(fills) <= 1 or self._pool is None:
            return [self._solo.run(fill, decode) for fill in fills]
        return _share_out(self._pool, self._squares, [partial(Square.run, fill=fill, decode=decode) for fill in fills])

    def invoke(self, squares: int) -> None:
        """Run the bare model for that many squares, on the interpreters that ``infer`` would use: for measurements."""
        if squares <= 1 or self._pool is None:
            for _ in range(squares):
                self._solo.invoke()
            return
        _share_out(self._pool, self._squares, [Square.invoke] * squares)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._squares = []


def _share_out(pool: ThreadPoolExecutor, squares: list[Square], tasks: Sequence[Callable[[Square], T]]) -> list[T]:
    """Each worker, the calling thread among them, takes the next task until none is left; results in the order of tasks."""
    results: list[Any] = [None] * len(tasks)
    numbers = itertools.count()  # next() on it is atomic

    def work(square: Square) -> None:
        while (number := next(numbers)) < len(tasks):
            results[number] = tasks[number](square)

    others: list[Future[None]] = [pool.submit(work, square) for square in squares[1 : len(tasks)]]
    try:
        work(squares[0])
    finally:
        wait(others)
    while others:
        others.pop().result()  # popped: an exception must not be held by this frame, for its traceback holds views
    return results
