"""``Latest``: the hand-off between two threads. It holds one item; the newest wins, and what it drops is counted."""

import threading
import time
from typing import Generic, TypeVar

from edge_node.errors import ClosedError

T = TypeVar("T")


class Latest(Generic[T]):
    """A slot for one item between one producer and one consumer.

    ``put`` never blocks: an item that nobody took is replaced and counted in ``dropped``. ``put_wait`` loses nothing: it
    blocks until the slot is free. ``close`` lets the consumer take what is there and then raises ``ClosedError`` on both
    sides.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: T | None = None
        self._full = False
        self._closed = False
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many items were replaced before anybody took them."""
        return self._dropped

    def put(self, item: T) -> None:
        """Leave ``item``, replacing one that was not taken. Raises ``ClosedError`` when closed."""
        with self._condition:
            self._refuse_when_closed()
            self._dropped += self._full
            self._store(item)

    def put_wait(self, item: T) -> None:
        """Leave ``item`` once the slot is free. Raises ``ClosedError`` when closed, also while waiting."""
        with self._condition:
            self._condition.wait_for(lambda: self._closed or not self._full)
            self._refuse_when_closed()
            self._store(item)

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the item, waiting for one; ``None`` when ``timeout_s`` passes first.

        Raises ``ClosedError`` when the slot is closed and empty.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._condition:
            while not self._full:
                self._refuse_when_closed()
                left_s = None if deadline is None else deadline - time.monotonic()
                if left_s is not None and left_s <= 0:
                    return None
                self._condition.wait(left_s)
            item = self._item
            self._item = None
            self._full = False
            self._condition.notify_all()
            return item

    def close(self) -> None:
        """Let nothing more in. May be called more than once, from any thread."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _store(self, item: T) -> None:
        self._item = item
        self._full = True
        self._condition.notify_all()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise ClosedError("the slot is closed")
