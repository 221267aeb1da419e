"""The whole node as a process: real model, real clips, a real broker, real signals."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_node.camera.figures import Scene
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import Frame, People
from edge_node.errors import EngineError, SinkError
from edge_node.local_broker import local_broker
from edge_node.node import Node, Wish
from edge_node.pose.estimator import Estimator
from edge_node.sink.record import RecordSink
from edge_node.status_socket import ask, socket_path
from edge_node.systemd import Notifier
from tests.conftest import Shared
from tests.sink.parts import free_port


class Subscriber:
    """Keeps every message of one node, in the order of arrival."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("edge_node/v1/node/#", qos=1)
        self._client.on_message = self._keep
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert subscribed.wait(5)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [content for topic, content in self.messages if topic == kind]

    def wait(self, condition: Callable[[], bool], timeout_s: float = 20) -> bool:
        with self._news:
            return self._news.wait_for(condition, timeout_s)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _keep(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if not message.payload:  # our own request
            return
        with self._news:
            self.messages.append((message.topic.removeprefix("edge_node/v1/node/"), json.loads(message.payload)))
            self._news.notify_all()


@pytest.fixture
def subscriber() -> Iterator[Subscriber]:
    with local_broker() as port:
        listening = Subscriber(port)
        listening.port = port  # type: ignore[attr-defined]
        yield listening
        listening.close()


class ServiceManager:
    """The socket on which systemd hears a service."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self._heard: list[str] = []

    def told(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                self._heard.append(self._socket.recv(4096).decode())
        return self._heard

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServiceManager]:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    manager = ServiceManager(tmp_path / "notify")
    yield manager
    manager.close()


@contextmanager
def node(shared: Shared, home: Path, port: int, *overrides: str, config: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    usual = ("node.name=node", f"model.directory={shared.models}", "model.accelerator=cpu", "model.threads=1", f"mqtt.port={port}")
    words = [word for override in (*usual, *overrides) for word in ("--set", override)]
    file = ["-c", str(config)] if config else []
    environment = {**os.environ, "XDG_STATE_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    with (home / "stderr").open("ab") as said:
        process = subprocess.Popen([sys.executable, "-m", "edge_node", "run", *file, *words], env=environment, stderr=said)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(("clip", "frames"), [("squats", 65), ("dance", 120)])
def test_a_subscriber_gets_one_pose_for_each_frame_of_a_clip_in_order(
    shared: Shared, tmp_path: Path, subscriber: Any, clip: str, frames: int
) -> None:
    with node(shared, tmp_path, subscriber.port, f"camera.source={shared.clips / clip}.mp4") as process:
        assert process.wait(60) == 0
    assert subscriber.wait(lambda: subscriber.of("status")[-1:] and subscriber.of("status")[-1]["state"] == "offline")
    poses = subscriber.of("pose")
    assert [pose["seq"] for pose in poses] == list(range(frames))
    assert all(len(pose["people"]) == 1 for pose in poses[2:])
    assert {pose["people"][0]["id"] for pose in poses[2:]} == {1}
    assert subscriber.of("status")[-1]["reason"] == "stopped"


def test_the_people_of_a_photo_are_told_in_its_one_message(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    photo = shared.coco / "images" / "000000001000.jpg"  # a group
    with node(shared, tmp_path, subscriber.port, f"camera.source={photo}", "pose.max_people=8") as process:
        assert process.wait(60) == 0
    assert subscriber.wait(lambda: bool(subscriber.of("pose")))
    (pose,) = subscriber.of("pose")
    assert [person["id"] for person in pose["people"]] == list(range(1, len(pose["people"]) + 1))
    assert len(pose["people"]) >= 2


def test_the_marked_scene_arrives_within_a_pixel_of_the_truth(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    source = "synthetic?people=1"
    overrides = (f"camera.source={source}", "model.name=marker", "smoothing.enabled=false", "pose.max_people=1")
    with node(shared, tmp_path, subscriber.port, *overrides) as process:
        assert subscriber.wait(lambda: len(subscriber.of("pose")) >= 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    scene = Scene(640, 480, people=1)
    errors = [error for pose in subscriber.of("pose") if pose["people"] for error in _errors_of_a_192_square(scene, pose)]
    assert len(errors) > 500
    assert max(errors) < 1.0


def _errors_of_a_192_square(scene: Scene, pose: dict[str, Any]) -> list[float]:
    """Distance of each visible joint to its truth, in pixels of a square of 192 that has the whole frame in it."""
    size = np.array((pose["width"], pose["height"]))
    figures = scene.truth(pose["seq"] / 30.0)
    assert len(figures) == 1
    true = figures[0].keypoints_px
    found = np.array(pose["people"][0]["keypoints"]).reshape(17, 3)
    visible = (true[:, 2] > 0) & (found[:, 2] > 0.2)
    distances = np.linalg.norm(found[visible, :2] * size - true[visible, :2], axis=1)
    return [float(distance) * 192 / size.max() for distance in distances]


def test_its_status_names_the_configuration_file(shared: Shared, tmp_path: Path, subscriber: Any, monkeypatch: Any) -> None:
    file = tmp_path / "edge-node.yaml"
    file.write_text("camera: {source: synthetic}\n")
    with node(shared, tmp_path, subscriber.port, config=file):
        assert subscriber.wait(lambda: bool(subscriber.of("pose")))
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
        answer = ask(socket_path("node"))
    assert answer is not None
    assert answer["configuration"] == str(file)


def test_it_stops_within_two_seconds_and_says_goodbye(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    with node(shared, tmp_path, subscriber.port, "camera.source=synthetic") as process:
        assert subscriber.wait(lambda: bool(subscriber.of("pose")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(2) == 0
    assert subscriber.wait(lambda: subscriber.of("status")[-1]["state"] == "offline")


def test_a_killed_node_is_reported_offline_by_the_broker(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    with node(shared, tmp_path, subscriber.port, "camera.source=synthetic") as process:
        assert subscriber.wait(lambda: bool(subscriber.of("pose")))
        process.kill()
        process.wait()
    assert subscriber.wait(lambda: subscriber.of("status")[-1]["state"] == "offline")
    assert "reason" not in subscriber.of("status")[-1]


def test_reload_takes_what_is_right_and_keeps_the_old_of_what_is_wrong(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    file = tmp_path / "edge-node.yaml"
    file.write_text("pose:\n  max_people: 3\n")
    with node(shared, tmp_path, subscriber.port, "camera.source=synthetic", config=file) as process:
        assert subscriber.wait(lambda: bool(subscriber.of("config")))
        file.write_text("pose:\n  max_people: 2\ncamera:\n  width: 320\n")
        process.send_signal(signal.SIGHUP)
        assert subscriber.wait(lambda: subscriber.of("config")[-1]["values"]["pose.max_people"] == 2)
        file.write_text("pose:\n  max_people: 200\n")
        process.send_signal(signal.SIGHUP)
        said = tmp_path / "stderr"
        deadline = time.monotonic() + 10
        while "was not reloaded" not in said.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert process.poll() is None
    assert "these keys wait for a restart: camera.width" in said.read_text()
    assert "edge-node.yaml:2:3: pose.max_people: should be less than or equal to 32, not 200" in said.read_text()
    assert subscriber.of("config")[-1]["values"]["pose.max_people"] == 2


def test_the_password_of_a_camera_that_is_away_is_told_nobody(shared: Shared, tmp_path: Path, subscriber: Any) -> None:
    with node(shared, tmp_path, subscriber.port, "camera.source=rtsp://admin:hunter2@127.0.0.1:1/live?key=hunter2") as process:
        assert subscriber.wait(lambda: any("camera" in health["problems"] for health in subscriber.of("health")), timeout_s=40)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert subscriber.of("info")[0]["camera"] == "rtsp://127.0.0.1:1/live"
    assert "hunter2" not in json.dumps(subscriber.messages) + (tmp_path / "stderr").read_text()


def test_a_restart_asked_for_over_mqtt_is_a_new_boot_of_the_same_process(
    shared: Shared, tmp_path: Path, subscriber: Any, service_manager: ServiceManager
) -> None:
    with node(shared, tmp_path, subscriber.port, "camera.source=synthetic") as process:
        assert subscriber.wait(lambda: bool(subscriber.of("pose")))

        def restarted() -> bool:
            return len({status["boot"] for status in subscriber.of("status")}) == 2

        for _ in range(30):  # refused in the first ten seconds, so that a restart cannot become a loop
            subscriber._client.publish("edge_node/v1/node/cmd/restart", b"", qos=1)
            if subscriber.wait(restarted, timeout_s=1):
                break
        assert restarted()
        assert "less than 10 s ago" in subscriber.of("result")[0]["reason"]
        assert process.poll() is None
        assert subscriber.wait(lambda: service_manager.told().count("READY=1") == 2)
        assert "STOPPING=1" not in service_manager.told()  # systemd would kill what the process became
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert "STOPPING=1" in service_manager.told()


def test_a_camera_slower_than_the_watchdog_is_waited_for(
    shared: Shared, tmp_path: Path, subscriber: Any, service_manager: ServiceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    with node(shared, tmp_path, subscriber.port, "camera.source=synthetic", "camera.fps=0.02"):
        assert subscriber.wait(lambda: "READY=1" in service_manager.told())
    told = service_manager.told()
    assert told.index("WATCHDOG_USEC=225000000") < told.index("READY=1")


def test_frames_ends_it_after_so_many(tmp_path: Path) -> None:
    words = ["--frames", "7", "--set", "camera.source=synthetic", "--set", "model.name=marker", "--set", "mqtt.enabled=false"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "edge_node", "run", *words], env=environment, timeout=30, check=False)
    assert done.returncode == 0


def test_a_reload_during_the_start_does_not_make_a_required_edge_tpu_dispensable(shared: Shared) -> None:
    words = ["mqtt.enabled=false", f"camera.source={shared.clips}/squats.mp4", "node.name=required", f"model.directory={shared.models}"]
    words += ["model.threads=1", "model.accelerator=edgetpu", "model.require_edgetpu=true"]
    starting = Node(Settings(lambda: load(None, {}, words)), frame_limit=1)
    starting.ask(Wish.RELOAD)
    with pytest.raises(EngineError, match=r"model\.require_edgetpu is set, and the Edge TPU cannot be used"):
        starting.run()


def test_a_sink_that_fails_at_the_very_end_is_told_by_the_exit_code(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_sink: RecordSink, _drain: bool) -> None:
        raise SinkError("record.path: a.jsonl: Input/output error")

    monkeypatch.setattr(RecordSink, "finish", fail)
    words = ["mqtt.enabled=false", f"record.path={tmp_path}/a.jsonl", f"camera.source={shared.clips}/squats.mp4", "model.name=marker"]
    assert Node(Settings(lambda: load(None, {}, words)), frame_limit=3).run() == 1
    assert "record.path: a.jsonl: Input/output error" in caplog.text


def test_a_file_that_waits_for_its_broker_is_no_hang_to_the_watchdog(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[None] = []
    monkeypatch.setattr(Notifier, "watchdog", lambda _notifier: fed.append(None))
    clip = (f"camera.source={shared.clips}/squats.mp4", "camera.loop=true", "model.name=marker")
    node = Node(Settings(lambda: load(None, {}, ["node.name=waits", f"mqtt.port={free_port()}", *clip])))
    fed_while_waiting: list[bool] = []

    def watch() -> None:
        frames = 0
        while frames == 0 or node.health.report().frames != frames:  # until the loop stands still
            frames = node.health.report().frames
            time.sleep(0.5)
        before, deadline = len(fed), time.monotonic() + 10
        while len(fed) == before and time.monotonic() < deadline:
            time.sleep(0.05)
        fed_while_waiting.append(len(fed) > before)
        node.ask(Wish.STOP)

    threading.Thread(target=watch, daemon=True).start()
    assert node.run() == 0
    assert fed_while_waiting == [True]


def test_a_thread_that_fails_is_in_the_last_status_and_not_called_a_stop(
    tmp_path: Path, subscriber: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Estimator.process

    def fail_once_connected(estimator: Estimator, frame: Frame) -> People:
        if subscriber.of("status"):
            raise RuntimeError("a mistake in the program")
        return process(estimator, frame)

    monkeypatch.setattr(Estimator, "process", fail_once_connected)
    words = [f"mqtt.port={subscriber.port}", "camera.source=synthetic", "model.name=marker", "node.name=node"]
    assert Node(Settings(lambda: load(None, {}, words))).run() == 1
    assert subscriber.wait(lambda: subscriber.of("status")[-1]["state"] == "offline")
    assert "reason" not in subscriber.of("status")[-1]


def test_the_end_of_the_input_waits_for_the_broker_but_not_for_somebody_who_asks_to_stop(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        cv2.imwrite(str(pictures / f"{number}.png"), np.zeros((32, 32, 3), np.uint8))
    with node(shared, tmp_path, free_port(), f"camera.source={pictures}", "model.name=marker") as process:
        deadline = time.monotonic() + 30
        while (answer := ask(socket_path("node"))) is None or answer["frames"] < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 0
    assert "the end came before everything was delivered" in (tmp_path / "stderr").read_text()


def test_what_could_not_be_delivered_in_time_is_told_by_the_exit_code(
    shared: Shared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("edge_node.node.DRAIN_S", 1.0)
    words = [f"mqtt.port={free_port()}", f"camera.source={shared.clips}/squats.mp4", "model.name=marker", "node.name=undelivered"]
    assert Node(Settings(lambda: load(None, {}, words)), frame_limit=3).run() == 1
    assert "not everything was delivered within 1 s of the end of the input" in caplog.text
