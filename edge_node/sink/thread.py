"""Each sink's own thread, and the slot in front of it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from edge_node.data import People
from edge_node.errors import ClosedError
from edge_node.health import NODE, Health
from edge_node.sink import Sink
from edge_node.slot import Bursts, Latest
from edge_node.worker import Worker

TICK_S = 0.1


class SinkThread:
    """Feeds one sink.

    With ``lossless`` (files) the loop waits for the sink, which gets messages in bursts and without pictures; otherwise the newest
    message replaces one that was not taken, and the replaced are counted as ``<sink>_dropped``.
    """

    def __init__(self, sink: Sink, health: Health, lossless: bool, on_failure: Callable[[BaseException], None]) -> None:
        self._sink = sink
        self._health = health
        self._on_failure = on_failure
        self._newest: Latest[People] = Latest()
        self._every: Bursts[People] | None = Bursts() if lossless else None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._drain = True
        self._dropped = 0
        self._worker = Worker(f"sink-{sink.name}", self._run, self._ended)

    @property
    def is_alive(self) -> bool:
        """Whether the thread is still at work."""
        return self._worker.is_alive

    def start(self) -> None:
        """Start the thread and wait until the sink is open. Raises what the sink's ``start`` raises."""
        self._worker.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def offer(self, people: People) -> None:
        """Hand over one message. Raises ``ClosedError`` once the sink was stopped."""
        if self._every is not None:
            self._every.put(people if people.image is None else replace(people, image=None))
        else:
            self._newest.put(people)
            self._count_dropped()

    def stop(self, drain: bool) -> None:
        """Take nothing more. With ``drain`` what is at hand is still delivered."""
        self._drain = drain
        self._close()
        if not drain:
            self._sink.stop_waiting()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread's end; False when it did not come in time."""
        return self._worker.join(timeout_s)

    def _run(self) -> None:
        self._sink.start()
        self._started.set()
        failed = True
        try:
            self._deliver_all()
            failed = False
        finally:
            if failed:
                self._health.problem(NODE, f"the {self._sink.name} thread failed")
            self._sink.finish(self._drain)

    def _deliver_all(self) -> None:
        next_tick = time.monotonic()
        while True:
            try:
                burst = self._take()
            except ClosedError:
                return
            if burst:
                self._deliver(burst)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                self._sink.tick()

    def _take(self) -> Sequence[People]:
        if self._every is not None:
            return self._every.get(TICK_S)
        people = self._newest.get(TICK_S)
        return () if people is None else (people,)

    def _deliver(self, burst: Sequence[People]) -> None:
        begun_ns = time.monotonic_ns()
        for people in burst:
            self._sink.deliver(people)
        self._sink.flush()
        self._health.stage(f"publish_{self._sink.name}", (time.monotonic_ns() - begun_ns) / 1e6 / len(burst))

    def _close(self) -> None:
        self._newest.close()
        if self._every is not None:
            self._every.close()

    def _count_dropped(self) -> None:
        """On the producer's thread: the sink's own may be stuck for good."""
        dropped = self._newest.dropped
        if dropped > self._dropped:
            self._health.count(f"{self._sink.name}_dropped", dropped - self._dropped)
            self._dropped = dropped

    def _ended(self, error: BaseException | None) -> None:
        self._failure = error
        if not self._started.is_set():
            self._started.set()
        elif error is not None:
            self._on_failure(error)
        self._close()  # last: it ends the producer, whose end is not to be heard before the reason
