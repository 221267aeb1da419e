"""Hand-offs between two threads: ``Latest`` holds one item, of which the newest wins; ``Bursts`` loses nothing and gives many at once."""

import threading
import time
from typing import Generic, TypeVar

from edge_node.errors import ClosedError

T = TypeVar("T")

ROOM = 16
GATHER_S = 0.02
"""So long a consumer of ``Bursts`` leaves what comes alone, from when it last took something."""


class Latest(Generic[T]):
    """A slot for one item between one producer and one consumer.

    ``put`` never blocks: an item that nobody took is replaced and counted in ``dropped``. ``put_wait`` loses nothing: it
    blocks until the slot is free and there is room. ``close`` lets the consumer take what is there and then raises ``ClosedError`` on both
    sides.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._emptied = threading.Condition(self._lock)
        # What the consumer waits at; whoever fills the slot opens it. A lock wakes in two thirds of the time of a condition, and there are
        # two such hand-offs in the life of every pose.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._consumer_waits = False
        self._item: T | None = None
        self._full = False
        self._room_kept = False
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items were replaced before anybody took them."""
        return self._dropped

    @property
    def awaited(self) -> bool:
        """The consumer stands in ``get`` with nothing to take."""
        return self._consumer_waits

    def put(self, item: T) -> None:
        """Leave ``item``, replacing one that was not taken. Raises ``ClosedError`` when closed."""
        with self._lock:
            self._refuse_when_closed()
            self._dropped += self._full
            self._store(item)

    def put_wait(self, item: T) -> None:
        """Leave ``item`` once the slot is free. Raises ``ClosedError`` when closed, also while waiting."""
        with self._emptied:
            self._emptied.wait_for(lambda: self._closed or not (self._full or self._room_kept))
            self._refuse_when_closed()
            self._store(item)

    def get(self, timeout_s: float | None = None, *, keep_room: bool = False) -> T | None:
        """Take the item, waiting for one; ``None`` when ``timeout_s`` passes first.

        With ``keep_room`` whoever waits in ``put_wait`` goes on waiting, until ``make_room`` or the next ``get``. Raises ``ClosedError``
        when the slot is closed and empty.
        """
        self.make_room()
        while True:
            with self._lock:
                if self._full:
                    return self._take(keep_room)
                self._refuse_when_closed()
                self._consumer_waits = True
            if not self._gate.acquire(timeout=-1 if timeout_s is None else timeout_s) and self._gave_up():
                return None

    def make_room(self) -> None:
        """Let in what waits, if ``get`` kept it out."""
        if self._room_kept:
            with self._lock:
                self._room_kept = False
                self._emptied.notify_all()

    def close(self) -> None:
        """Let nothing more in. May be called more than once, from any thread."""
        with self._lock:
            self._closed = True
            self._wake_consumer()
            self._emptied.notify_all()

    def _store(self, item: T) -> None:
        self._item = item
        self._full = True
        self._wake_consumer()

    def _take(self, keep_room: bool) -> T | None:
        item = self._item
        self._item = None
        self._full = False
        self._room_kept = keep_room
        if not keep_room:
            self._emptied.notify_all()
        return item

    def _wake_consumer(self) -> None:
        if self._consumer_waits:
            self._consumer_waits = False
            self._gate.release()

    def _gave_up(self) -> bool:
        """The consumer's time is over; False when it was woken at that very moment."""
        with self._lock:
            gave_up, self._consumer_waits = self._consumer_waits, False
        if not gave_up:
            self._gate.acquire()
        return gave_up

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ClosedError("the slot is closed")


class Bursts(Generic[T]):
    """A queue between one producer and one consumer that is emptied at most every ``GATHER_S``, and sooner when it is full.

    To be woken costs a thread as much as its work on one pose; where nobody waits for each of them it is better done for several.
    ``close`` lets the consumer take what is there and then raises ``ClosedError`` on both sides.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._emptied = threading.Condition(self._lock)
        self._filled = threading.Condition(self._lock)
        self._items: list[T] = []
        self._wanted = 1
        self._next_s = 0.0
        self._closed = False

    def put(self, item: T) -> None:
        """Add ``item``, waiting for room. Raises ``ClosedError`` when closed, also while waiting."""
        with self._lock:
            self._emptied.wait_for(lambda: self._closed or len(self._items) < ROOM)
            if self._closed:
                raise ClosedError("the queue is closed")
            self._items.append(item)
            if len(self._items) >= self._wanted:
                self._filled.notify_all()

    def get(self, timeout_s: float) -> list[T]:
        """All that is there, waiting for one; empty when ``timeout_s`` passes first.

        Raises ``ClosedError`` when the queue is closed and empty.
        """
        with self._lock:
            self._wait_for(ROOM, self._next_s - time.monotonic())
            self._wait_for(1, timeout_s)
            if self._closed and not self._items:
                raise ClosedError("the queue is closed")
            taken, self._items = self._items, []
            self._next_s = time.monotonic() + GATHER_S
            self._emptied.notify_all()
            return taken

    def close(self) -> None:
        """Let nothing more in. May be called more than once, from any thread."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._emptied.notify_all()

    def _wait_for(self, wanted: int, timeout_s: float) -> None:
        self._wanted = wanted
        self._filled.wait_for(lambda: self._closed or len(self._items) >= wanted, max(timeout_s, 0.0))
