"""What a USB camera's driver may give, at OpenCV's border: there is no such camera here. The emulated machine has the whole way."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.camera.devices import VideoDevice
from edge_node.camera.opencv import BAD_IN_A_ROW
from edge_node.camera.v4l2 import DeviceCamera
from edge_node.config.models import Camera
from edge_node.errors import CameraError
from edge_node.health import Health

DEVICE = Path("/dev/video0")


def impossible_header():
    """A JPEG that says it is 40,000 pixels wide and high: OpenCV raises, where it says False of other damage."""
    jpeg = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    size = jpeg.find(b"\xff\xc0") + 5
    jpeg[size : size + 4] = (40_000).to_bytes(2, "big") * 2
    return cv2.imdecode(np.frombuffer(bytes(jpeg), np.uint8), cv2.IMREAD_COLOR)


class Webcam:
    """Stands for ``cv2.VideoCapture``: the given numbers' pictures are damaged on their way over the cable, every third in its header."""

    def __init__(self, damaged: range) -> None:
        self.damaged = damaged
        self.number = -1

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, _key: int, _value: float) -> bool:
        return True

    def get(self, _key: int) -> float:
        return 0.0

    def grab(self) -> bool:
        self.number += 1
        return True

    def retrieve(self, _into: np.ndarray | None) -> tuple[bool, np.ndarray | None]:
        if self.number in self.damaged:
            return False, impossible_header() if self.number % 3 == 0 else None
        return True, np.full((8, 8, 3), self.number, np.uint8)


@pytest.fixture
def health():
    return Health()


@pytest.fixture
def opened(monkeypatch, health):
    def open_with(damaged: range) -> DeviceCamera:
        monkeypatch.setattr("edge_node.camera.devices.check_device", lambda path: VideoDevice(path, "uvcvideo", "webcam"))
        monkeypatch.setattr(cv2, "VideoCapture", lambda *_: Webcam(damaged))
        return DeviceCamera(DEVICE, Camera(source=str(DEVICE)), first_seq=0, health=health)

    return open_with


def test_damaged_pictures_leave_their_numbers_behind_are_counted_and_told_of_once(opened, health, caplog):
    camera = opened(range(2, 5))
    frames = [camera.read() for _ in range(4)]
    assert [(frame.seq, int(frame.image[0, 0, 0])) for frame in frames] == [(0, 0), (1, 1), (5, 5), (6, 6)]
    assert [(r.levelno, r.message) for r in caplog.records] == [
        (logging.WARNING, "/dev/video0: some pictures cannot be decoded; they are skipped")
    ]
    assert health.report().counters["camera_skipped"] == 3


def test_a_camera_that_gives_nothing_else_is_lost(opened):
    with pytest.raises(CameraError, match="gives pictures that cannot be decoded"):
        opened(range(BAD_IN_A_ROW)).read()
