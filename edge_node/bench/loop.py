"""The node's own parts, run by the benchmark: blocks of frames through the whole loop, between blocks of bare ``invoke``.

The estimator runs on the calling thread, so that its blocks can alternate with bare ones; capture and sinks have their own
threads as in the node. While a bare block runs, a file's capture waits with the next frame in hand and a live one goes on. Beside a live
source the bare model keeps the source's rhythm: after 30 ms of rest an invoke takes more time than in a row, whoever asks for it.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge_node.bench.process import NOTHING_USED, Usage, usage
from edge_node.camera.capture import Capture
from edge_node.config.settings import Settings
from edge_node.data import Frame, People
from edge_node.engine import Engine
from edge_node.engine.cpu import CpuEngine
from edge_node.errors import CameraError, ClosedError, EdgeNodeError
from edge_node.health import Health
from edge_node.memory import settle
from edge_node.pose.estimator import Estimator
from edge_node.sink import Sink
from edge_node.sink.thread import SinkThread
from edge_node.slot import Latest
from edge_node.worker import Worker

BLOCK = 50
"""Frames, or invokes, in one block: about a quarter of a second, short against what else happens on a machine."""
BESIDE_MODEL = ("camera", "av:", "sink-", "mqtt-")
"""Threads that go on while the bare model runs beside a live source, and are none of its cost."""
WARM_UP_FRAMES = 60
FRAME_TIMEOUT_S = 30.0
LOOK_S = 1.0
"""So often it is looked whether the camera has a problem: the node would wait for it to come back, a benchmark does not."""


@dataclass(frozen=True, slots=True)
class Block:
    """``count`` frames or invokes in ``took_s``, rests between them not counted. ``each_ms``: of bare blocks, one square's time in each
    round of as many as run at once.
    """

    count: int
    took_s: float
    used: Usage
    each_ms: tuple[float, ...] = ()


@dataclass(slots=True)
class Seen:
    """What all loop blocks showed."""

    people: list[People] = field(default_factory=list)

    @property
    def inferences_per_frame(self) -> float:
        return sum(len(p.regions) for p in self.people) / max(len(self.people), 1)

    @property
    def squares(self) -> int:
        """The same as a whole number."""
        return max(1, round(self.inferences_per_frame))


class Loop:
    """Capture, estimator and sinks, ready to run in blocks. A context manager."""

    def __init__(self, settings: Settings, engine: Engine, health: Health, sinks: Callable[[bool], list[Sink]]) -> None:
        self._engine = engine
        self._health = health
        self._frames: Latest[Frame] = Latest()
        self._capture = Capture(settings.current.camera, self._frames, health)
        self._estimator = Estimator(engine, settings, health, live=not self.lossless, prepare_next=self._frames.make_room)
        self._ended: list[BaseException | None] = []
        self._interval_s = 0.0
        self._worker = Worker("camera", self._capture.run, self._ended.append)
        self._sinks = [SinkThread(sink, health, self.lossless, self._ended.append) for sink in sinks(self.lossless)]

    @property
    def lossless(self) -> bool:
        return self._capture.lossless

    def __enter__(self) -> "Loop":
        for sink in self._sinks:
            sink.start()
        settle()  # as the node does
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.stop()
        self._frames.close()
        for sink in self._sinks:
            sink.stop(drain=True)
        for join in (self._worker.join, *(sink.join for sink in self._sinks)):
            join(5.0)

    def frames(self, count: int) -> Iterator[People]:
        """Run that many frames; each comes out when it was handed to the sinks.

        Raises what ended the capture, and ``CameraError`` for a camera that gives nothing.
        """
        for _ in range(count):
            people = self._estimator.process(self._next_frame())
            for sink in self._sinks:
                sink.offer(people)
            yield people

    def _next_frame(self) -> Frame:
        deadline = time.monotonic() + FRAME_TIMEOUT_S
        try:
            while (frame := self._frames.get(LOOK_S, keep_room=True)) is None:
                problem = self._health.problems().get("camera")
                if problem or time.monotonic() >= deadline:
                    raise CameraError(problem or f"no frame within {FRAME_TIMEOUT_S:.0f} s")
        except ClosedError:
            self._worker.join(LOOK_S)  # it closes the slot first, then says why
            raise (self._ended and self._ended[0]) or EdgeNodeError("no more frames; choose a longer source") from None
        return frame

    def block(self, seen: Seen) -> Block:
        """One block of frames. The first, captured while the clock stood still, is run before it starts and not counted."""
        frames = self.frames(BLOCK + 1)
        next(frames)
        before, start = usage(), time.perf_counter()
        seen.people.extend(frames)
        block = Block(BLOCK, time.perf_counter() - start, usage().since(before))
        self._interval_s = 0.0 if self.lossless else block.took_s / block.count
        return block

    def bare_block(self, squares: int, other: CpuEngine | None = None) -> Block:
        """As many invokes, ``squares`` at a time, on the interpreters of the loop's engine or another: nothing is sampled or decoded."""
        engine = other or self._engine
        invoke = engine.invoke if isinstance(engine, CpuEngine) else self._invoke_by_infer
        rounds = max(1, BLOCK // squares)
        took_s: list[float] = []
        before, due = usage(), time.perf_counter()
        for _ in range(rounds):
            if self._interval_s:
                due += self._interval_s
                time.sleep(max(0.0, due - time.perf_counter()))
            start = time.perf_counter()
            invoke(squares)
            took_s.append(time.perf_counter() - start)
        used = usage().since(before).less(BESIDE_MODEL)
        return Block(rounds * squares, sum(took_s), used, tuple(1e3 * took / squares for took in took_s))

    def allocated_kb(self) -> float:
        """Python and numpy memory that one frame takes and gives back: median of the peaks of a block."""
        tracemalloc.start(1)
        try:
            peaks = []
            frames = self.frames(BLOCK)
            while True:
                tracemalloc.reset_peak()
                standing, _ = tracemalloc.get_traced_memory()
                if next(frames, None) is None:
                    break
                peaks.append(tracemalloc.get_traced_memory()[1] - standing)
        finally:
            tracemalloc.stop()
        return sorted(peaks)[len(peaks) // 2] / 1e3

    def _invoke_by_infer(self, squares: int) -> None:
        """For engines that give no nearer access, an Edge TPU's: the hop to its process is part of it."""
        self._engine.infer([lambda _view: None] * squares, lambda _output: None)


@dataclass(frozen=True, slots=True)
class Alternated:
    """The sums of one run's blocks, and what the loop's showed. ``whole`` is of the model file as it stands, ``None`` where that is what
    runs anyway.
    """

    people: tuple[People, ...]
    loop: Block
    bare: Block
    whole: Block | None


def alternate(loop: Loop, frames: int, whole: CpuEngine | None, seen: Seen) -> Alternated:
    """One run: loop and bare blocks in turn, until ``frames`` were run; the bare model as many squares at a time as the loop."""
    ran: list[Block] = []
    bare: list[Block] = []
    wholes: list[Block] = []
    seen_before = len(seen.people)
    for number in range(max(1, round(frames / BLOCK))):
        if number % 2:
            bare.append(loop.bare_block(seen.squares))
        ran.append(loop.block(seen))
        if not number % 2:
            bare.append(loop.bare_block(seen.squares))
        if whole is not None:
            wholes.append(loop.bare_block(seen.squares, whole))
    return Alternated(tuple(seen.people[seen_before:]), _sum(ran), _sum(bare), _sum(wholes) if wholes else None)


def _sum(blocks: list[Block]) -> Block:
    used = NOTHING_USED
    for block in blocks:
        used = used.plus(block.used)
    each_ms = tuple(ms for block in blocks for ms in block.each_ms)
    return Block(sum(b.count for b in blocks), sum(b.took_s for b in blocks), used, each_ms)


def warm_up(loop: Loop) -> None:
    """Run until caches, tracks and thread pools have settled."""
    for _ in loop.frames(WARM_UP_FRAMES):
        pass
