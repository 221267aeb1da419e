"""Messages that must not be lost, in order, in an SQLite file (or in memory): bounded by size and age, safe against kill and power loss."""

import contextlib
import logging
import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, Self

from edge_node.errors import SinkError
from edge_node.filesystem import exists
from edge_node.sink.outgoing import Outgoing

log = logging.getLogger(__name__)

MEMORY = Path(":memory:")
_VERSION = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, expiry_s INTEGER
)"""
_ADDED_COLUMNS = {"boot": "TEXT NOT NULL DEFAULT ''", "boot_s": "REAL NOT NULL DEFAULT 0"}
"""Files made before have no such columns and get them. With these defaults an older program can read and write the file as well."""
_INSERT = "INSERT INTO message (at, boot, boot_s, topic, payload, qos, retain, expiry_s) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_SELECT = "SELECT id, at, boot, boot_s, topic, payload, qos, retain, expiry_s FROM message WHERE id > ? ORDER BY id LIMIT ?"
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by two clocks. A machine without a battery for its clock sets the wall clock whenever it finds a network.

    ``wall_s``: seconds since 1970. ``boot_s``: seconds since the machine's start ``boot``, sleep included; nobody sets that clock.
    """

    wall_s: float
    boot: str
    boot_s: float

    @classmethod
    def now(cls) -> Self:
        """The present."""
        return cls(time.time(), _boot(), time.clock_gettime(time.CLOCK_BOOTTIME))

    def since_s(self, earlier: "Moment") -> float:
        """Seconds from ``earlier`` to this: by the wall clocks only where the machine was started anew between."""
        return self.boot_s - earlier.boot_s if self.boot == earlier.boot else self.wall_s - earlier.wall_s


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in the spool. ``at``: when it came in."""

    id: int
    at: Moment
    message: Outgoing


class SpoolError(SinkError):
    """The spool cannot take or give messages now: full disk, no permission. What it had, it still has."""


class Spool:
    """First in, first out. Used by one thread.

    Beyond ``max_bytes`` of payloads the oldest go; what is older than ``max_age_s`` is not given out any more; both are counted in
    ``forgotten``. The file is made when the first message comes. A file that is no spool is set aside.
    """

    def __init__(self, path: Path, max_bytes: int, max_age_s: float, durable: bool) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._durable = durable
        self._database: sqlite3.Connection | None = None
        self._bytes = 0
        self._count = 0
        self.forgotten = 0
        try:
            if path != MEMORY and exists(path, SpoolError):
                self._opened()
        except (sqlite3.Error, SpoolError) as error:
            log.error("the spool %s cannot be used now: %s", path, error)

    def __len__(self) -> int:
        return self._count

    def add(self, messages: Sequence[Kept]) -> list[int]:
        """Keep all of them, or raise ``SpoolError`` and keep none. They get new ids, which are returned."""
        rows = [_row(kept) for kept in messages]
        try:
            database = self._opened()
            # A message must be on the disk before we go on; taking one out may be lost in a power cut: it is sent twice then.
            database.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'OFF'}")
            with database:  # what has to make room goes with what comes in, or neither
                ids = [database.execute(_INSERT, row).lastrowid or 0 for row in rows]
                count, size = self._count + len(rows), self._bytes + sum(len(kept.message.payload) for kept in messages)
                forgotten = 0
                while size > self._max_bytes and count - forgotten > 1:
                    size -= _delete_oldest(database)
                    forgotten += 1
        except sqlite3.Error as error:
            self._failed(error)
        self._count, self._bytes = count - forgotten, size
        self.forgotten += forgotten
        return ids

    def after(self, last_id: int, limit: int) -> list[Kept]:
        """The next ``limit`` messages behind ``last_id``, oldest first; fewer when there are no more. Raises ``SpoolError``."""
        kept: list[Kept] = []
        while len(kept) < limit and (more := self._read(last_id, limit - len(kept))):
            last_id = more[-1].id
            now = Moment.now()
            young = [k for k in more if now.since_s(k.at) <= self._max_age_s]
            if len(young) < len(more):
                self.remove({k.id for k in more} - {k.id for k in young})
                self.forgotten += len(more) - len(young)
            kept += young
        return kept

    def remove(self, ids: Iterable[int]) -> None:
        """Take out what was delivered. Raises ``SpoolError``; it will be delivered again then."""
        numbers = list(ids)
        try:
            database = self._opened()
            database.execute(f"PRAGMA synchronous = {'NORMAL' if self._durable else 'OFF'}")
            with database:
                for number in numbers:
                    for (size,) in database.execute("DELETE FROM message WHERE id = ? RETURNING length(payload)", (number,)).fetchall():
                        self._count -= 1
                        self._bytes -= size
        except sqlite3.Error as error:
            self._failed(error)

    def close(self) -> None:
        """May be called more than once."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def discard(self) -> None:
        """End with everything that is in it, as far as the file can be taken away."""
        self.close()
        if self._path != MEMORY:
            for file in (self._path, *self._beside()):
                with contextlib.suppress(OSError):
                    file.unlink(missing_ok=True)
        self._count = self._bytes = 0

    def _beside(self) -> list[Path]:
        """What SQLite keeps beside the file."""
        return [self._path.with_name(self._path.name + suffix) for suffix in ("-wal", "-shm")]

    def _read(self, last_id: int, limit: int) -> list[Kept]:
        if self._count == 0:
            return []
        try:
            return [_kept(row) for row in self._opened().execute(_SELECT, (last_id, limit))]
        except sqlite3.Error as error:
            self._failed(error)

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            try:
                self._database = self._open()
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError as error:
                self._set_aside(error)
                self._database = self._open()
            self._recount()
        return self._database

    def _open(self) -> sqlite3.Connection:
        if self._path != MEMORY:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(f"{self._path.parent}: {error.strerror}") from None
        database = sqlite3.connect(self._path, timeout=0.1, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode = EXCLUSIVE")  # a second node with this file must not send our messages
            database.execute("PRAGMA journal_mode = WAL")
            if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("it is damaged")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, _VERSION):
                raise sqlite3.DatabaseError("it is of another version")
            if version != _VERSION or not _ADDED_COLUMNS.keys() <= _columns(database):  # else a full disk would keep it from being read
                _lay_out(database)
            database.execute(_SELECT, (0, 0))
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _recount(self) -> None:
        if self._database is not None:
            query = "SELECT count(*), coalesce(sum(length(payload)), 0) FROM message"
            self._count, self._bytes = self._database.execute(query).fetchone()

    def _set_aside(self, error: sqlite3.Error) -> None:
        self._count = self._bytes = 0
        aside = self._path.with_name(f"{self._path.name}.damaged-{time.time_ns() // 1_000_000}")
        try:
            self._path.replace(aside)
            for file in self._beside():
                file.unlink(missing_ok=True)
        except OSError as failure:  # a folder that may not be written, or not any more
            raise SpoolError(f"{self._path}: {error}; it cannot be set aside: {failure.strerror}") from None
        log.error("the spool %s cannot be read (%s): set aside as %s; a new one is begun", self._path, error, aside.name)

    def _failed(self, error: sqlite3.Error) -> NoReturn:
        """Raises ``SpoolError``; a file found damaged while in use is set aside first."""
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        if self._path != MEMORY:
            self.close()
            if damaged:
                self._set_aside(error)
        raise SpoolError(f"{self._path}: {error}") from None


@cache
def _boot() -> str:
    """Identifies this start of the machine; where it cannot be known (a container that hides it), this start of the program."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex


def _columns(database: sqlite3.Connection) -> set[str]:
    return {name for _, name, *_ in database.execute("PRAGMA table_info(message)").fetchall()}


def _lay_out(database: sqlite3.Connection) -> None:
    """A new file, or one of the older layout."""
    with database:
        database.execute(_TABLE)
        there = _columns(database)
        for name, kind in _ADDED_COLUMNS.items():
            if name not in there:
                database.execute(f"ALTER TABLE message ADD COLUMN {name} {kind}")
        database.execute(f"PRAGMA user_version = {_VERSION}")


def _row(kept: Kept) -> tuple[float, str, float, str, bytes, int, bool, int | None]:
    at, message = kept.at, kept.message
    return at.wall_s, at.boot, at.boot_s, message.topic, message.payload, message.qos, message.retain, message.expiry_s


def _kept(row: tuple[Any, ...]) -> Kept:
    number, wall_s, boot, boot_s, topic, payload, qos, retain, expiry_s = row
    return Kept(number, Moment(wall_s, boot, boot_s), Outgoing(topic, payload, 1 if qos else 0, bool(retain), expiry_s, keep=True))


def _delete_oldest(database: sqlite3.Connection) -> int:
    """Returns the bytes of its payload."""
    query = "DELETE FROM message WHERE id = (SELECT min(id) FROM message) RETURNING length(payload)"
    ((size,),) = database.execute(query).fetchall()
    return int(size)
