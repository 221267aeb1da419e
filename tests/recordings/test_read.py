"""Reading recordings: whole, cut off, damaged, foreign."""

import gzip
import logging
import os
import threading
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.errors import RecordingError
from edge_node.recordings.read import people_of, read_recording
from edge_node.sink.messages import encode_pose, keypoints_of, pose
from tests.recordings.made import lines, people, write_recording


def seqs(path):
    return [message["seq"] for message in read_recording(path)]


def test_every_message_comes_back_byte_for_byte(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", 20, people_in_view=3)
    again = b"".join(encode_pose(people_of(message)) + b"\n" for message in read_recording(path))
    assert again == path.read_bytes()


def test_a_compressed_recording_reads_the_same_whatever_its_name(tmp_path):
    path = tmp_path / "a.jsonl.gz.1"
    path.write_bytes(gzip.compress(b"".join(lines(10))))
    assert seqs(path) == list(range(10))


def test_people_keep_the_time_line_of_the_recording():
    message = pose(people(30))
    assert people_of(message).media_ns - people_of(pose(people(0))).media_ns == 1_000_000_000


def test_both_layouts_of_keypoints_are_read(tmp_path):
    flat, named = pose(people(3)), pose(people(3), "named")
    (tmp_path / "named.jsonl").write_bytes(orjson.dumps(named) + b"\n")
    (message,) = read_recording(tmp_path / "named.jsonl")
    assert np.array_equal(keypoints_of(message["people"][0]["keypoints"]), keypoints_of(flat["people"][0]["keypoints"]))


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 400))
def test_a_last_line_that_was_cut_off_is_left_out(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    whole = lines(5)
    path.write_bytes(b"".join(whole) + whole[0][: min(cut, len(whole[0]) - 1)])
    assert seqs(path) == list(range(5))


def test_what_is_left_out_is_said(tmp_path, caplog):
    path = tmp_path / "a.jsonl"
    never = orjson.dumps({**pose(people(2)), "ts": 1e308})
    path.write_bytes(b"".join(lines(2)) + b"\0\0\0\n" + never + b"\n" + lines(4)[3] + b'{"v":1,')
    with caplog.at_level(logging.WARNING):
        assert seqs(path) == [0, 1, 3]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: its last line was cut off and is left out",
        f"{path}: 2 damaged lines are left out",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ts", value) for value in (1e300, -1)),
        *(("seq", value) for value in (2**63, -1)),
        *(("id", value) for value in (2**63, 0)),
        *(("v", value) for value in (0, "\n", 1.5, [2])),
        *(("keypoints", value) for value in ([1e308] * 51, [0.5] * 50)),
        *(("age_ms", 1e300), ("width", 10**9), ("height", 0), ("score", 7), ("box", [1e308, 0, 1, 1])),
    ],
)
def test_a_value_that_no_node_says_damages_its_line(tmp_path, field, value):
    path = tmp_path / "a.jsonl"
    damaged = pose(people(1))
    (damaged if field in damaged else damaged["people"][0])[field] = value
    path.write_bytes(lines(1)[0] + orjson.dumps(damaged) + b"\n" + lines(3)[2])
    assert seqs(path) == [0, 2]
    damaged_named = pose(people(1), "named")
    damaged_named["people"][0]["keypoints"][3]["x"] = 1e308
    path.write_bytes(lines(1)[0] + orjson.dumps(damaged_named) + b"\n")
    assert seqs(path) == [0]


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.05, 0.99))
def test_a_compressed_recording_that_was_cut_off_gives_its_whole_lines(tmp_path_factory, share):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl.gz"
    data = gzip.compress(b"".join(lines(60)))
    path.write_bytes(data[: int(len(data) * share)])
    try:
        read = seqs(path)
    except RecordingError:
        read = []  # so little is left that there is no line
    assert read == list(range(len(read)))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty recording"),
        (b"hello\n", ":1: not a recording of edge_node: not JSON"),
        (b"[1, 2]\n", ":1: not a recording of edge_node: "),
        (b'{"v": 1, "seq": 3}\n', ":1: not a recording of edge_node: ts: field required"),
        (b'{"v": 2, "seq": 3}\n', ":1: a message of version 2; this program reads version 1"),
        (b"\x1f\x8b nonsense\n", "an empty recording"),
        (b"\x89PNG\r\n\x1a\n\0\0", "not a recording of edge_node"),
    ],
)
def test_a_foreign_file_is_refused_in_one_line(tmp_path, content, says):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    with pytest.raises(RecordingError) as refused:
        seqs(path)
    assert says in str(refused.value)
    assert str(refused.value).startswith(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_line_without_an_end_is_refused_or_left_out(tmp_path, caplog, compress):
    endless = b"\0" * 30_000_000
    path = tmp_path / "a.jsonl"
    path.write_bytes(compress(b"".join([*lines(2), endless, b"\n", lines(4)[3]])))
    with caplog.at_level(logging.WARNING):
        assert seqs(path) == [0, 1, 3]
    path.write_bytes(compress(endless))
    with pytest.raises(RecordingError, match=r":1: not a recording of edge_node: not JSON"):
        seqs(path)
    assert [record.getMessage() for record in caplog.records] == [f"{path}: 1 damaged lines are left out"]


def test_what_never_ends_is_refused():
    with pytest.raises(RecordingError, match=r"^/dev/zero:1: not a recording of edge_node: not JSON"):
        seqs(Path("/dev/zero"))


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_pipe_is_read_like_a_file(tmp_path, compress):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(compress(b"".join(lines(10))),))
    writer.start()
    assert seqs(path) == list(range(10))
    writer.join()


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"cannot be read: No such file"):
        seqs(tmp_path / "none.jsonl")
    with pytest.raises(RecordingError, match=r"cannot be read: Is a directory"):
        seqs(tmp_path)
