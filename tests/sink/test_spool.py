import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.errors import SinkError
from edge_node.sink import spool as spool_module
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import MEMORY, Kept, Moment, Spool, SpoolError


def kept(number, at=None, size=10):
    return Kept(0, at or Moment.now(), Outgoing("t", f"{number:0{size}}".encode(), expiry_s=300, keep=True))


def ago(seconds, boot=None):
    """``boot``: of another start of the machine, whose own clock says nothing here."""
    now = Moment.now()
    return Moment(now.wall_s - seconds, boot or now.boot, 5.0 if boot else now.boot_s - seconds)


def payloads(spool, limit=1000):
    return [int(k.message.payload) for k in spool.after(0, limit)]


def make(path, max_bytes=10_000, max_age_s=1000.0):
    return Spool(path, max_bytes, max_age_s, durable=True)


def test_what_was_added_comes_back_in_order_with_everything_it_had(tmp_path):
    spool = make(tmp_path / "spool")
    message = Outgoing("a/b", b"\x00x", 1, True, 300, keep=True)
    spool.add([Kept(0, Moment.now(), message), kept(2)])
    spool.add([kept(3)])
    assert spool.after(0, 10)[0].message == message
    assert [int(k.message.payload) for k in spool.after(0, 10)[1:]] == [2, 3]


def test_a_message_is_given_out_until_it_is_removed(tmp_path):
    spool = make(tmp_path / "spool")
    ids = spool.add([kept(n) for n in range(5)])
    spool.remove(ids[1:3])
    assert payloads(spool) == [0, 3, 4]
    assert len(spool) == 3
    assert [int(k.message.payload) for k in spool.after(ids[3], 10)] == [4]


def test_it_survives_being_closed_and_opened(tmp_path):
    first = make(tmp_path / "spool")
    first.add([kept(1), kept(2)])
    first.close()
    assert payloads(make(tmp_path / "spool")) == [1, 2]


def test_nothing_is_written_before_the_first_message(tmp_path):
    spool = make(tmp_path / "sub" / "spool")
    assert spool.after(0, 10) == []
    assert not (tmp_path / "sub").exists()


def test_beyond_its_size_the_oldest_are_forgotten_and_counted(tmp_path):
    spool = make(tmp_path / "spool", max_bytes=100)
    for number in range(15):
        spool.add([kept(number, size=10)])
    assert payloads(spool) == list(range(5, 15))
    assert spool.forgotten == 5


def test_what_is_too_old_is_not_given_out(tmp_path):
    spool = make(tmp_path / "spool", max_age_s=60)
    spool.add([kept(n, at=ago(100)) for n in range(10)])
    spool.add([kept(n, at=ago(100, boot="another")) for n in range(10)])
    spool.add([kept(98, at=ago(30, boot="another")), kept(99)])
    assert payloads(spool) == [98, 99]
    assert spool.forgotten == 20
    assert len(spool) == 2


def test_however_many_are_too_old_as_many_as_asked_for_are_given_out():
    spool = Spool(MEMORY, 1_000_000, max_age_s=60, durable=False)
    for begin in (1, 2000, 4000):
        spool.add([kept(0, at=ago(100)) for _ in range(1500)] + [kept(begin), kept(begin + 1)])
    assert payloads(spool, limit=1) == [1]
    assert payloads(spool, limit=5) == [1, 2, 2000, 2001, 4000]
    assert (len(spool), spool.forgotten) == (6, 4500)


@pytest.mark.parametrize("step_s", [-30 * 86_400, 30 * 86_400])
def test_a_wall_clock_that_is_set_makes_no_message_older_or_younger(tmp_path, monkeypatch, step_s):
    spool = make(tmp_path / "spool", max_age_s=60)
    spool.add([kept(1, at=ago(100)), kept(2), kept(3)])
    set_clock = time.time
    monkeypatch.setattr(time, "time", lambda: set_clock() + step_s)
    assert payloads(spool) == [2, 3]
    spool.close()
    assert payloads(make(tmp_path / "spool", max_age_s=60)) == [2, 3]


def test_every_start_of_the_machine_has_a_name_of_its_own_also_where_it_is_hidden(tmp_path, monkeypatch):
    assert Moment.now().boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    monkeypatch.setattr("edge_node.sink.spool.BOOT_ID_FILE", tmp_path / "hidden")
    spool_module._boot.cache_clear()
    try:
        assert len(Moment.now().boot) == 32
        assert Moment.now().boot == Moment.now().boot
    finally:
        spool_module._boot.cache_clear()


OLDER_LAYOUT = """
CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, topic TEXT NOT NULL, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, retain INTEGER NOT NULL, expiry_s INTEGER
);
PRAGMA user_version = 1;
"""
OLDER_INSERT = "INSERT INTO message (at, topic, payload, qos, retain, expiry_s) VALUES (?, 't', ?, 1, 0, 300)"


def test_a_file_of_the_older_layout_is_read_and_the_older_program_goes_on_with_it_afterwards(tmp_path):
    path = tmp_path / "spool"
    with closing(sqlite3.connect(path)) as older, older:
        older.executescript(OLDER_LAYOUT)
        older.executemany(OLDER_INSERT, [(time.time() - 100, b"1"), (time.time(), b"2"), (time.time(), b"3")])
    spool = make(path, max_age_s=60)
    spool.add([kept(4)])
    assert payloads(spool) == [2, 3, 4]
    assert spool.after(0, 1)[0].message == Outgoing("t", b"2", 1, False, 300, keep=True)
    spool.close()
    with closing(sqlite3.connect(path)) as older, older:
        assert older.execute("PRAGMA user_version").fetchone() == (1,)
        assert older.execute("SELECT * FROM message").fetchone()[2:7] == ("t", b"2", 1, 0, 300)
        older.execute(OLDER_INSERT, (time.time(), b"5"))
    assert payloads(make(path, max_age_s=60)) == [2, 3, 4, 5]
    assert not list(tmp_path.glob("*.damaged-*"))


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to look at" * 50, b"", b"SQLite format 3\x00" + os.urandom(5000)]
)
def test_a_file_that_is_no_spool_is_set_aside_and_life_goes_on(tmp_path, content, caplog):
    (tmp_path / "spool").write_bytes(content)
    spool = make(tmp_path / "spool")
    spool.add([kept(1)])
    assert payloads(spool) == [1]
    aside = list(tmp_path.glob("spool.damaged-*"))
    if content:
        assert aside[0].read_bytes() == content
        assert "set aside" in caplog.text
    else:
        assert not aside  # an empty file is what a power cut just after its making leaves: a new database


def test_a_spool_damaged_while_in_use_is_set_aside(tmp_path):
    path = tmp_path / "spool"
    first = make(path, max_bytes=10_000_000)
    first.add([kept(n, size=500) for n in range(200)])
    first.close()
    damaged = bytearray(path.read_bytes())
    damaged[4096 * 3 : 4096 * 8] = os.urandom(4096 * 5)
    path.write_bytes(damaged)
    second = make(path)
    second.add([kept(7)])
    assert payloads(second) == [7]
    assert len(list(tmp_path.glob("spool.damaged-*"))) == 1


def test_a_second_process_cannot_use_the_same_file(tmp_path):
    first = make(tmp_path / "spool")
    first.add([kept(1)])
    second = make(tmp_path / "spool")
    with pytest.raises(SpoolError, match="locked"):
        second.add([kept(2)])
    first.close()
    second.add([kept(2)])
    assert payloads(second) == [1, 2]


def test_a_folder_that_cannot_be_made_is_said_as_a_sink_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="file"):
        make(tmp_path / "file" / "spool").add([kept(1)])


def test_a_place_that_cannot_be_looked_at_is_said_and_costs_only_what_is_kept_there(tmp_path, caplog):
    spool = make(tmp_path / ("x" * 300))
    assert "cannot be read: File name too long" in caplog.text
    with pytest.raises(SpoolError):
        spool.add([kept(1)])


def test_a_damaged_spool_that_cannot_be_set_aside_is_said_and_costs_only_what_is_kept_there(tmp_path, caplog):
    path = tmp_path / ("x" * 240)  # with more behind it the name is too long
    path.write_bytes(b"this is no database, but long enough to look at" * 50)
    spool = make(path)
    assert "cannot be set aside: File name too long" in caplog.text
    with pytest.raises(SpoolError, match="cannot be set aside"):
        spool.add([kept(1)])
    assert (len(spool), spool.after(0, 10)) == (0, [])


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Moment, Spool, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), 10_000_000, 1000, durable=True)
spool.add([Kept(0, Moment.now(), Outgoing("t", b"1"))])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
added = 1
try:
    while True:
        spool.add([Kept(0, Moment.now(), Outgoing("t", b"%d" % (added + 1) + b" " * 2000))])
        added += 1
except SpoolError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.add([Kept(0, Moment.now(), Outgoing("t", b"%d" % (added + 1)))])
assert [int(k.message.payload) for k in spool.after(0, 1000)] == list(range(1, added + 2)), "lost or doubled"
assert added > 10
"""


def test_a_full_disk_loses_nothing_that_was_kept_and_is_survived(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "spool")], check=True, timeout=60)


FULL_DISK_AND_SPOOL = """
import resource, signal, sys
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Moment, Spool, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(60_000, 110_000, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    spool = Spool(Path(sys.argv[1]) / str(limit), 20_000, 1000, durable=True)
    spool.add([Kept(0, Moment.now(), Outgoing("t", b"0" + b" " * 1999)) for _ in range(10)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            before = [k.message.payload for k in spool.after(0, 100)]
            spool.add([Kept(0, Moment.now(), Outgoing("t", b"%d" % (number + 1) + b" " * 1998))])
            number += 1
    except SpoolError:
        pass
    assert [k.message.payload for k in spool.after(0, 100)] == before, "kept although refused, or forgotten for nothing"
    assert spool.forgotten == number
"""


def test_a_full_disk_refuses_a_message_and_forgets_none_for_it(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK_AND_SPOOL, str(tmp_path)], check=True, timeout=60)


KILLED = """
import sys
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Moment, Spool
spool = Spool(Path(sys.argv[1]), 10_000_000, 1000, durable=True)
number = 0
while True:
    spool.add([Kept(0, Moment.now(), Outgoing("t", b"%d" % number))])
    print(number, flush=True)
    number += 1
"""


def test_what_was_accepted_before_kill_9_is_there_afterwards(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "spool")], stdout=subprocess.PIPE, text=True)
    for _ in range(50):
        last = int(process.stdout.readline())
    process.kill()
    said = [int(line) for line in process.stdout.read().split()]
    process.wait()
    there = payloads(make(tmp_path / "spool"), limit=100_000)
    assert there == list(range(len(there)))
    assert len(there) > (said[-1] if said else last)


@given(st.lists(st.one_of(st.just("add"), st.integers(0, 30)), max_size=60))
def test_it_is_a_queue_whatever_is_added_and_removed(actions):
    spool = Spool(MEMORY, 100_000, 1000, durable=False)
    model = {}
    for number, action in enumerate(actions):
        if action == "add":
            (new,) = spool.add([kept(number)])
            model[new] = number
        else:
            spool.remove([action])
            model.pop(action, None)
    assert {k.id: int(k.message.payload) for k in spool.after(0, 1000)} == model
    assert len(spool) == len(model)
