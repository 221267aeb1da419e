"""Brokers that hang up at a large message without having said how large a message may be: which message it was, and how to go on.

MQTT 3.1.1 knows no other answer to it, and mosquitto's ``message_size_limit`` ends connections of MQTT 5. As such a message is sent
again on the next connection, it would keep everything behind it from the broker for ever.
"""

import threading

from edge_node.sink.outgoing import Outgoing

HANG_UPS = 3
"""So many brief connections in a row that end at a large message are no accident."""
CLEARLY_LARGER = 1.25
"""A message is not suspected when one that is hardly smaller was read."""
MOST_UNREAD = 256


class Unread:
    """What was sent and may not have been read yet. A broker answers in the order of reading: an answer is one to all before it, too.

    For several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._messages: dict[int, Outgoing | None] = {}
        self._largest_read_bytes = 0

    @property
    def largest_read_bytes(self) -> int:
        """Of the payloads that were read for certain."""
        return self._largest_read_bytes

    @property
    def largest(self) -> Outgoing | None:
        """Of the messages that may not have been read."""
        with self._lock:
            messages = [message for message in self._messages.values() if message is not None]
        return max(messages, key=lambda message: len(message.payload), default=None)

    def sent(self, packet_id: int, message: Outgoing | None) -> None:
        """A packet is on its way: a message, or ``None`` for something else that is answered."""
        with self._lock:
            self._messages[packet_id] = message
            if len(self._messages) > MOST_UNREAD:
                del self._messages[next(iter(self._messages))]

    def answered(self, packet_id: int) -> None:
        """The broker has answered a packet. Of a message of QoS 0 only its departure is told, which says nothing."""
        with self._lock:
            message = self._messages.get(packet_id)
            if packet_id not in self._messages or (message is not None and message.qos == 0):
                return
            for before in list(self._messages):
                read = self._messages.pop(before)
                if read is not None:
                    self._largest_read_bytes = max(self._largest_read_bytes, len(read.payload))
                if before == packet_id:
                    return


class SizeLimit:
    """How large a message one broker takes, as far as it shows. ``bytes``: a payload may have so many; ``None``: no limit is known."""

    def __init__(self) -> None:
        self.bytes: int | None = None
        self._suspects: list[Outgoing] = []
        self._largest_read_bytes = 0

    def lost(self, unread: Unread, brief: bool) -> Outgoing | None:
        """Take in how a connection ended; returns the message at which it did, time and again: one of its size is not to be sent any more.

        What is known is forgotten when the connection was not ``brief``: a broker may have been started anew, with another limit.
        """
        self._largest_read_bytes = max(self._largest_read_bytes, unread.largest_read_bytes)
        suspect = unread.largest
        if not brief:
            self.bytes = None
        if not brief or suspect is None:
            self._forget()
            return None
        self._suspects.append(suspect)
        smallest = min(self._suspects, key=lambda message: len(message.payload))
        if not 0 < CLEARLY_LARGER * self._largest_read_bytes < len(smallest.payload):  # one that reads nothing has another trouble
            self._suspects.clear()
        if len(self._suspects) < HANG_UPS:
            return None
        self._forget()
        self.bytes = len(smallest.payload) - 1
        return smallest

    def _forget(self) -> None:
        self._suspects = []
        self._largest_read_bytes = 0
