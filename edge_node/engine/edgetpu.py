"""The Edge TPU engine, parent's side: squares go to the child process through shared memory, heads come back the same way.

A square that is alone in its frame is sampled straight into the child's input and decoded from its outputs. Of several, while the
child runs one, the next is sampled and the one before is decoded; these wait in slots of their own.
"""

import dataclasses
import logging
import mmap
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_node.config.models import Model
from edge_node.engine import Fill, Inference, ModelOutput, StockPoses
from edge_node.engine.edgetpu_discovery import ROOT
from edge_node.engine.edgetpu_process import STUCK, ChildProcess, ChildSpec, EdgeTpuError, Layout
from edge_node.engine.edgetpu_reasons import explained
from edge_node.engine.graph import KEYPOINTS, CutModel, StockModel, read_model
from edge_node.engine.model_input import ModelInput
from edge_node.engine.runtime import Runtime
from edge_node.errors import ModelError

T = TypeVar("T")
log = logging.getLogger(__name__)

EDGETPU = "edgetpu"
REFUSED = "model"
"""The reason of a graph that could not even be built."""
QUEUE_SLOTS = 2
"""Beside slot 0, the child's own tensors: one square is sampled into or decoded from each of them while the child runs another."""
LONGEST_DEADLINE_S = 2.0
SHORTEST_DEADLINE_S = 0.25
"""Below this a busy machine, not the device, would be what is late."""
DEADLINE_FACTOR = 4.0
"""The deadline is so many times the slowest of the recent invokes."""
SLOWEST_DECAY = 0.98
"""Each invoke makes the slowest one count for less: one that the machine held up is forgotten within some fifty."""
PACKAGE_MARK = b"DWN1"
"""Identifier of the FlatBuffer inside the Edge TPU's operator (``executable.fbs`` of libedgetpu)."""
MULTIPOSE_VALUES = 56


@dataclass(frozen=True, slots=True)
class CompiledModel:
    """A model file compiled for the Edge TPU: ``cut`` at its heads where its structure is recognised, and as it is.

    ``needs_runtime``: the version of the Edge TPU runtime it was compiled for, 0 when the file does not say.
    """

    cut: CutModel | None
    stock: StockModel
    needs_runtime: int


def read_compiled(
    content: bytes,
    heads: Literal["auto", "stock"] = "auto",
    closeness: NDArray[np.float32] | None = None,
    twin_size_px: int | None = None,
) -> CompiledModel:
    """Read a compiled model. Of its CPU twin, where there is one: ``closeness``, the preference for the middle, which this file keeps
    inside its operator, and ``twin_size_px``, the side of its input.

    Raises ``ModelError`` for a damaged file, one that is no MoveNet, one that is not compiled for the Edge TPU, and one that takes another
    input than its twin.
    """
    stock = read_model(content, "stock")
    if not isinstance(stock, StockModel) or not stock.edgetpu:
        raise ModelError("not compiled for the Edge TPU; run edgetpu_compiler on it and give the file it writes (…_edgetpu.tflite)")
    if twin_size_px not in (None, stock.input_size_px):
        raise ModelError(f"takes {stock.input_size_px} pixels, its CPU twin {twin_size_px}; give two files of one model")
    read = read_model(content, heads)
    cut = read if isinstance(read, CutModel) else None
    if cut is not None and cut.closeness is None and closeness is not None and closeness.shape == (cut.cells, cut.cells):
        cut = dataclasses.replace(cut, closeness=closeness)
    if isinstance(read, StockModel):
        stock = read
    return CompiledModel(cut, stock, _needed_runtime(content))


def _needed_runtime(content: bytes) -> int:
    """``min_runtime_version``, the first field of the package's root table; 0 when there is no package to read."""
    start = content.find(PACKAGE_MARK) - 4
    if start < 0:
        return 0
    try:
        table = start + int(struct.unpack_from("<I", content, start)[0])
        vtable = table - int(struct.unpack_from("<i", content, table)[0])
        field = int(struct.unpack_from("<H", content, vtable + 4)[0])
        return int(struct.unpack_from("<i", content, table + field)[0]) if field else 0
    except struct.error:
        return 0


class EdgeTpu:
    """Knows which device, library and model to use, and starts engines on them, one after another.

    The cut model is tried first, and once more where it failed: a fault on USB says nothing of the graph. Where it fails again
    and the stock one works, that one is used until the next start; for good where the cut could not even be built. A cut that
    has worked once is never given up.
    """

    def __init__(self, settings: Model, model: CompiledModel, runtime: Runtime, root: Path = ROOT) -> None:
        self._settings = settings
        self._model = model
        self._runtime = runtime
        self._root = root
        self._refusal: EdgeTpuError | None = None
        self._cut_proven = False
        self._stuck: tuple[ChildProcess, EdgeTpuError] | None = None

    def start(self, stop_fd: int = -1) -> "EdgeTpuEngine":
        """Open the device in a new child and try the model there.

        Raises ``EdgeTpuError`` with a reason worth reading, ``StoppedError`` once ``stop_fd`` becomes readable.
        """
        try:
            return self._start(stop_fd)
        except EdgeTpuError as error:
            raise explained(error, self._settings.device, self._runtime.title, self._root) from error

    def _start(self, stop_fd: int) -> "EdgeTpuEngine":
        failed = self._refusal
        if self._model.cut is not None and failed is None:
            tried = self._try_cut(self._model.cut, stop_fd)
            if isinstance(tried, EdgeTpuEngine):
                return tried
            failed = tried
        engine = self._start_with(self._model.stock, stop_fd)  # raises when that fails too
        engine.failed_trial = failed
        if failed is not None and failed.reason == REFUSED:
            self._refusal = failed
        return engine

    def _try_cut(self, cut: CutModel, stop_fd: int) -> "EdgeTpuEngine | EdgeTpuError":
        """The engine on the cut model, or why the stock one is to be tried. Raises ``EdgeTpuError`` for what the graph has no part in."""
        failed: EdgeTpuError | None = None
        while True:
            try:
                engine = self._start_with(cut, stop_fd)
            except EdgeTpuError as error:
                if self._cut_proven or error.stage not in {"build", "trial"}:
                    raise
                if failed is not None or error.reason == REFUSED:
                    return error.bare()
                failed = error.bare()
            else:
                self._cut_proven = True
                engine.failed_trial = failed
                return engine

    def _start_with(self, model: CutModel | StockModel, stop_fd: int) -> "EdgeTpuEngine":
        if self._stuck is not None and not self._stuck[0].gone():
            raise self._stuck[1].bare()  # another one would only get stuck beside it
        spec = ChildSpec(
            device=_numbered(self._settings),
            options=self._settings.edgetpu_options,
            runtime=self._runtime.interpreter.__module__,
            needs_runtime=self._model.needs_runtime,
            model=model.content,
            slots=1 + QUEUE_SLOTS,
        )
        child = ChildProcess(spec)
        try:
            ready = child.start(stop_fd)
        except EdgeTpuError as error:
            self._stuck = (child, error.bare()) if error.reason == STUCK else None
            raise
        return EdgeTpuEngine(child, model, ready, self._runtime.title)


class EdgeTpuEngine:
    """One child process and the model it runs. Offers the ``Engine`` interface; once it failed, it stays failed.

    ``infer`` belongs to one thread; ``end`` to the thread that started the child.
    """

    def __init__(self, child: ChildProcess, model: CutModel | StockModel, ready: dict[str, Any], runtime: str) -> None:
        self._child = child
        self._model = model
        self._library = str(ready["version"])
        self._runtime = runtime
        self._deadline = Deadline(float(ready["invoke_ms"]) / 1e3)
        layout = Layout(**ready["layout"])
        self._slots = [_Slot(child.memory, number, layout, model) for number in range(1 + QUEUE_SLOTS)]
        self._in_use = threading.Lock()
        self.failed_trial: EdgeTpuError | None = None
        """How the model cut at its heads failed, before this engine was started."""
        self.failure: EdgeTpuError | None = None
        self.unwatched = False
        """Nobody calls ``watch``: what the child writes is read after each frame, or it would have to wait for somebody to do so."""
        self.device_invoke_ms = float(ready["invoke_ms"])

    @property
    def input_size_px(self) -> int:
        return self._model.input_size_px

    @property
    def parallel(self) -> int:
        return 1

    @property
    def takes_every_core(self) -> bool:
        return False

    @property
    def accelerator(self) -> str:
        return EDGETPU

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._child.pid

    @property
    def graph(self) -> str:
        """``heads`` or ``stock``: what is read from the model."""
        return "heads" if isinstance(self._model, CutModel) else "stock"

    @property
    def note(self) -> str | None:
        """Why the stock model is used where the cut one would be better; ``None`` where that is not so."""
        failed = self.failed_trial
        if failed is None or isinstance(self._model, CutModel):
            return None
        how = "was refused" if failed.reason == REFUSED else "failed its trial twice"
        return f"the model cut at its heads {how} ({failed}); its stock output is used: one person a square, coarser joints"

    @property
    def description(self) -> str:
        seen = "heads" if isinstance(self._model, CutModel) else f"stock output ({self.note or self._model.reason})"
        return f"Edge TPU by {self._runtime}, {self._library}, {seen}"

    def infer(self, fills: Sequence[Fill], decode: Callable[[ModelOutput], T]) -> list[Inference[T]]:
        """Run every square. Raises ``InferenceLostError`` when the Edge TPU fails; it carries what was done before.

        An exception of ``fill`` or ``decode`` comes out as it is.
        """
        with self._in_use:
            if self.failure is not None:  # a late answer would be taken for this square's
                raise InferenceLostError(self.failure, [])
            run = _Run(self._child, self._slots[:1] if len(fills) == 1 else self._slots[1:], self._deadline)
            try:
                results = run.all(fills, decode)
                self.device_invoke_ms = run.device_ms
            except EdgeTpuError as error:
                self.failure = error.bare()
                raise InferenceLostError(error, run.results) from error
            finally:
                if self.unwatched and self.failure is None:
                    self._child.watch(-1, 0.0)
                if self.failure is None:
                    self.failure = run.drain()  # after an exception of fill or decode, or the next square would be given this one's heads
            return results

    def close(self) -> None:
        """End the child, kindly."""
        self.end(polite=True)

    def end(self, *, polite: bool = False) -> str:
        """End the child and say what it died of (``ChildProcess.end``)."""
        with self._in_use:
            return self._child.end(polite=polite)

    def watch(self, wake_fd: int, timeout_s: float) -> bool:
        """Wait for ``wake_fd``, the child's death (False) or the time."""
        return self._child.watch(wake_fd, timeout_s)

    def last_words(self) -> str:
        """What the child wrote last, to stand behind a message."""
        return self._child.last_words()

    def gone(self) -> bool:
        """Whether a process that could not be killed has ended since."""
        return self._child.gone()


class InferenceLostError(EdgeTpuError):
    """The Edge TPU failed in the middle of a frame. ``done``: the inferences of the first squares, which were answered."""

    def __init__(self, cause: EdgeTpuError, done: list[Inference[Any]]) -> None:
        super().__init__(cause.reason, f"the Edge TPU failed: {cause.text}", cause.stage, cause.advice)
        self.done = done


class Deadline:
    """How long an invoke may take: a multiple of the slowest recent one, between ``SHORTEST_DEADLINE_S`` and ``LONGEST_DEADLINE_S``."""

    def __init__(self, trial_s: float) -> None:
        self._slowest_s = trial_s

    @property
    def seconds(self) -> float:
        return min(max(DEADLINE_FACTOR * self._slowest_s, SHORTEST_DEADLINE_S), LONGEST_DEADLINE_S)

    def took(self, seconds: float) -> None:
        """An invoke was answered after so long."""
        self._slowest_s = max(seconds, self._slowest_s * SLOWEST_DECAY)


class _Slot:
    """One square's place in the shared memory: where its pixels are written, and the model's output as the engine gives it out."""

    def __init__(self, memory: mmap.mmap, number: int, layout: Layout, model: CutModel | StockModel) -> None:
        self.number = number
        size = model.input_size_px
        start = number * layout.slot_bytes
        dtype = np.dtype(layout.input_dtype)
        self._tensor = np.frombuffer(memory, dtype, 3 * size**2, start + layout.input_at).reshape(size, size, 3)
        self._model_input = ModelInput(dtype, size)
        places = [start + place for place in layout.outputs_at]
        if isinstance(model, StockModel):
            people, values = (1, KEYPOINTS * 3) if model.layout == "single" else (6, MULTIPOSE_VALUES)
            finished = np.frombuffer(memory, np.float32, people * values, places[0]).reshape(people, values)
            self.output: ModelOutput = StockPoses(finished[:, : KEYPOINTS * 3].reshape(people, KEYPOINTS, 3))
            return
        sizes = [model.cells**2 * channels for channels in (1, KEYPOINTS, 2 * KEYPOINTS, 2 * KEYPOINTS)]
        heads = zip(sizes, places, strict=False)  # a compiled model has more outputs behind them
        self.output = model.heads([np.frombuffer(memory, np.int8, size, place) for size, place in heads])

    def write(self, fill: Fill) -> None:
        """Sample a square into the whole input, of which libedgetpu leaves nothing usable behind. Raises what ``fill`` raises."""
        self._model_input.write(fill, self._tensor)


def _numbered(settings: Model) -> str:
    """``model.device``, with the index of the first where libedgetpu would not hear the options without one."""
    return f"{settings.device}:0" if settings.edgetpu_options and ":" not in settings.device else settings.device


class _Run:
    """The squares of one frame on their way through the child."""

    def __init__(self, child: ChildProcess, slots: list[_Slot], deadline: Deadline) -> None:
        self._child = child
        self._slots = slots
        self._deadline = deadline
        self._sample_ms: list[float] = []
        self._submitted_at: list[float] = []
        self._free_at = 0.0
        self._answered = 0
        self.results: list[Inference[Any]] = []
        self.device_ms = 0.0

    def all(self, fills: Sequence[Fill], decode: Callable[[ModelOutput], T]) -> list[Inference[T]]:
        for number in range(len(fills)):
            if number == 0:
                self._submit(fills[0])
            if number + 1 < len(fills):
                self._submit(fills[number + 1])  # sampled, and waiting in its slot, while this one runs
            self._finish(decode)
        return self.results

    def drain(self) -> EdgeTpuError | None:
        """Take the answers that nobody waits for any more; the error when they do not come."""
        try:
            while self._answered < len(self._submitted_at):
                self._answer()
        except EdgeTpuError as error:
            return error.bare()
        return None

    def _submit(self, fill: Fill) -> None:
        before = time.perf_counter()
        slot = self._slots[len(self._submitted_at) % len(self._slots)]
        slot.write(fill)
        now = time.perf_counter()
        self._child.submit(slot.number)
        self._sample_ms.append((now - before) * 1e3)
        self._submitted_at.append(now)

    def _finish(self, decode: Callable[[ModelOutput], Any]) -> None:
        number = len(self.results)
        began = max(self._submitted_at[number], self._free_at)
        self._answer()
        self._free_at = time.perf_counter()
        self._deadline.took(self._free_at - began)
        result = decode(self._slots[number % len(self._slots)].output)
        decoded = time.perf_counter()
        took_ms = (self._free_at - began) * 1e3
        self.results.append(Inference(result, EDGETPU, self._sample_ms[number], took_ms, (decoded - self._free_at) * 1e3))

    def _answer(self) -> None:
        self.device_ms = self._child.answer(self._deadline.seconds)
        self._answered += 1
