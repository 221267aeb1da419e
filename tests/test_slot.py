"""The hand-off between two threads."""

import itertools
import threading
import time

import pytest

from edge_node.errors import ClosedError
from edge_node.slot import GATHER_S, ROOM, Bursts, Latest


def test_the_newest_wins_and_the_replaced_are_counted() -> None:
    slot: Latest[int] = Latest()
    for item in (1, 2, 3):
        slot.put(item)
    assert slot.get() == 3
    assert slot.dropped == 2
    assert slot.get(timeout_s=0) is None


def test_put_wait_loses_nothing_and_keeps_the_order() -> None:
    slot: Latest[int] = Latest()
    taken: list[int] = []

    def consume() -> None:
        try:
            while True:
                item = slot.get()
                assert item is not None
                taken.append(item)
        except ClosedError:
            pass

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(1000):
        slot.put_wait(item)
    slot.close()
    consumer.join(5)
    assert taken == list(range(1000))
    assert slot.dropped == 0


def test_what_was_left_before_the_close_can_still_be_taken() -> None:
    slot: Latest[int] = Latest()
    slot.put(1)
    slot.close()
    assert slot.get() == 1
    with pytest.raises(ClosedError):
        slot.get()
    with pytest.raises(ClosedError):
        slot.put(2)


def test_close_wakes_a_producer_and_a_consumer_that_wait() -> None:
    full: Latest[int] = Latest()
    full.put(1)
    empty: Latest[int] = Latest()
    ended: list[str] = []

    def produce() -> None:
        with pytest.raises(ClosedError):
            full.put_wait(2)
        ended.append("producer")

    def consume() -> None:
        with pytest.raises(ClosedError):
            empty.get()
        ended.append("consumer")

    threads = [threading.Thread(target=produce), threading.Thread(target=consume)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    full.close()
    empty.close()
    for thread in threads:
        thread.join(5)
    assert sorted(ended) == ["consumer", "producer"]


def test_room_that_is_kept_is_free_at_make_room_or_else_at_the_next_get() -> None:
    slot: Latest[int] = Latest()
    slot.put(0)
    left: list[int] = []

    def produce() -> None:
        for item in (1, 2):
            slot.put_wait(item)
            left.append(item)

    producer = threading.Thread(target=produce)
    producer.start()
    assert slot.get(keep_room=True) == 0
    time.sleep(0.05)
    assert left == []
    slot.make_room()
    assert slot.get(timeout_s=5, keep_room=True) == 1
    deadline = time.monotonic() + 5
    while not left and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.05)
    assert left == [1]
    assert slot.get(timeout_s=5) == 2
    producer.join(5)
    assert left == [1, 2]


def test_close_wakes_a_producer_for_whom_room_is_kept() -> None:
    slot: Latest[int] = Latest()
    slot.put(0)
    slot.get(keep_room=True)
    ended = threading.Event()

    def produce() -> None:
        with pytest.raises(ClosedError):
            slot.put_wait(1)
        ended.set()

    producer = threading.Thread(target=produce)
    producer.start()
    time.sleep(0.05)
    assert not ended.is_set()
    slot.close()
    producer.join(5)
    assert ended.is_set()


class LateGate:
    """A lock whose wait is over at the very moment when it is opened by an item."""

    def __init__(self, slot: Latest[int]) -> None:
        self._slot = slot
        self._lock = threading.Lock()
        self._lock.acquire()
        self._items = itertools.count()

    def acquire(self, timeout: float = -1) -> bool:
        if timeout < 0:
            return self._lock.acquire(timeout=1)
        self._slot.put(next(self._items))
        return False

    def release(self) -> None:
        self._lock.release()


def test_an_item_that_comes_when_the_wait_for_it_is_just_over_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    slot: Latest[int] = Latest()
    monkeypatch.setattr(slot, "_gate", LateGate(slot))
    assert [slot.get(timeout_s=0.1) for _ in range(3)] == [0, 1, 2]


def test_a_slot_is_awaited_while_its_consumer_waits_for_an_item() -> None:
    slot: Latest[int] = Latest()
    assert not slot.awaited
    consumer = threading.Thread(target=slot.get, args=(20,))
    consumer.start()
    deadline = time.monotonic() + 10
    while not slot.awaited and time.monotonic() < deadline:
        time.sleep(0.001)
    assert slot.awaited
    slot.put(1)
    consumer.join(10)
    assert not slot.awaited


def test_the_wait_for_an_item_ends_when_its_time_is_over() -> None:
    slot: Latest[int] = Latest()
    began_s = time.monotonic()
    assert slot.get(timeout_s=0.05) is None
    assert 0.05 <= time.monotonic() - began_s < 1


# ---- Bursts


def test_what_comes_soon_after_a_burst_waits_for_the_next_one() -> None:
    queue: Bursts[int] = Bursts()
    queue.put(0)
    assert queue.get(1) == [0]
    begun = time.monotonic()
    feeder = threading.Thread(target=lambda: [queue.put(item) for item in range(1, 6)])
    feeder.start()
    assert queue.get(1) == [1, 2, 3, 4, 5]
    assert time.monotonic() - begun >= 0.9 * GATHER_S
    feeder.join()


def test_a_full_queue_is_taken_at_once_and_what_is_rare_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.slot.GATHER_S", 30.0)
    queue: Bursts[int] = Bursts()
    begun = time.monotonic()
    queue.put(-1)
    assert queue.get(1) == [-1]
    for item in range(ROOM):
        queue.put(item)
    assert queue.get(1) == list(range(ROOM))
    monkeypatch.setattr("edge_node.slot.GATHER_S", 0.0)
    queue = Bursts()
    later = threading.Timer(0.05, queue.put, [7])
    later.start()
    assert queue.get(20) == [7]
    assert time.monotonic() - begun < 10


def test_nothing_comes_within_the_time() -> None:
    assert Bursts[int]().get(0.01) == []


def test_bursts_lose_nothing_and_keep_the_order() -> None:
    queue: Bursts[int] = Bursts()
    taken: list[int] = []

    def consume() -> None:
        try:
            while True:
                burst = queue.get(5)
                assert 1 <= len(burst) <= ROOM
                taken.extend(burst)
        except ClosedError:
            pass

    consumer = threading.Thread(target=consume)
    consumer.start()
    for item in range(1000):
        queue.put(item)
    queue.close()
    consumer.join(5)
    assert taken == list(range(1000))


def test_closing_bursts_wakes_both_sides_and_leaves_what_is_there() -> None:
    queue: Bursts[int] = Bursts()
    for item in range(ROOM):
        queue.put(item)
    refused = threading.Event()

    def put_one_too_many() -> None:
        with pytest.raises(ClosedError):
            queue.put(ROOM)
        refused.set()

    producer = threading.Thread(target=put_one_too_many)
    producer.start()
    queue.close()
    assert refused.wait(5)
    assert queue.get(1) == list(range(ROOM))
    with pytest.raises(ClosedError):
        queue.get(1)
    with pytest.raises(ClosedError):
        queue.put(0)
    producer.join()
