"""``edge-node record``, ``replay``, ``export``, ``render`` and ``plot``, as a user types them."""

import argparse
import csv
import fcntl
import gzip
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import paho.mqtt.client as mqtt
import pytest
from websockets.sync.client import connect

from edge_node.cli import main
from edge_node.commands.replay import _on_one_time_line, _paced
from edge_node.config.models import Smoothing
from edge_node.errors import SinkError
from edge_node.local_broker import local_broker, mosquitto
from edge_node.recordings.plot import _smoothed, _track
from edge_node.recordings.read import people_of, read_recording
from edge_node.recordings.render import write_all
from edge_node.sink import homeassistant
from edge_node.sink.messages import encode_pose, pose
from tests.recordings.made import lines, people, write_recording
from tests.sink.parts import Broker, free_port


@pytest.fixture
def recording(tmp_path):
    return write_recording(tmp_path / "a.jsonl", count=30, people_in_view=2)


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def refused(capsys, *words):
    """Exit code and the one line of a command that is refused."""
    code = main([str(word) for word in words])
    text = capsys.readouterr().err.strip()
    assert "\n" not in text
    return code, text


# record


def test_record_writes_every_frame_of_a_clip(tmp_path, shared, capsys):
    path = tmp_path / "clip.jsonl.gz"
    words = ["record", path, "--source", shared.clips / "squats.mp4", "--set", f"model.directory={shared.models}"]
    assert main([str(word) for word in words]) == 0
    messages = list(read_recording(path))
    assert [message["seq"] for message in messages] == list(range(65))
    assert sum(len(message["people"]) == 1 for message in messages) >= 60
    assert "65 messages" in capsys.readouterr().err


def test_record_says_who_was_carried_on_by_their_motion_and_reading_tells_it_again(tmp_path, shared):
    path = tmp_path / "two.jsonl"
    words = ["record", path, "--source", next(shared.clips.glob("two_people_jumping.*")), "--frames", "30"]
    settings = (f"model.directory={shared.models}", "pose.max_inferences=1")
    assert main([str(word) for word in (*words, *(word for setting in settings for word in ("--set", setting)))]) == 0
    everyone = [person for message in read_recording(path) for person in people_of(message).people]
    assert {person.predicted for person in everyone} == {False, True}
    assert path.read_bytes().count(b'"predicted":true') == sum(person.predicted for person in everyone)
    assert [encode_pose(people_of(message)) for message in read_recording(path)] == path.read_bytes().splitlines()


def test_record_onto_a_disk_that_fills_up_says_what_is_missing_and_fails(tmp_path, shared):
    words = ["record", tmp_path / "a.jsonl", "--source", shared.clips / "squats.mp4", "--set", "model.name=marker"]
    done = subprocess.run(
        [sys.executable, "-m", "edge_node", *words],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    written = len((tmp_path / "a.jsonl").read_text().splitlines())
    assert 0 < written < 65
    assert done.stderr.splitlines()[-1] == f"{tmp_path}/a.jsonl: {written} messages, {65 - written} could not be written"
    assert done.returncode == 1


def test_record_of_a_camera_to_a_reader_that_is_too_slow_says_how_many_frames_are_missing_and_fails():
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    words = ["record", "-", "--source", "synthetic", "--frames", "60", "--set", "model.name=marker"]
    command = [sys.executable, "-m", "edge_node", *words]
    with subprocess.Popen(command, stdout=writing, stderr=subprocess.PIPE, text=True) as process, os.fdopen(reading) as reader:
        os.close(writing)
        got = [reader.readline()]
        time.sleep(1.5)
        got += reader.readlines()
        said = process.stderr.read().splitlines()[-1]
    assert 0 < len(got) < 60
    assert said == f"-: {len(got)} messages, {60 - len(got)} are missing: the disk, or whoever reads, was too slow"
    assert process.returncode == 1


def test_record_to_a_place_that_cannot_be_written_says_so(capsys, shared):
    words = ["record", "/proc/nothing/a.jsonl", "--source", "synthetic", "--set", f"model.directory={shared.models}"]
    code, text = refused(capsys, *words, "--set", "log.level=error")
    assert code == 1
    assert text.splitlines()[0].startswith("record.path: /proc/nothing/a.jsonl: cannot be written")


# replay


class Subscriber:
    """Everything that a broker passes on for one topic."""

    def __init__(self, port, topic):
        self.payloads = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        ready = threading.Event()
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda _client, _data, message: self.payloads.append(message.payload)
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(topic, qos=1)
        self._client.loop_start()
        assert ready.wait(5)

    def close(self):
        self._client.loop_stop()
        self._client.disconnect()


def replay(port, path, *words):
    with_broker = ["--mqtt", "--set", f"mqtt.port={port}", "--set", "mqtt.host=127.0.0.1", "--set", "log.level=error"]
    return main(["replay", str(path), *with_broker, *words])


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_replay_equals_the_recording_message_for_message(tmp_path, pack):
    path = tmp_path / "a.jsonl"
    path.write_bytes(pack(b"".join(lines(150, 2))))
    with local_broker() as port:
        subscriber = Subscriber(port, "edge_node/v1/replay/pose")
        assert replay(port, path, "--speed", "0") == 0
        deadline = time.monotonic() + 10
        while len(subscriber.payloads) < 150 and time.monotonic() < deadline:
            time.sleep(0.02)
        subscriber.close()
    assert [payload + b"\n" for payload in subscriber.payloads] == lines(150, 2)


def test_replay_sends_every_message_whatever_the_real_node_leaves_out_at_its_broker(tmp_path, recording):
    file = tmp_path / "node.yaml"
    file.write_text("mqtt: {pose: false, max_rate_hz: 1, on_change: true, empty_rate_hz: 1}\n")
    with local_broker() as port:
        subscriber = Subscriber(port, "edge_node/v1/replay/pose")
        assert replay(port, recording, "--speed", "0", "-c", str(file)) == 0
        assert replay(port, recording, "--speed", "0", "-c", str(file), "--set", "mqtt.pose=false") == 0
        subscriber.close()
    assert len(subscriber.payloads) == 30


def test_replay_serves_the_live_page_with_the_recorded_poses(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", count=90)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["replay", str(path), "--web", "--set", f"web.port={port}", "--set", "log.level=error"]
    thread = threading.Thread(target=main, args=(words,))
    thread.start()
    seen = []
    with viewer_of(port) as viewer:
        while len(seen) < 10:
            message = json.loads(viewer.recv(timeout=10))
            if message["type"] == "pose":
                seen.append(message["pose"])
    thread.join(20)
    recorded = list(read_recording(path))
    assert [pose == recorded[pose["seq"]] for pose in seen] == [True] * 10


def viewer_of(port):
    deadline = time.monotonic() + 10
    while True:
        try:
            return connect(f"ws://127.0.0.1:{port}/live", origin=f"http://127.0.0.1:{port}")
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_replay_keeps_the_times_between_messages_over_the_speed(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", count=31)  # one second
    with local_broker() as port:
        begun = time.monotonic()
        assert replay(port, path, "--speed", "2") == 0
        assert time.monotonic() - begun >= 0.5


def test_replay_of_what_is_no_recording_is_refused_before_anything_is_connected(tmp_path, capsys):
    (tmp_path / "notes").write_text("hello\n")
    code, text = refused(capsys, "replay", tmp_path / "notes", "--mqtt")
    assert code == 1
    assert text.startswith(f"{tmp_path}/notes:1: not a recording of edge_node: not JSON")
    assert refused(capsys, "replay", tmp_path / "none", "--mqtt") == (1, f"{tmp_path}/none: cannot be read: No such file or directory")
    code, text = refused(capsys, "replay", tmp_path / "notes")
    assert (code, text) == (2, "replay: to where? give --mqtt, --web or both")


def test_replay_waits_a_day_at_most_for_a_message_whose_time_is_damaged(tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr("edge_node.commands.replay.time", SimpleNamespace(monotonic=lambda: 5.0, sleep=pauses.append))
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(encode_pose(people(seq, t0=2e11 if seq == 1 else 0.0, fps=1)) + b"\n" for seq in range(2)))
    seqs = [message["seq"] for message in _paced(argparse.Namespace(file=path, speed=1.0, loop=False))]
    assert (seqs, pauses) == ([0, 1], [86_400])


@contextmanager
def replaying(path, *words):
    """The program itself, so that it can be interrupted; what it says on standard error can be read."""
    command = [sys.executable, "-m", "edge_node", "replay", str(path), "--mqtt", "--speed", "0", "--set", "mqtt.host=127.0.0.1", *words]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_replay_with_the_real_nodes_configuration_leaves_that_nodes_device_messages_and_files_alone(tmp_path, recording, monkeypatch):
    monkeypatch.setattr(homeassistant, "NAME_IN_USE_S", 0.0)
    file = tmp_path / "node.yaml"
    file.write_text("node: {name: hall}\nmqtt: {client_id: hall}\nhomeassistant: {enabled: true}\n")
    state = tmp_path / "state" / "edge-node"
    state.mkdir(parents=True)
    announced = {"topic": "homeassistant/device/edge_node_hall/config", "node": "hall", "components": {"fps": "sensor"}}
    (state / "homeassistant.json").write_text(json.dumps(announced))
    (state / "overlay.json").write_text('{"pose.max_people": 2}')
    before = {path: path.read_bytes() for path in state.iterdir()}
    with local_broker() as port:
        heard = [Subscriber(port, topic) for topic in ("homeassistant/#", "edge_node/v1/hall/#")]
        poses = Subscriber(port, "edge_node/v1/replay/pose")
        assert replay(port, recording, "--speed", "20", "-c", str(file)) == 0
        for subscriber in (*heard, poses):
            subscriber.close()
    assert len(poses.payloads) == 30
    assert [subscriber.payloads for subscriber in heard] == [[], []]
    assert {path: path.read_bytes() for path in state.iterdir()} == before


def test_replay_in_a_loop_says_the_same_in_every_round(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(encode_pose(people(seq, 1 if 30 <= seq < 90 else 0)) + b"\n" for seq in range(150)))  # five seconds
    settings = ["mqtt.max_rate_hz=10", "state.presence_on_s=0.5", "state.presence_off_s=0.5", "log.level=error"]
    with local_broker() as port:
        poses, events = (Subscriber(port, f"edge_node/v1/replay/{topic}") for topic in ("pose", "event/presence"))
        with replaying(path, "--loop", *(word for key in (f"mqtt.port={port}", *settings) for word in ("--set", key))):
            deadline = time.monotonic() + 20
            while len(events.payloads) < 6 and time.monotonic() < deadline:
                time.sleep(0.02)
        poses.close()
        events.close()
    assert [json.loads(payload)["present"] for payload in events.payloads[:6]] == [True, False] * 3
    tenths = [round(10 * (json.loads(payload)["ts"] - people(0).ts)) for payload in poses.payloads[:120]]
    assert tenths == pytest.approx([*range(50), *range(50), *range(20)], abs=1)


def test_the_time_line_of_a_loop_never_goes_back_and_ts_and_age_are_as_recorded():
    messages = [pose(people(seq)) for seq in range(4)]
    replayed = list(_on_one_time_line([*messages, *messages, *messages]))
    steps_ns = np.diff([people.media_ns for people in replayed])
    assert steps_ns.tolist() == pytest.approx([33_333_333] * 3 + ([0] + [33_333_333] * 3) * 2, abs=1000)
    assert [pose(people) for people in replayed] == messages * 3


def test_replay_without_a_broker_ends_at_once_when_it_is_interrupted(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", count=100)
    with replaying(path, "--set", "mqtt.port=1") as process:
        assert "127.0.0.1:1" in process.stderr.readline()  # no broker there
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - begun < 5


def test_replay_that_no_broker_took_says_what_is_missing_and_fails(recording, monkeypatch, capsys):
    monkeypatch.setattr("edge_node.commands.replay.DRAIN_S", 1.0)
    port = free_port()
    assert replay(port, recording, "--speed", "0") == 1
    said = capsys.readouterr().err
    assert f"{recording}: not everything was delivered within 1 s of its end; mqtt: " in said
    assert f"127.0.0.1:{port}" in said


def test_replay_to_a_broker_that_takes_no_message_so_large_fails(tmp_path, recording, capsys):
    port = free_port()
    file = tmp_path / "mosquitto.conf"
    file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_packet_size 500\n")
    broker = Broker(tmp_path, [mosquitto(), "-c", str(file)], port).start()
    try:
        assert replay(port, recording, "--speed", "0") == 1
    finally:
        broker.stop()
    count = int(re.search(r"a\.jsonl: (\d+) messages were larger than the broker takes", capsys.readouterr().err)[1])
    assert count >= 30


# export


def test_export_to_csv(tmp_path, recording):
    assert main(["export", str(recording), "--to", "csv"]) == 0
    table = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert len(table) == 60
    first = table[0]
    assert (first["seq"], first["id"], first["width"], first["accelerator"]) == ("0", "1", "640", "cpu")
    assert [float(first[name]) for name in ("nose_x", "left_eye_x", "nose_y", "right_ankle_score")] == [0.1, 0.11, 0.3, 0.75]
    assert float(table[-1]["ts"]) - float(first["ts"]) == pytest.approx(29 / 30, abs=1e-5)


def test_export_to_parquet_holds_the_same_as_csv(tmp_path, recording):
    from pyarrow import parquet

    assert main(["export", str(recording), "-o", str(tmp_path / "a.parquet")]) == 0
    assert main(["export", str(recording), "-o", str(tmp_path / "a.csv")]) == 0
    table = parquet.read_table(tmp_path / "a.parquet").to_pylist()
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [{key: str(value) for key, value in row.items()} for row in table] == rows


def test_export_to_coco_is_read_by_cocos_own_tools(tmp_path, recording):
    from pycocotools.coco import COCO

    assert main(["export", str(recording), "--to", "coco", "-o", str(tmp_path / "r.json")]) == 0
    results = json.loads((tmp_path / "r.json").read_text())
    assert len(results) == 60
    assert results[0]["keypoints"][:3] == [64.0, 144.0, 0.75]
    assert results[0]["bbox"] == pytest.approx([64.0, 144.0, 102.4, 96.0])
    truth = COCO()
    truth.dataset = {"info": {}, "images": [{"id": n} for n in range(30)], "categories": [{"id": 1}], "annotations": []}
    truth.createIndex()
    assert len(truth.loadRes(str(tmp_path / "r.json")).anns) == 60


def test_export_tells_runs_of_one_file_apart(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(lines(3) + lines(2)))
    assert main(["export", str(path), "--to", "csv"]) == 0
    table = csv.DictReader((tmp_path / "a.csv").open())
    assert [(row["run"], row["seq"]) for row in table] == [("0", "0"), ("0", "1"), ("0", "2"), ("1", "0"), ("1", "1")]


def test_exports_of_a_recording_and_its_older_files_stand_side_by_side(tmp_path):
    for count, name in enumerate(("h.jsonl", "h.jsonl.1", "h.jsonl.2", "g.jsonl.gz", "g.jsonl.gz.1"), start=1):
        write_recording(tmp_path / name, count)
        assert main(["export", str(tmp_path / name), "--to", "csv"]) == 0
    written = {file.name: len(file.read_text().splitlines()) - 1 for file in tmp_path.glob("*.csv")}
    assert written == {"h.csv": 1, "h.1.csv": 2, "h.2.csv": 3, "g.csv": 4, "g.1.csv": 5}


def test_standard_input_and_pipes_may_be_compressed_and_are_never_read_twice(tmp_path):
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(lines(30))))
    program = f"{sys.executable} -m edge_node"
    web = "--web --set web.port=0 --speed 0 --set log.level=error"
    for command, code, says in (
        (f"{program} export - -o {tmp_path}/a.csv < {packed}", 0, ""),
        (f"{program} export <(zcat {packed}) -o {tmp_path}/b.csv", 0, ""),
        (f"{program} export <(zcat {packed}) --to csv", 2, "export: to which file? give -o OUT; it does not write to standard output"),
        (f"{program} plot <(zcat {packed}) -o {tmp_path}/a.svg", 0, ""),
        (f"{program} replay <(zcat {packed}) {web}", 0, ""),
        (f"{program} replay - --loop {web} < {packed}", 2, "replay: --loop needs a file; - can be read once only"),
        (f"{program} render - -o {tmp_path}/a.mp4 < {packed}", 2, "render: - can be read once only; give a file"),
    ):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.strip()) == (code, says), command
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize("form", ["csv", "parquet", "coco"])
def test_export_to_a_place_that_cannot_be_written_says_so(capsys, recording, form):
    code, text = refused(capsys, "export", recording, "--to", form, "-o", "/proc/nothing/out")
    assert code == 1
    assert text.startswith("/proc/nothing/out: cannot be written")


def test_export_needs_to_know_the_form_and_never_overwrites_the_recording(capsys, recording):
    assert refused(capsys, "export", recording) == (2, "export: to what? give --to csv, parquet or coco")
    code, text = refused(capsys, "export", recording, "--to", "csv", "-o", recording)
    assert code == 2
    assert "is the recording itself" in text


def test_export_of_what_is_no_recording_leaves_an_older_output_alone(tmp_path, capsys):
    (tmp_path / "old.csv").write_text("seq\n7\n")
    (tmp_path / "empty.jsonl").touch()
    for name, says in (("missing.jsonl", "cannot be read: No such file"), ("empty.jsonl", "an empty recording")):
        code, text = refused(capsys, "export", tmp_path / name, "-o", tmp_path / "old.csv")
        assert (code, says in text) == (1, True)
        assert refused(capsys, "export", tmp_path / name, "--to", "coco")[0] == 1
    assert refused(capsys, "export", ".", "--to", "csv") == (1, ".: cannot be read: Is a directory")
    assert (tmp_path / "old.csv").read_text() == "seq\n7\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty.jsonl", "old.csv"]


@pytest.mark.parametrize("form", ["csv", "parquet", "coco"])
def test_export_onto_a_disk_that_fills_up_leaves_an_older_output_alone(tmp_path, form):
    recording = write_recording(tmp_path / "a.jsonl", count=300)
    (tmp_path / "old").write_text("older")
    done = subprocess.run(
        [sys.executable, "-m", "edge_node", "export", recording, "--to", form, "-o", tmp_path / "old"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{tmp_path}/old: cannot be written: ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "old"]
    assert (tmp_path / "old").read_text() == "older"


def test_export_writes_through_a_link_and_into_what_is_no_file(tmp_path, recording):
    (tmp_path / "real.csv").write_text("older")
    (tmp_path / "link.csv").symlink_to("real.csv")
    assert main(["export", str(recording), "-o", str(tmp_path / "link.csv")]) == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "real.csv").read_text().splitlines()) == 61
    assert main(["export", str(recording), "--to", "csv", "-o", "/dev/null"]) == 0
    assert Path("/dev/null").is_char_device()


def test_export_onto_a_private_file_keeps_it_private(tmp_path, recording):
    output = tmp_path / "a.csv"
    output.touch(0o600)
    assert main(["export", str(recording), "-o", str(output)]) == 0
    assert output.stat().st_mode & 0o777 == 0o600
    assert len(output.read_text().splitlines()) > 30


def test_export_of_standard_input_needs_the_name_of_a_file(tmp_path, recording, capsys):
    says = "export: to which file? give -o OUT; it does not write to standard output"
    assert refused(capsys, "export", "-", "--to", "csv") == (2, says)
    assert refused(capsys, "export", recording, "--to", "csv", "-o", "-") == (2, says)
    command = f"{sys.executable} -m edge_node export - -o {tmp_path}/a.csv"
    assert subprocess.run(["sh", "-c", f"{command} < {recording}"], timeout=60, check=False).returncode == 0
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 61
    done = subprocess.run(["sh", "-c", f"{command} <&-"], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "-: cannot be read: Bad file descriptor\n")
    done = subprocess.run(["sh", "-c", f"{command} 0> {tmp_path}/b"], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "-: cannot be read: Bad file descriptor\n")


# render


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "webm"])
def test_render_a_recording_as_a_video_on_black(tmp_path, recording, suffix):
    output = tmp_path / f"out.{suffix}"
    assert main(["render", str(recording), "-o", str(output)]) == 0
    frames, fps = frames_of(output)
    assert len(frames) == 30
    assert fps == pytest.approx(30, abs=0.1)
    assert frames[0].shape == (480, 640, 3)
    assert frames[0].max() > 150
    assert (frames[0] < 30).mean() > 0.9


def test_render_a_sheet_of_evenly_spaced_frames(tmp_path, recording):
    output = tmp_path / "sheet.png"
    assert main(["render", str(recording), "-o", str(output), "--tiles", "6"]) == 0
    assert cv2.imread(str(output)).shape == (2 * 240, 4 * 320, 3)


def test_joints_are_drawn_where_the_message_says(tmp_path):
    path = write_recording(tmp_path / "a.jsonl", count=1)
    assert main(["render", str(path), "-o", str(tmp_path / "out.avi")]) == 0
    image = frames_of(tmp_path / "out.avi")[0][0].astype(int)
    for x, y, _ in people(0).people[0].keypoints:
        assert image[round(y * 480), round(x * 640)].min() > 120, "a white joint"


def test_render_over_the_clip_it_was_made_of(tmp_path, shared):
    path = write_recording(tmp_path / "a.jsonl", count=20)
    clip = shared.clips / "dance.mp4"
    assert main(["render", str(path), "--over", str(clip), "-o", str(tmp_path / "out.avi")]) == 0
    frames, _ = frames_of(tmp_path / "out.avi")
    assert len(frames) == 20
    assert frames[0].shape == (576, 576, 3)
    assert frames[0].mean() > 50


def test_render_runs_the_model_on_a_clip(tmp_path, shared):
    words = ["render", shared.clips / "squats.mp4", "-o", tmp_path / "out.mp4", "--black", "--frames", "10"]
    assert main([*map(str, words), "--set", f"model.directory={shared.models}", "--set", "model.accelerator=cpu"]) == 0
    frames, fps = frames_of(tmp_path / "out.mp4")
    assert len(frames) == 10
    assert fps == pytest.approx(5)
    assert frames[5].max() > 150


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-o", "out.gif"], 2, "out.gif: unknown kind of output; a video (.mp4"),
        (["-o", "out.mp4", "--codec", "H265x"], 2, "--codec H265x: a codec has four letters"),
        (["-o", "out.mp4", "--codec", "ZZZZ"], 1, "out.mp4: the codec ZZZZ is unknown here or does not fit .mp4; mp4v does"),
        (["-o", "/proc/nothing/out.mp4"], 1, "cannot be written: there is no folder /proc/nothing"),
        (["-o", "/proc/out.mp4"], 1, "/proc/out.mp4: cannot be written"),
    ],
)
def test_render_to_what_cannot_be_made_says_so(recording, capsys, words, code, says):
    words = [str(recording.parent / word) if word.startswith("out") else word for word in words]
    assert main(["render", str(recording), *words]) == code
    assert says in capsys.readouterr().err
    assert not (recording.parent / "out.mp4").exists()


def test_render_over_a_clip_none_of_whose_frames_is_meant_says_so_and_writes_nothing(tmp_path, shared, capsys):
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_pose(people(9999)) + b"\n")
    clip = shared.clips / "squats.mp4"
    code, text = refused(capsys, "render", path, "--over", clip, "-o", tmp_path / "out.mp4")
    assert (code, text) == (1, f"{path}: no message has the number of a frame of {clip}")
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv", "webm"])
def test_render_of_messages_an_hour_apart_shows_each_for_ten_seconds(tmp_path, suffix):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(encode_pose(people(seq, fps=1 / 3600)) + b"\n" for seq in range(3)))
    assert main(["render", str(path), "-o", str(tmp_path / f"out.{suffix}")]) == 0
    frames, fps = frames_of(tmp_path / f"out.{suffix}")
    assert (len(frames), fps) == (3, pytest.approx(0.1))


def test_render_draws_a_frame_that_is_said_to_be_enormous_smaller(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_pose(replace(people(0), width_px=65_535, height_px=40_000)) + b"\n")
    assert main(["render", str(path), "-o", str(tmp_path / "out.png"), "--tiles", "1"]) == 0
    assert cv2.imread(str(tmp_path / "out.png")).shape == (195, 320, 3)


def test_render_of_a_frame_that_no_codec_takes_names_its_size(tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    path.write_bytes(encode_pose(replace(people(0), height_px=1)) + b"\n")
    assert main(["render", str(path), "-o", str(tmp_path / "out.mp4")]) == 1
    assert f"{tmp_path}/out.mp4: cannot be written: pictures of 640 x 1 pixels do not fit mp4v\n" in capsys.readouterr().err


def test_render_never_replaces_what_it_reads(tmp_path, recording, shared, capsys):
    clip, picture = tmp_path / "in.mp4", tmp_path / "pictures" / "1.png"
    shutil.copy(shared.clips / "squats.mp4", clip)
    picture.parent.mkdir()
    cv2.imwrite(str(picture), np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "link.mp4").symlink_to(clip)
    (tmp_path / "same.mp4").hardlink_to(clip)
    before = clip.read_bytes(), picture.read_bytes()
    for words in (
        [clip, "-o", clip],
        [clip, "-o", tmp_path / "link.mp4"],
        [clip, "-o", tmp_path / "same.mp4"],
        [recording, "--over", clip, "-o", clip],
        [picture, "-o", picture],
        [picture.parent, "-o", picture],
    ):
        code, text = refused(capsys, "render", *words, "--set", "model.name=marker")
        assert (code, text) == (2, f"render: {words[-1]} is what is read; give another -o")
    assert (clip.read_bytes(), picture.read_bytes()) == before


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "avi", "mkv", "webm", "png", "jpg", "webp"])
def test_render_onto_a_disk_that_fills_up_says_so_and_leaves_an_older_output_alone(tmp_path, recording, suffix, part):
    output = tmp_path / f"out.{suffix}"
    assert main(["render", str(recording), "-o", str(output)]) == 0
    limit = int(output.stat().st_size * part)
    output.write_bytes(b"older")
    done = subprocess.run(
        [sys.executable, "-m", "edge_node", "render", recording, "-o", output],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{output}: cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr
    assert output.read_bytes() == b"older"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", f"out.{suffix}"]


def test_a_render_that_was_cut_off_before_its_end_is_told_though_there_is_room_again(tmp_path, monkeypatch):
    """FFmpeg writes nothing more after a write that failed."""
    output = tmp_path / "out.mkv"
    noise = np.random.default_rng(1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def pictures():
        for number in range(40):
            if number in (10, 30):
                resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if number == 10 else before[0], before[1]))
            yield noise.integers(0, 255, (480, 640, 3), np.uint8)

    try:
        with pytest.raises(SinkError, match=r"out.mkv: cannot be written: only a part of its 40 frames is there; was the disk full\?"):
            write_all(pictures(), output, 30.0, None, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_render_writes_a_sheet_of_any_name_and_a_video_only_of_one_that_is_utf8(tmp_path, recording):
    assert main(["render", str(recording), "-o", str(tmp_path / "caf\udce9.png")]) == 0
    assert (tmp_path / "caf\udce9.png").stat().st_size > 1000
    with pytest.raises(SinkError, match="cannot be written: the name of a video must be UTF-8"):
        write_all([np.zeros((48, 64, 3), np.uint8)], tmp_path / "caf\udce9.mp4", 30.0, None, 1)


def test_render_of_what_is_neither_clip_nor_recording_says_so(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("hello")
    code, text = refused(capsys, "render", tmp_path / "notes.txt", "-o", tmp_path / "out.mp4")
    assert code == 1
    assert "not a video that can be read" in text


def test_render_of_what_cannot_be_read_says_so(tmp_path, capsys):
    (tmp_path / "unreadable").symlink_to("/proc/self/mem")  # opens, and reads for nobody at its beginning
    code, text = refused(capsys, "render", tmp_path / "unreadable", "-o", tmp_path / "out.mp4")
    assert (code, text) == (1, f"{tmp_path}/unreadable: cannot be read: Input/output error")


# plot


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot_of_a_recording(tmp_path, recording, suffix):
    output = tmp_path / f"plot.{suffix}"
    assert main(["plot", str(recording), "-o", str(output), "--smooth", "--joint", "nose", "--person", "2"]) == 0
    text = output.read_bytes()
    assert text.startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert len(text) > 10_000


def test_plot_smooths_as_the_node_does(tmp_path, shared):
    for name, raw in (("raw", ["--raw"]), ("published", [])):
        words = ["record", tmp_path / name, *raw, "--source", shared.clips / "squats.mp4", "--set", f"model.directory={shared.models}"]
        assert main([str(word) for word in words]) == 0
    raw, published = (_track(list(read_recording(tmp_path / name)), 1) for name in ("raw", "published"))
    apart_px = np.abs(_smoothed(raw, Smoothing()) - published.keypoints_px[..., :2])[10:]  # a recording does not tell of a rough first look
    assert apart_px.max() < 0.2
    assert np.abs(raw.keypoints_px - published.keypoints_px)[10:].max() > 5


def test_plot_never_replaces_what_it_reads(tmp_path, recording, capsys):
    picture, link = tmp_path / "a.png", tmp_path / "link.png"
    shutil.copy(recording, picture)
    link.symlink_to(picture)
    for output in (picture, link):
        assert refused(capsys, "plot", picture, "-o", output) == (2, f"plot: {output} is what is read; give another -o")
    assert picture.read_bytes() == recording.read_bytes()


def test_plot_of_a_bench_result(tmp_path):
    bench = tmp_path / "bench.json"
    stages = {"invoke": {"p50": 3.1, "p99": 4.0}, "sample": {"p50": 0.1, "p99": 0.2}}
    bench.write_text(json.dumps({"fps": 200.0, "ratio": 0.93, "stages": stages}))
    assert main(["plot", str(bench), "-o", str(tmp_path / "bench.svg")]) == 0
    assert "<!-- invoke -->" in (tmp_path / "bench.svg").read_text()


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ([], "stages: input should be a valid dictionary"),
        ({}, "stages: dictionary should have at least 1 item"),
        ({"invoke": {"p99": 4.0}}, "stages.invoke.p50: field required"),
        ({"invoke": {"p50": "fast", "p99": 4.0}}, "stages.invoke.p50: input should be a valid number"),
        ({"invoke": {"p50": 1e300, "p99": 4.0}}, "stages.invoke.p50: input should be less than"),
    ],
)
def test_plot_of_a_damaged_bench_result_says_what_is_wrong(tmp_path, capsys, stages, says):
    bench = tmp_path / "bench.json"
    bench.write_text(json.dumps({"fps": 200.0, "ratio": 0.93, "stages": stages}))
    code, text = refused(capsys, "plot", bench, "-o", tmp_path / "bench.svg")
    assert code == 1
    assert text.startswith(f"{bench}: not a result of edge-node bench: {says}")


def test_plot_of_a_file_without_lines_is_refused_however_large_it_is(tmp_path, capsys):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(20_000_000_000)
    code, text = refused(capsys, "plot", tmp_path / "large", "-o", tmp_path / "out.svg")
    assert code == 1
    assert text.startswith(f"{tmp_path}/large:1: not a recording of edge_node: not JSON")


def test_plot_of_endless_nesting_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "deep").write_text("[" * 100_000)
    code, text = refused(capsys, "plot", tmp_path / "deep", "-o", tmp_path / "out.svg")
    assert (code, text) == (1, f"{tmp_path}/deep: an empty recording")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["-o", "x.bmp"], 2, "unknown kind of picture; one of .png .svg .pdf"),
        (["-o", "x.png", "--person", "9"], 1, "person 9 is not in the recording; there: 1, 2"),
        (["-o", "/proc/x.png"], 1, "/proc/x.png: cannot be written"),
    ],
)
def test_plot_of_what_cannot_be_drawn_says_so(recording, capsys, words, code, says):
    assert main(["plot", str(recording), *words]) == code
    assert says in capsys.readouterr().err


def test_help_of_every_verb_is_there(capsys):
    for verb in ("record", "replay", "export", "render", "plot"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert len(capsys.readouterr().out) > 300


def test_the_sheet_keeps_evenly_spaced_frames_of_any_number():
    from edge_node.recordings.render import Sheet

    sheet = Sheet(Path("unused.png"), Path("unused"), tiles=5)
    for number in range(1000):
        sheet.add(np.full((4, 4, 3), number // 4, np.uint8))
    shades = [int(tile[0, 0, 0]) for tile in sheet._kept]
    assert len(shades) <= 10
    assert len(set(np.diff(shades))) == 1
