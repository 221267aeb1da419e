"""Recording: rotation, compression, what a kill leaves, and disks that fail."""

import fcntl
import gzip
import os
import random
import subprocess
import sys
import textwrap
import time
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from edge_node.config.models import Record
from edge_node.errors import SinkError
from edge_node.health import Health
from edge_node.recordings.read import read_recording
from edge_node.sink.messages import encode_pose
from edge_node.sink.record import RecordSink
from edge_node.sink.record_file import RotatingFile
from tests.recordings.made import killed_writer, lines, people, write_recording


def record(path, seqs, **settings):
    sink = RecordSink(Record(path=str(path), **settings), Health())
    sink.start()
    for seq in seqs:
        sink.deliver(people(seq))
    sink.finish(drain=True)


def seqs(path):
    return [message["seq"] for message in read_recording(path)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_every_message_is_a_line(tmp_path, name):
    path = tmp_path / "new" / name
    record(path, range(100))
    assert seqs(path) == list(range(100))


def test_a_plain_recording_is_exactly_the_messages(tmp_path):
    record(tmp_path / "a.jsonl", range(10))
    assert (tmp_path / "a.jsonl").read_bytes() == b"".join(lines(10))


def test_an_existing_recording_is_continued(tmp_path):
    path = tmp_path / "a.jsonl"
    record(path, range(3))
    record(path, range(3))
    assert seqs(path) == [0, 1, 2, 0, 1, 2]


def test_a_compressed_recording_is_kept_and_a_new_one_begun(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    record(path, range(3))
    record(path, range(5))
    assert seqs(path) == list(range(5))
    assert seqs(tmp_path / "a.jsonl.gz.1") == list(range(3))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_runs_that_recorded_nothing_cost_no_older_recording(tmp_path, name):
    path = tmp_path / name
    record(path, range(3), keep=1)
    for _ in range(3):
        record(path, [], keep=1)
    assert [seq for file in sorted(tmp_path.iterdir(), reverse=True) if file.stat().st_size for seq in seqs(file)] == [0, 1, 2]


@pytest.mark.parametrize("path", ["/dev/null", "a pipe"])
def test_a_device_or_a_pipe_is_recorded_to_like_a_file(tmp_path, path):
    if path == "a pipe":
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
        record(path, range(3))
        assert reader.communicate(timeout=30)[0] == b"".join(lines(3))
    else:
        record(path, range(3), max_bytes=100)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rotation_by_size_loses_nothing_but_the_oldest(tmp_path, name):
    path = tmp_path / name
    record(path, range(600), max_bytes=5_000, keep=3)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [name, f"{name}.1", f"{name}.2", f"{name}.3"]
    kept = [seq for file in [files[3], files[2], files[1], files[0]] for seq in seqs(file)]
    assert kept == list(range(kept[0], 600))
    assert all(file.stat().st_size < 5_000 + 600 for file in files)


def test_rotation_by_age(tmp_path, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr("edge_node.sink.record_file.time.monotonic", lambda: now)
    file = RotatingFile(tmp_path / "a.jsonl", max_bytes=0, max_age_s=60, keep=2)
    file.write(lines(1)[0])
    now += 59
    file.write(lines(2)[1])
    now += 2
    file.write(lines(3)[2])
    file.close()
    assert seqs(tmp_path / "a.jsonl.1") == [0, 1]
    assert seqs(tmp_path / "a.jsonl") == [2]


def test_the_age_of_a_recording_that_is_continued_counts_from_its_first_message(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_pose(people(0, t0=time.time() - 3600)) + b"\n")
    record(path, [1], max_age_s=7200)
    assert seqs(path) == [0, 1]
    record(path, [2], max_age_s=1800)
    assert (seqs(path), seqs(tmp_path / "a.jsonl.1")) == ([2], [0, 1])


@pytest.mark.parametrize("t0", [0.0, 4e9])
def test_a_clock_that_was_wrong_costs_a_recording_no_line(tmp_path, t0):
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_pose(people(0, t0=t0)) + b"\n")
    record(path, [1, 2], max_age_s=1800)
    assert [seq for file in sorted(tmp_path.iterdir(), reverse=True) for seq in seqs(file)] == [0, 1, 2]


def test_a_line_that_a_power_cut_tore_is_cut_off_before_recording_goes_on(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", 3)
    path.write_bytes(path.read_bytes()[:-20])
    record(path, [7])
    assert seqs(path) == [0, 1, 7]


def test_a_first_line_that_a_power_cut_tore_does_not_stop_the_node(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(1)[0][:50])
    record(path, [7])
    assert seqs(path) == [7]


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("count", [1, 20])
def test_a_compressed_recording_that_was_cut_off_anywhere_is_kept_and_a_new_one_begun(tmp_path, count, share):
    path = tmp_path / "a.jsonl.gz"
    record(path, range(count))
    cut = path.read_bytes()[: max(11, int(path.stat().st_size * share))]
    path.write_bytes(cut)
    record(path, range(5))
    assert seqs(path) == list(range(5))
    assert (tmp_path / "a.jsonl.gz.1").read_bytes() == cut


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder, "cannot be written: Is a directory"),
        (lambda _: Path("/proc/nothing/a.jsonl"), "cannot be written"),
        (lambda folder: _written(folder / "notes.txt", b"my notes\n"), "exists and is no recording"),
        (lambda folder: _written(folder / "a.gz", b"my notes\n"), "exists and is not compressed"),
        (lambda folder: _written(folder / "a.jsonl", b"\x1f\x8bxx"), "exists and is compressed"),
        (lambda folder: _written(folder / "a.gz", gzip.compress(b"my notes\n" * 1000)), "exists and is no recording"),
        (lambda folder: _written(folder / "a.gz", gzip.compress(b'{"mine": true}\n')), "exists and is no recording"),
        (lambda folder: _written(folder / "a.gz", gzip.compress(b"no line end")), "exists and is no recording"),
        (lambda folder: _written(folder / "a.gz", b"\x1f\x8bxx"), "exists and is no recording"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_and_left_alone(tmp_path, make, says):
    path = make(tmp_path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(SinkError, match=says):
        RecordSink(Record(path=str(path)), Health()).start()
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_file_that_another_recorder_writes_is_refused_and_free_when_that_ends(tmp_path, name):
    path = tmp_path / name
    first = RecordSink(Record(path=str(path)), Health())
    first.start()
    first.deliver(people(0))
    with pytest.raises(SinkError, match="another program records to it; choose another name"):
        record(path, range(10, 20))
    first.deliver(people(1))
    first.finish(drain=True)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert seqs(path) == [0, 1]
    record(path, range(20, 22))
    assert seqs(path)[-2:] == [20, 21]


def test_a_full_disk_is_said_and_does_not_end_anything():
    health = Health()
    sink = RecordSink(Record(path="/dev/full"), health)
    sink.start()
    sink.deliver(people(0))
    sink.deliver(people(1))
    assert health.problems() == {"record": "/dev/full: No space left on device; poses are not recorded until that is mended"}
    assert health.report().counters == {"record_lost": 2}


@contextmanager
def standard_output_to_a_small_pipe():
    """Its reading end; of what does not fit the beginning is taken, and the rest refused."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 16384)
    os.set_blocking(writing, False)
    before = os.dup(1)
    os.dup2(writing, 1)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb", 0) as pipe:
            yield pipe
    finally:
        os.dup2(before, 1)
        os.close(before)


def test_a_line_that_standard_output_did_not_take_whole_spoils_no_other():
    health = Health()
    sink = RecordSink(Record(path="-"), health)
    sink.start()
    with standard_output_to_a_small_pipe() as pipe:
        for seq in range(3):  # with 30 people a line has more than 8 kB: the second is torn, of the third there is nothing
            sink.deliver(people(seq, 30))
        read = pipe.read(16384)
        for seq in (3, 4):
            sink.deliver(people(seq))
        read += pipe.read(16384)
    first, torn, *last = read.splitlines()
    assert [orjson.loads(line)["seq"] for line in (first, *last)] == [0, 3, 4]
    assert torn == encode_pose(people(1, 30))[: len(torn)]
    assert health.report().counters == {"recorded": 3, "record_lost": 2}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_after_a_disk_was_full_recording_goes_on_with_whole_lines(tmp_path, name, monkeypatch):
    health = Health()
    sink = RecordSink(Record(path=str(tmp_path / name)), health)
    sink.start()
    sink.deliver(people(0))
    with monkeypatch.context() as full:
        full.setattr("edge_node.sink.record_file._write_all", _write_half)
        sink.deliver(people(1))
    assert "record" in health.problems()
    sink.deliver(people(2))
    sink.finish(drain=True)
    assert health.problems() == {}
    files = sorted(tmp_path.iterdir(), reverse=True)
    assert [seq for file in files for seq in seqs(file)] == [0, 2]


@pytest.mark.parametrize("fails", ["first", "middle", "several", "last", "all"])
def test_a_compressed_recording_is_a_whole_gzip_file_whichever_lines_found_no_room(tmp_path, monkeypatch, fails):
    path = tmp_path / "a.jsonl.gz"
    without = {"first": {0}, "middle": {3}, "several": {0, 1, 4, 5, 7}, "last": {9}, "all": set(range(10))}[fails]
    sink = RecordSink(Record(path=str(path)), Health())
    sink.start()
    for seq in range(10):
        with monkeypatch.context() as full:
            if seq in without:
                full.setattr("edge_node.sink.record_file._write_all", _write_half)
            sink.deliver(people(seq))
    sink.finish(drain=True)
    assert gzip.decompress(path.read_bytes()) == b"".join(line for seq, line in enumerate(lines(10)) if seq not in without)


@pytest.mark.parametrize(("name", "max_bytes"), [("a.jsonl", 6_000), ("a.jsonl.gz", 2_000)])
@pytest.mark.parametrize("lack", ["half a line fits", "nothing fits", "no file can be opened"])
def test_a_disk_that_stays_full_costs_nothing_that_was_recorded(tmp_path, name, max_bytes, lack):
    command = [sys.executable, "-c", FULL_FOR_A_WHILE, str(tmp_path / name), str(max_bytes), lack]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True)
    told = [int(seq) for seq in done.stdout.split()]
    assert 599 not in told, "it was full to the end"
    assert told[-10:] == list(range(1000, 1010)), "recording goes on"
    assert [seq for file in sorted(tmp_path.iterdir(), reverse=True) for seq in seqs(file)] == told


FULL_FOR_A_WHILE = textwrap.dedent("""
    import resource, sys
    from pathlib import Path
    from edge_node.config.models import Record
    from edge_node.health import Health
    from edge_node.sink.record import RecordSink
    from tests.recordings.made import people
    path, health = Path(sys.argv[1]), Health()
    sink = RecordSink(Record(path=str(path), max_bytes=int(sys.argv[2]), keep=3), health)
    sink.start()
    def deliver(seq):
        sink.deliver(people(seq))
        if "record" not in health.problems():
            print(seq)
    seq = 0
    while not path.with_name(path.name + ".2").exists():
        deliver(seq)
        seq += 1
    deliver(seq)
    limit, soft = {
        "half a line fits": (resource.RLIMIT_FSIZE, path.stat().st_size + 20),
        "nothing fits": (resource.RLIMIT_FSIZE, 0),
        "no file can be opened": (resource.RLIMIT_NOFILE, 3),
    }[sys.argv[3]]
    before = resource.getrlimit(limit)
    resource.setrlimit(limit, (soft, before[1]))
    for number in range(500, 600):
        deliver(number)
    resource.setrlimit(limit, before)
    for number in range(1000, 1010):
        deliver(number)
    sink.finish(drain=True)
""")


def test_standard_output_whose_reader_is_gone_ends_with_one_line():
    process = subprocess.Popen(
        [sys.executable, "-c", TALKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(30) == 1
    assert process.stderr.read() == b"record: whoever read the standard output has closed it\n"


TALKER = textwrap.dedent("""
    from edge_node.config.models import Record
    from edge_node.errors import SinkError
    from edge_node.health import Health
    from edge_node.sink.record import RecordSink
    from tests.recordings.made import people
    sink = RecordSink(Record(path="-"), Health())
    sink.start()
    try:
        for seq in range(10**9):
            sink.deliver(people(seq))
    except SinkError as error:
        raise SystemExit(str(error))
""")


@pytest.mark.parametrize(("name", "max_bytes"), [("a.jsonl", 0), ("a.jsonl.gz", 0), ("a.jsonl", 20_000)])
def test_a_kill_at_any_moment_loses_nothing_that_was_written(tmp_path, name, max_bytes):
    for attempt in range(4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        delivered, read = killed_writer(folder / name, max_bytes, lines=random.Random(attempt).randint(1, 300))
        assert read == list(range(len(read)))
        assert delivered <= len(read) <= delivered + 1


def _write_half(handle, data):
    os.write(handle, data[: len(data) // 2])
    raise OSError(28, "No space left on device")


def _written(path, content):
    path.write_bytes(content)
    return path
