import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.errors import SinkError
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import MEMORY, Kept, Spool, SpoolError


def kept(number, at=None, size=10):
    return Kept(0, time.time() if at is None else at, Outgoing("t", f"{number:0{size}}".encode(), expiry_s=300, keep=True))


def payloads(spool, limit=1000):
    return [int(k.message.payload) for k in spool.after(0, limit)]


def make(path, max_bytes=10_000, max_age_s=1000.0):
    return Spool(path, max_bytes, max_age_s, durable=True)


def test_what_was_added_comes_back_in_order_with_everything_it_had(tmp_path):
    spool = make(tmp_path / "spool")
    message = Outgoing("a/b", b"\x00x", 1, True, 300, keep=True)
    spool.add([Kept(0, time.time(), message), kept(2)])
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
    spool.add([kept(n, at=time.time() - 100) for n in range(20)])
    spool.add([kept(99)])
    assert payloads(spool, limit=3) == [99]
    assert spool.forgotten == 20
    assert len(spool) == 1


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


FULL_DISK = """
import resource, signal, sys, time
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Spool, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = Spool(Path(sys.argv[1]), 10_000_000, 1000, durable=True)
spool.add([Kept(0, time.time(), Outgoing("t", b"1"))])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
added = 1
try:
    while True:
        spool.add([Kept(0, time.time(), Outgoing("t", b"%d" % (added + 1) + b" " * 2000))])
        added += 1
except SpoolError:
    pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.add([Kept(0, time.time(), Outgoing("t", b"%d" % (added + 1)))])
assert [int(k.message.payload) for k in spool.after(0, 1000)] == list(range(1, added + 2)), "lost or doubled"
assert added > 10
"""


def test_a_full_disk_loses_nothing_that_was_kept_and_is_survived(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "spool")], check=True, timeout=60)


FULL_DISK_AND_SPOOL = """
import resource, signal, sys, time
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Spool, SpoolError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in range(60_000, 110_000, 1000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    spool = Spool(Path(sys.argv[1]) / str(limit), 20_000, 1000, durable=True)
    spool.add([Kept(0, time.time(), Outgoing("t", b"0" + b" " * 1999)) for _ in range(10)])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    number = 0
    try:
        while True:
            before = [k.message.payload for k in spool.after(0, 100)]
            spool.add([Kept(0, time.time(), Outgoing("t", b"%d" % (number + 1) + b" " * 1998))])
            number += 1
    except SpoolError:
        pass
    assert [k.message.payload for k in spool.after(0, 100)] == before, "kept although refused, or forgotten for nothing"
    assert spool.forgotten == number
"""


def test_a_full_disk_refuses_a_message_and_forgets_none_for_it(tmp_path):
    subprocess.run([sys.executable, "-c", FULL_DISK_AND_SPOOL, str(tmp_path)], check=True, timeout=60)


KILLED = """
import sys, time
from pathlib import Path
from edge_node.sink.outgoing import Outgoing
from edge_node.sink.spool import Kept, Spool
spool = Spool(Path(sys.argv[1]), 10_000_000, 1000, durable=True)
number = 0
while True:
    spool.add([Kept(0, time.time(), Outgoing("t", b"%d" % number))])
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
