"""What must arrive: messages of QoS 1 in order, each until the broker has acknowledged it, over outages and deaths of this process.

While the broker is there, a message waits for its acknowledgement in memory, or in the runtime directory (a RAM disk that
outlives the process): nothing is written to the SD card. Once the broker is away, or silent, everything goes into the spool on disk.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_node.config.models import MqttSpool
from edge_node.health import Health
from edge_node.sink.mqtt_window import MOST
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import MEMORY, Kept, Moment, Spool, SpoolError

log = logging.getLogger(__name__)

SHARE = 0.75
"""Of what may be under way to the broker; the rest is for what is said of the moment: poses of QoS 1, status, answers to requests."""
VOLATILE_BYTES = 2_000_000
SILENT_S = 1.0
"""An acknowledgement later than this counts as no broker: what waits goes to disk."""
RETRY_S = 5.0

Publish = Callable[[Outgoing], int | None]


@dataclass(slots=True)
class _UnderWay:
    """Handed to the broker, not acknowledged: message ``number`` of ``spool``."""

    spool: Spool
    number: int
    since_s: float


class Outbox:
    """Used by one thread, the sink's.

    ``disk``: the file of the spool on disk, or ``None`` for none. ``volatile``: a file on a RAM disk, or ``None`` for this process's
    memory.
    """

    def __init__(self, config: MqttSpool, disk: Path | None, volatile: Path | None, health: Health) -> None:
        self._health = health
        self._volatile = Spool(volatile or MEMORY, VOLATILE_BYTES, config.max_age_s, durable=False)
        self._disk = Spool(disk, config.max_bytes, config.max_age_s, durable=True) if disk else None
        self._publish: Publish | None = None
        self._most = 0
        self._under_way: dict[int, _UnderWay] = {}
        self._handed: dict[Spool, int] = {}
        self._disk_retry_at_s = 0.0
        self._forgotten = 0

    def __len__(self) -> int:
        return len(self._volatile) + (len(self._disk) if self._disk is not None else 0)

    def attach(self, publish: Publish | None, most_under_way: int = MOST) -> None:
        """A connection to send through, or none any more. What was not acknowledged over the last one is sent again.

        ``most_under_way``: the broker takes no more messages of QoS 1 unacknowledged, these and all others together.
        """
        self._publish = publish
        self._most = max(int(SHARE * most_under_way), 1)
        self._under_way.clear()
        self._handed.clear()
        if publish is None:
            self._to_disk()

    def add(self, message: Outgoing) -> None:
        """Take a message; it leaves with the next ``pump``."""
        kept = [Kept(0, Moment.now(), message)]
        try:
            self._volatile.add(kept)
        except SpoolError as error:
            log.warning("what waits for the broker waits in memory from now on: %s", error)
            self._leave_ram_disk()
            self._volatile.add(kept)
        if self._publish is None:
            self._to_disk()

    def acknowledged(self, message_ids: Iterable[int]) -> None:
        """The broker has these; ids of other messages are let pass."""
        done: dict[Spool, list[int]] = {}
        for message_id in message_ids:
            found = self._under_way.pop(message_id, None)
            if found is not None:
                done.setdefault(found.spool, []).append(found.number)
        for spool, numbers in done.items():
            try:
                spool.remove(numbers)
            except SpoolError as error:
                self._say(error)

    def pump(self) -> None:
        """Send what waits, in order, as far as the broker acknowledges; save what it leaves unanswered."""
        if self._publish is None or self._silent():
            self._to_disk()
        elif self._disk is None or self._send_all(self._disk, self._publish):
            self._send_all(self._volatile, self._publish)
        self._count_forgotten()

    def close(self) -> None:
        """Save everything that was not acknowledged."""
        self._disk_retry_at_s = 0.0
        self._to_disk()
        self._volatile.close()
        if self._disk is not None:
            self._disk.close()

    def _silent(self) -> bool:
        oldest_s = min((u.since_s for u in self._under_way.values()), default=None)
        return oldest_s is not None and time.monotonic() - oldest_s > SILENT_S

    def _send_all(self, spool: Spool, publish: Publish) -> bool:
        """True when nothing of this spool is left to send."""
        room = self._most - len(self._under_way)
        try:
            waiting = spool.after(self._handed.get(spool, 0), room + 1)
        except SpoolError as error:
            self._say(error)
            return False
        for kept in waiting[:room]:
            message_id = publish(kept.message)
            if message_id is None:
                return False
            self._under_way[message_id] = _UnderWay(spool, kept.id, time.monotonic())
            self._handed[spool] = kept.id
        return len(waiting) <= room

    def _to_disk(self) -> None:
        """Move what waits in memory behind what is on disk, or leave it there when the disk does not take it."""
        if self._disk is None or len(self._volatile) == 0 or time.monotonic() < self._disk_retry_at_s:
            return
        try:
            numbers = _copied(self._volatile, self._disk)
            self._volatile.remove(numbers)
        except SpoolError as error:
            self._disk_retry_at_s = time.monotonic() + RETRY_S
            self._say(error)
            return
        self._moved(self._volatile, self._disk, numbers)
        self._health.problem("spool", None)

    def _leave_ram_disk(self) -> None:
        """Have everything that waits there in memory, and nothing left over that a later start would send once more."""
        left, memory = self._volatile, Spool(MEMORY, VOLATILE_BYTES, float("inf"), durable=False)
        with contextlib.suppress(SpoolError):  # damaged: it was set aside with all it had, and that was said
            self._moved(left, memory, _copied(left, memory))
        memory.forgotten += left.forgotten
        left.discard()
        self._volatile = memory

    def _moved(self, source: Spool, target: Spool, numbers: Mapping[int, int]) -> None:
        """Messages stand in ``target`` now: their old to new ``numbers``. What was under way remains so."""
        handed = self._handed.pop(source, 0)
        self._handed[target] = max([self._handed.get(target, 0), *(new for old, new in numbers.items() if old <= handed)])
        for under_way in self._under_way.values():
            if under_way.spool is source:
                under_way.spool, under_way.number = target, numbers.get(under_way.number, 0)

    def _say(self, error: SpoolError) -> None:
        text = f"events cannot be saved: {error}; they wait in memory"
        if self._health.problem("spool", text):
            log.error("%s", text)

    def _count_forgotten(self) -> None:
        forgotten = self._volatile.forgotten + (self._disk.forgotten if self._disk is not None else 0)
        if forgotten > self._forgotten:
            self._health.count("mqtt_spool_forgotten", forgotten - self._forgotten)
            self._forgotten = forgotten


def _copied(source: Spool, target: Spool) -> dict[int, int]:
    """Keep in ``target``, too, what waits in ``source``; returns the old to the new numbers. Raises ``SpoolError``."""
    waiting = source.after(0, len(source))
    return dict(zip([kept.id for kept in waiting], target.add(waiting), strict=True))
