"""A sink's own thread: the loop never waits for it, unless nothing may be lost."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from edge_node.data import People
from edge_node.errors import ClosedError, SinkError
from edge_node.health import NODE, Health
from edge_node.sink.thread import SinkThread


class Collector:
    """A sink that keeps what it gets, and can be held up or made to fail."""

    name = "collector"

    def __init__(self) -> None:
        self.got: list[int] = []
        self.flushed: list[int] = []
        self.pictures = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.taken = threading.Event()
        self.start_error: Exception | None = None
        self.deliver_error: Exception | None = None
        self.drained: bool | None = None

    def start(self) -> None:
        if self.start_error:
            raise self.start_error

    def deliver(self, people: People) -> None:
        self.taken.set()
        self.go_on.wait(5)
        if self.deliver_error:
            raise self.deliver_error
        self.got.append(people.seq)
        self.pictures += people.image is not None

    def flush(self) -> None:
        self.flushed.append(len(self.got))

    def tick(self) -> None:
        pass

    def finish(self, drain: bool) -> None:
        self.drained = drain

    def stop_waiting(self) -> None:
        pass


def test_a_sink_that_fails_leaves_the_reason_in_health_before_it_says_its_last_word() -> None:
    health, known = Health(), []
    sink = Collector()
    sink.deliver_error = SinkError("no")
    sink.finish = lambda _drain: known.append(health.problems())  # type: ignore[method-assign]
    thread = SinkThread(sink, health, lossless=True, on_failure=lambda _: None)
    thread.start()
    thread.offer(people(0))
    assert thread.join(5)
    assert known == [{NODE: "the collector thread failed"}]


def people(seq: int) -> People:
    return People(seq=seq, captured_ns=0, media_ns=0, ts=0.0, width_px=4, height_px=3, accelerator="cpu", people=())


def held_up() -> tuple[Collector, SinkThread, Health]:
    """A sink that still has frame 0 in its hands when frames 1 to 9 have been offered."""
    sink, health = Collector(), Health()
    thread = SinkThread(sink, health, lossless=False, on_failure=pytest.fail)
    thread.start()
    sink.go_on.clear()
    thread.offer(people(0))
    assert sink.taken.wait(5)
    for seq in range(1, 10):
        thread.offer(people(seq))
    return sink, thread, health


def test_a_held_up_sink_gets_the_newest_and_the_rest_is_counted() -> None:
    sink, thread, health = held_up()
    sink.go_on.set()
    thread.stop(drain=True)
    assert thread.join(5)
    assert sink.got == [0, 9]
    assert sink.drained is True
    assert health.report().counters["collector_dropped"] == 8


def test_what_a_sink_misses_is_counted_though_it_never_comes_back() -> None:
    sink, thread, health = held_up()
    assert health.report().counters["collector_dropped"] == 8
    sink.go_on.set()
    thread.stop(drain=True)
    assert thread.join(5)


def test_a_lossless_sink_gets_everything_in_order() -> None:
    sink = Collector()
    thread = SinkThread(sink, Health(), lossless=True, on_failure=pytest.fail)
    thread.start()
    for seq in range(200):
        thread.offer(people(seq))
    thread.stop(drain=True)
    assert thread.join(5)
    assert sink.got == list(range(200))


def test_a_lossless_sink_is_flushed_behind_each_burst_and_any_other_behind_each_message() -> None:
    every, newest = Collector(), Collector()
    threads = [SinkThread(sink, Health(), lossless, pytest.fail) for sink, lossless in ((every, True), (newest, False))]
    for thread in threads:
        thread.start()
    for seq in range(40):
        threads[0].offer(people(seq))
    for seq in range(3):
        threads[1].offer(people(seq))
        deadline_s = time.monotonic() + 5
        while len(newest.flushed) <= seq and time.monotonic() < deadline_s:
            time.sleep(0.001)
    for thread in threads:
        thread.stop(drain=True)
        assert thread.join(5)
    assert newest.flushed == [1, 2, 3]
    assert every.flushed[-1] == 40
    assert len(every.flushed) <= 10


def test_messages_that_wait_for_a_lossless_sink_hold_no_pictures() -> None:
    every, newest = Collector(), Collector()
    for sink, lossless in ((every, True), (newest, False)):
        thread = SinkThread(sink, Health(), lossless, pytest.fail)
        thread.start()
        thread.offer(replace(people(0), image=np.zeros((3, 4, 3), np.uint8)))
        thread.stop(drain=True)
        assert thread.join(5)
    assert (every.got, every.pictures) == ([0], 0)
    assert (newest.got, newest.pictures) == ([0], 1)


def test_a_sink_that_cannot_start_says_so_to_whoever_starts_it() -> None:
    sink = Collector()
    sink.start_error = SinkError("no such folder")
    with pytest.raises(SinkError, match="no such folder"):
        SinkThread(sink, Health(), lossless=False, on_failure=pytest.fail).start()


def test_a_sink_that_fails_later_is_reported() -> None:
    sink, failures = Collector(), list[BaseException]()
    sink.deliver_error = RuntimeError("broken")
    thread = SinkThread(sink, Health(), lossless=False, on_failure=failures.append)
    thread.start()
    thread.offer(people(0))
    assert thread.join(5)
    assert [str(f) for f in failures] == ["broken"]
    assert sink.drained is not None


def test_the_reason_of_a_failure_is_told_before_whoever_feeds_the_sink_is_turned_away() -> None:
    sink, taken = Collector(), threading.Event()
    sink.deliver_error = RuntimeError("broken")

    def offer_more(_reason: BaseException) -> None:
        thread.offer(people(1))  # raises once the slot is closed
        taken.set()

    thread = SinkThread(sink, Health(), lossless=False, on_failure=offer_more)
    thread.start()
    thread.offer(people(0))
    assert taken.wait(5)
    assert thread.join(5)
    with pytest.raises(ClosedError):
        thread.offer(people(2))
