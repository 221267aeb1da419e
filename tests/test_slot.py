"""The hand-off between two threads."""

import threading
import time

import pytest

from edge_node.errors import ClosedError
from edge_node.slot import Latest


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
