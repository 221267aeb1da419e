"""Times and numbers of frames: when something was captured, where it stands on its source's time line, and pacing."""

import time
from collections import deque

from edge_node.data import Frame, Image

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


class LiveStamper:
    """Makes the frames of a live source: its time line is the monotonic clock. ``seq`` goes on from ``first_seq``."""

    def __init__(self, first_seq: int) -> None:
        self._seq = first_seq
        self._last_ns = 0

    def stamp(self, image: Image, captured_ns: int) -> Frame:
        """A frame captured at ``captured_ns``; the wall clock is read now, so that a step of it is followed.

        A stamp from before the last one is taken for that one: a driver's may come after the arrival of a frame whose own stamp was not
        believed.
        """
        captured_ns = self._last_ns = max(captured_ns, self._last_ns)
        seq = self._seq
        self._seq += 1
        ts = time.time() - (time.monotonic_ns() - captured_ns) / NS_PER_S
        return Frame(image=image, seq=seq, captured_ns=captured_ns, media_ns=captured_ns, ts=ts)

    def skip(self) -> None:
        """A frame is not used; it leaves its number behind."""
        self._seq += 1


class FileStamper:
    """Makes the frames of a file: its time line starts when the file is opened and advances by the file's own times.

    ``interval_ns`` is taken where the file gives no time, or one that goes back, and between one round of a loop and the next.
    """

    def __init__(self, first_seq: int, interval_ns: int) -> None:
        self._seq = first_seq
        self._interval_ns = interval_ns
        self._opened_ts = time.time()
        self._opened_ns = time.monotonic_ns()
        self._round_starts_ns = self._opened_ns
        self._last_ns = self._opened_ns - interval_ns

    def stamp(self, image: Image, position_ms: float | None, captured_ns: int) -> Frame:
        """The frame at ``position_ms`` of the file (``None``: not known)."""
        seq, media_ns = self._seq, self.due_ns(position_ms)
        self.skip(position_ms)
        ts = self._opened_ts + (media_ns - self._opened_ns) / NS_PER_S
        return Frame(image=image, seq=seq, captured_ns=captured_ns, media_ns=media_ns, ts=ts)

    def skip(self, position_ms: float | None) -> None:
        """The frame at ``position_ms`` is not used; it leaves its number behind."""
        self._last_ns = self.due_ns(position_ms)
        self._seq += 1

    def due_ns(self, position_ms: float | None) -> int:
        """Where the next frame stands on the time line, when the file puts it at ``position_ms``."""
        next_ns = self._last_ns + self._interval_ns
        if position_ms is None:
            return next_ns
        told_ns = self._round_starts_ns + round(position_ms * NS_PER_MS)
        return told_ns if told_ns > self._last_ns else next_ns

    def start_over(self) -> None:
        """The file begins again: its first frame follows the last one."""
        self._round_starts_ns = self._last_ns + self._interval_ns


class StreamClock:
    """Turns the time stamps of a network stream into the monotonic clock.

    A frame arrives late by the network's jitter, never early: the smallest (arrival - stamp) of the last ``window`` frames is
    the best guess of the offset between the clocks. Stamps that leave the arrival times by more than ``limit_ms`` are not
    believed, and the clock starts afresh from there.
    """

    def __init__(self, window: int = 256, limit_ms: float = 2000.0) -> None:
        self._offsets_ns: deque[int] = deque(maxlen=window)
        self._limit_ns = round(limit_ms * NS_PER_MS)
        self._last_ns = 0

    def captured_ns(self, stamp_ms: float, arrived_ns: int) -> int:
        """Monotonic time of the frame stamped ``stamp_ms``; later than that of the frame before, and not after its arrival."""
        stamp_ns = round(stamp_ms * NS_PER_MS)
        self._offsets_ns.append(arrived_ns - stamp_ns)
        captured_ns = stamp_ns + min(self._offsets_ns)
        if arrived_ns - captured_ns > self._limit_ns or captured_ns <= self._last_ns:
            self._offsets_ns.clear()
            self._offsets_ns.append(arrived_ns - stamp_ns)
            captured_ns = arrived_ns
        self._last_ns = captured_ns
        return captured_ns


def plausible_monotonic_ns(stamp_ms: float, arrived_ns: int, limit_ms: float = 1000.0) -> int:
    """A driver's stamp when it can be of the monotonic clock (at most ``limit_ms`` before the arrival), else the arrival."""
    stamp_ns = round(stamp_ms * NS_PER_MS)
    return stamp_ns if 0 <= arrived_ns - stamp_ns <= limit_ms * NS_PER_MS else arrived_ns


def sleep_until(due_ns: int) -> None:
    """Sleep until the monotonic clock says ``due_ns``."""
    left_ns = due_ns - time.monotonic_ns()
    if left_ns > 0:
        time.sleep(left_ns / NS_PER_S)
