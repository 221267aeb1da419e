"""No more messages of QoS 1 unacknowledged on a connection than its broker takes: many end it otherwise, as MQTT 5 has it."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST = 64
"""So many at most, whatever the broker says."""

Send = Callable[[], int | None]
"""Queues a packet; returns its id, or ``None`` when the connection is gone."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    send: Send
    number: int
    counts: bool


class Window:
    """Lets messages through as long as there is room, the others later and in order. For several threads."""

    def __init__(self) -> None:
        self.most = MOST
        self._lock = threading.Lock()
        self._under_way: set[int] = set()
        self._waiting: deque[_Waiting] = deque()
        self._numbers: dict[int, int] = {}
        self._acknowledged: deque[int] = deque()

    def send(self, send: Send, number: int, *, counts: bool = True) -> int | None:
        """Send at once, or once there is room: then ``number`` is returned in place of the packet's id.

        What does not ``count`` needs no room, but does not overtake what waits.
        """
        with self._lock:
            waiting = _Waiting(send, number, counts)
            if self._waiting or not self._has_room(waiting):
                self._waiting.append(waiting)
                return number
            return self._send(waiting)

    def acknowledged(self, packet_id: int) -> int:
        """Note that a packet needs no room any more; returns what ``send`` has returned for it. ``pump`` sends what may go now."""
        # No lock: paho holds one of its own here, which whoever sends takes under ours.
        self._acknowledged.append(packet_id)
        return self._numbers.pop(packet_id, packet_id)

    def pump(self) -> None:
        """Send what there is room for by now. Only on the thread that reads acknowledgements: none may come before its number is noted."""
        with self._lock:
            while self._acknowledged:
                self._under_way.discard(self._acknowledged.popleft())
            while self._waiting and self._has_room(self._waiting[0]):
                waiting = self._waiting.popleft()
                packet_id = self._send(waiting)
                if packet_id is not None:
                    self._numbers[packet_id] = waiting.number

    def _has_room(self, waiting: _Waiting) -> bool:
        return not waiting.counts or len(self._under_way) < self.most

    def _send(self, waiting: _Waiting) -> int | None:
        packet_id = waiting.send()
        if packet_id is not None and waiting.counts:
            self._under_way.add(packet_id)
        return packet_id
