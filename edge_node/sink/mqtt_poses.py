"""Which poses are published, and never more of them under way than the broker keeps up with.

A message of QoS 0 has no acknowledgement: a broker that stalls lets it pile up in buffers, and hands out stale poses when it
wakes. So a pose goes out only while the broker has just shown that it reads: a probe is answered in the order of reading.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np

from edge_node.config.models import Mqtt
from edge_node.data import People
from edge_node.health import Health
from edge_node.sink.mqtt_session import Session
from edge_node.sink.outgoing import Outgoing

FRESH_NS = 5_000_000
"""A sign of life is good for so long, or for two round trips on a longer line."""
MAX_FRESH_NS = 1_000_000_000
ROUND_TRIPS = 16
WINDOW = 32
"""Poses of a file under way at most."""
MOVED = 0.005
"""A joint has moved when it is this far from where it was last published, as a share of the frame."""

Make = Callable[[People], Outgoing]


class PoseLane(Protocol):
    """Takes poses from the sink's thread to the broker. ``answered`` is called on the network thread."""

    def attach(self, session: Session | None) -> None:
        """Another connection, or none."""

    def offer(self, people: People, timeout_s: float) -> bool:
        """Take one; False when there was no room for it within the time."""

    def pump(self) -> None:
        """Send what may go."""

    def settle(self, timeout_s: float) -> None:
        """Let what was offered go first, for a moment."""

    def answered(self, session: Session) -> None:
        """The broker has answered the probe."""

    def wake(self) -> None:
        """Have whoever waits here look again."""

    def drained(self) -> bool:
        """Nothing is left to send or to be confirmed."""

    def stalled_s(self) -> float:
        """For how long the broker owes an answer."""


class _Probe:
    """One question at a time, and how long answers usually take."""

    def __init__(self) -> None:
        self._asked_ns: int | None = None
        self._answered_ns = 0
        self._round_trips_ns: deque[int] = deque(maxlen=ROUND_TRIPS)

    def ask(self, session: Session) -> bool:
        """Ask unless an answer is outstanding; True when asked."""
        if self._asked_ns is not None:
            return False
        self._asked_ns = time.monotonic_ns()
        session.probe()
        return True

    def answered(self) -> None:
        self._answered_ns = time.monotonic_ns()
        if self._asked_ns is not None:
            self._round_trips_ns.append(self._answered_ns - self._asked_ns)
            self._asked_ns = None

    def fresh(self) -> bool:
        """The broker showed a moment ago that it reads."""
        return time.monotonic_ns() - self._answered_ns <= self._limit_ns()

    def long_line(self) -> bool:
        """Answers take so long that the next question must be under way before the last answer is stale."""
        return self._limit_ns() > FRESH_NS

    def owed_s(self) -> float:
        """For how long an answer is outstanding."""
        asked_ns = self._asked_ns
        return 0.0 if asked_ns is None else (time.monotonic_ns() - asked_ns) / 1e9

    def _limit_ns(self) -> int:
        # The lower quartile: a broker or machine that is busy for moments makes no long line.
        usual_ns = sorted(self._round_trips_ns)[len(self._round_trips_ns) // 4] if self._round_trips_ns else 0
        return min(max(FRESH_NS, 2 * usual_ns), MAX_FRESH_NS)


class NewestPose:
    """For live cameras: holds one pose, the newest; what it replaces is counted as dropped. Never waits.

    ``expired`` is called, on either thread, when the newest became too old and was thrown away.
    """

    def __init__(self, make: Make, health: Health, expiry_s: float, expired: Callable[[], None] = lambda: None) -> None:
        self._make = make
        self._health = health
        self._expired = expired
        self._expiry_ns = int(expiry_s * 1e9)
        self._condition = threading.Condition()
        self._session: Session | None = None
        self._probe = _Probe()
        self._held: People | None = None
        self._message: Outgoing | None = None

    def attach(self, session: Session | None) -> None:
        with self._condition:
            self._session = session
            self._probe = _Probe()
            self._pump()

    def offer(self, people: People, timeout_s: float) -> bool:  # noqa: ARG002 - it never has to wait
        with self._condition:
            if self._held is not None:
                self._health.count("mqtt_dropped")
            self._held, self._message = people, None
            self._pump()
        return True

    def pump(self) -> None:
        with self._condition:
            self._pump()

    def settle(self, timeout_s: float) -> None:
        # Whoever goes on working holds the interpreter's lock, and the network thread, answer in hand, waits for it. The message is
        # made before, while the broker answers.
        with self._condition:
            if self._held is not None and self._session is not None and self._message is None:
                self._message = self._make(self._held)
            self._condition.wait_for(lambda: self._held is None or self._session is None, timeout_s)

    def answered(self, session: Session) -> None:
        with self._condition:
            if session is self._session:
                self._probe.answered()
                self._pump()

    def wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def drained(self) -> bool:
        return self._held is None

    def stalled_s(self) -> float:
        return self._probe.owed_s()

    def _pump(self) -> None:
        if self._held is None or self._session is None:
            return
        if time.monotonic_ns() - self._held.captured_ns > self._expiry_ns:
            self._held = None
            self._health.count("mqtt_dropped")
            self._expired()
        elif self._probe.fresh():
            self._session.publish(self._message or self._make(self._held))
            self._held = None
            if self._probe.long_line():
                self._probe.ask(self._session)
        else:
            self._probe.ask(self._session)


class EveryPose:
    """For files: every pose is delivered, in order, at least once; ``offer`` finds no room while too many are unconfirmed.

    Those offered between two calls of ``pump`` go out together, with one question behind them.
    """

    def __init__(self, make: Make) -> None:
        self._make = make
        self._condition = threading.Condition()
        self._session: Session | None = None
        self._probe = _Probe()
        self._waiting: deque[People] = deque()
        self._sent: deque[People] = deque()
        self._covered = 0

    def attach(self, session: Session | None) -> None:
        with self._condition:
            self._session = session
            self._probe = _Probe()
            self._waiting.extendleft(reversed(self._sent))
            self._sent.clear()
            self._pump()

    def offer(self, people: People, timeout_s: float) -> bool:
        with self._condition:
            if not self._condition.wait_for(self._has_room, timeout_s):
                return False
            self._waiting.append(people)
            return True

    def pump(self) -> None:
        with self._condition:
            self._pump()

    def settle(self, timeout_s: float) -> None:
        """Nothing waits here for an answer."""

    def answered(self, session: Session) -> None:
        with self._condition:
            if session is not self._session:
                return
            self._probe.answered()
            for _ in range(self._covered):
                self._sent.popleft()
            self._pump()

    def wake(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def drained(self) -> bool:
        return not self._waiting and not self._sent

    def stalled_s(self) -> float:
        return self._probe.owed_s()

    def _has_room(self) -> bool:
        return len(self._waiting) + len(self._sent) < WINDOW

    def _pump(self) -> None:
        if self._session is None:
            return
        while self._waiting:
            self._session.publish(self._make(self._waiting[0]))
            self._sent.append(self._waiting.popleft())
        if self._sent and self._probe.ask(self._session):
            self._covered = len(self._sent)


class PosePolicy:
    """Which frames are worth a message, as the configuration says. Times are of the source's own time line."""

    def __init__(self) -> None:
        self._last: People | None = None
        self._due_s = 0.0
        self._missed = False

    def missed(self) -> None:
        """The last frame wanted may not have reached everybody: the next is worth a message though nothing changed. For any thread."""
        self._missed = True

    def wants(self, people: People, config: Mqtt) -> bool:
        """Whether to publish this frame."""
        if not config.pose:
            return False
        last = self._last
        now_s = people.media_ns / 1e9
        if last is None:
            self._due_s = now_s
        elif config.on_change and not self._missed and not _changed(last, people):
            return False
        elif (interval_s := _interval_s(last, people, config)) > 0:
            # Counted from when the last was due, not sent: the mean rate stays right although frames come when they come.
            if now_s < self._due_s + 0.99 * interval_s:
                return False
            self._due_s = max(self._due_s + interval_s, now_s - interval_s)
        else:
            self._due_s = now_s
        self._last = people
        self._missed = False
        return True


def _interval_s(last: People, people: People, config: Mqtt) -> float:
    rates_hz = [config.max_rate_hz]
    if not people.people and not last.people:
        rates_hz.append(config.empty_rate_hz)
    return max((1 / rate for rate in rates_hz if rate > 0), default=0.0)


def _changed(last: People, people: People) -> bool:
    before = {person.id: person.keypoints for person in last.people}
    if before.keys() != {person.id for person in people.people}:
        return True
    return any(np.abs(person.keypoints[:, :2] - before[person.id][:, :2]).max() > MOVED for person in people.people)
