"""The Pi camera's backend, against a stand-in for picamera2 (``picamera2_standin``): no Raspberry Pi is involved."""

import dataclasses
import importlib
import itertools
import logging
import re
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.camera.capture import Capture
from edge_node.camera.factory import choose, open_camera
from edge_node.camera.source import PiCamera
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import CameraError, SourceUnusableError
from edge_node.health import Health
from edge_node.slot import Latest

STANDIN = Path(__file__).parent / "picamera2_standin"


@pytest.fixture
def board(monkeypatch):
    """The board that the stand-in plays; each test says what it does."""
    monkeypatch.syspath_prepend(str(STANDIN))
    for name in ("picamera2", "libcamera"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    module = importlib.import_module("picamera2")
    yield module.board
    for name in ("picamera2", "libcamera"):
        sys.modules.pop(name, None)


def settings(**changes):
    return CameraSettings(source="picamera2", width=100, height=80, fps=100.0, stall_s=0.5).model_copy(update=changes)


def ramp(image):
    """Red is the column, green the row: the picture as the sensor saw it."""
    height, width = image.shape[:2]
    return (image[..., 0] == np.arange(width)).all() and (image[..., 1] == np.arange(height)[:, None]).all()


def test_gives_rgb_frames_without_the_padding_of_rows(board):
    camera = open_camera(settings())
    frame = camera.read()
    assert frame.image.shape == (80, 100, 3)
    assert frame.image.flags.c_contiguous
    assert ramp(frame.image)
    camera.close()


def test_the_stand_in_plays_a_clip_in_its_colours_and_time(shared, monkeypatch, request):
    """For the benchmark: ``scripts/bench`` measures with it."""
    clip = shared.clips / "dance.mp4"
    monkeypatch.setenv("PICAMERA2_STANDIN_CLIP", str(clip))
    request.getfixturevalue("board")
    camera = open_camera(settings(width=288, height=288, fps=50.0))
    frames = [camera.read() for _ in range(5)]
    camera.close()
    picture = cv2.resize(cv2.VideoCapture(str(clip)).read()[1], (288, 288), interpolation=cv2.INTER_AREA)
    assert (frames[0].image == picture[..., ::-1]).all()
    assert "stand-in playing dance.mp4" in camera.description
    assert (frames[4].captured_ns - frames[0].captured_ns) / 1e9 == pytest.approx(4 / 50, abs=0.03)


def test_turns_bgr_memory_into_rgb(board):
    board.gives_format = "RGB888"
    camera = open_camera(settings())
    assert ramp(camera.read().image)


def test_refuses_a_format_that_is_not_rgb(board):
    board.gives_format = "YUV420"
    with pytest.raises(CameraError, match="gives YUV420 instead of BGR888"):
        open_camera(settings())
    assert board.opened == 0


def test_gives_every_request_back_and_keeps_the_picture(board):
    camera = open_camera(settings())
    frames = [camera.read() for _ in range(8)]
    assert board.outstanding == 0
    assert [int(frame.image[0, 0, 2]) for frame in frames] == list(range(8))
    camera.close()
    assert board.opened == 0


def test_stamps_frames_with_the_sensors_time(board):
    camera = open_camera(settings(), first_seq=7)
    before_ns = time.monotonic_ns()
    frame = camera.read()
    assert frame.seq == 7
    assert frame.media_ns == frame.captured_ns
    assert frame.captured_ns < time.monotonic_ns() - 8_000_000
    assert abs(frame.ts - (time.time() - (time.monotonic_ns() - frame.captured_ns) / 1e9)) < 0.05
    assert frame.captured_ns > before_ns - 8_000_000


def test_leaves_out_a_first_frame_from_before_the_start(board):
    board.stale_first = True
    camera = open_camera(settings())
    started_ns = time.monotonic_ns()
    frame = camera.read()
    assert frame.image[0, 0, 2] == 1
    assert frame.captured_ns > started_ns - 20_000_000


def test_leaves_out_cancelled_requests(board):
    board.cancelled = (1, 2)
    camera = open_camera(settings())
    assert [int(camera.read().image[0, 0, 2]) for _ in range(3)] == [0, 3, 4]
    assert board.outstanding == 0


def test_gives_up_when_every_request_is_cancelled(board):
    board.cancelled = tuple(range(100))
    with pytest.raises(CameraError, match="cancelled one after the other"):
        open_camera(settings(fps=240.0)).read()


def test_flips_by_the_cameras_own_transform(board):
    open_camera(settings(hflip=True, vflip=True))
    assert dataclasses.asdict(board.configurations[0]["transform"]) == {"hflip": 1, "vflip": 1}


def test_asks_for_no_queue_the_rate_and_the_mode_that_sees_most(board):
    open_camera(settings(fps=30.0))
    asked = board.configurations[0]
    assert asked["queue"] is False
    assert asked["controls"] == {"FrameDurationLimits": (33333, 33333)}
    assert asked["sensor"] == {"output_size": (1640, 1232), "bit_depth": 10}


def test_says_which_cameras_there_are(board):
    with pytest.raises(CameraError, match=r"there is no camera 1 \(connected: 0\)"):
        open_camera(settings(source="picamera2:1"))


def test_says_that_a_size_is_refused_and_gives_the_camera_back(board):
    board.refuses_size = True
    with pytest.raises(CameraError, match="100x80 is refused"):
        open_camera(settings())
    assert board.opened == 0


def test_says_that_another_program_has_the_camera(board):
    open_camera(settings())
    with pytest.raises(CameraError, match="another program may be using it"):
        open_camera(settings())


def test_auto_prefers_the_boards_own_camera(board):
    assert choose() == PiCamera(0)


def test_auto_does_not_take_a_usb_camera_that_libcamera_lists(board):
    board.cameras = 0
    with pytest.raises(CameraError, match="no camera found"):
        choose()


def test_auto_says_once_that_picamera2_cannot_be_loaded_and_names_it_among_the_reasons_each_time(tmp_path, monkeypatch, caplog):
    (tmp_path / "picamera2.py").write_text("raise ValueError('numpy.dtype size changed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    reason = "picamera2: cannot be loaded (numpy.dtype size changed)"
    for _ in range(3):
        with pytest.raises(CameraError, match=re.escape(f"no camera found: {reason}, and ")):
            choose()
    assert caplog.text.count(f"{reason}; on bookworm install") == 1


def test_auto_says_what_it_took_only_when_it_is_another_camera(board, monkeypatch, caplog):
    taken = iter([[1], [0], [0], [1], [1]])
    board.cameras = 2
    monkeypatch.setattr("edge_node.camera.picamera.camera_numbers", lambda: next(taken))
    open_camera(settings(source="auto")).close()
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            open_camera(settings(source="auto")).close()
    told = [record.message for record in caplog.records if "took" in record.message]
    assert told == [f"camera.source auto: took the Pi camera {number}" for number in (0, 1)]


def test_without_picamera2_says_what_to_install():
    with pytest.raises(SourceUnusableError, match="apt install python3-picamera2"):
        open_camera(settings())


def test_a_camera_slower_than_the_longest_stall_gives_its_frames(board):
    camera = open_camera(settings(fps=1.0))
    assert camera.read().seq == 0
    camera.close()


def test_a_stall_of_a_slow_camera_is_told_after_the_time_of_three_frames(board):
    board.stall_after = 0
    camera = open_camera(settings(fps=4.0))
    with pytest.raises(CameraError, match=r"no picture for 0\.75 s"):
        camera.read()


def test_a_stall_is_flushed_and_the_camera_opened_again(board):
    board.stall_after = 5
    health, slot = Health(), Latest()
    capture = Capture(settings(), slot, health)
    thread = threading.Thread(target=capture.run)
    thread.start()
    frames = [slot.get(20) for _ in range(12)]
    capture.stop()
    thread.join(20)
    assert not thread.is_alive()
    assert board.flushed >= 1
    assert health.report().counters["camera_reopened"] >= 1
    assert all(b.seq > a.seq for a, b in itertools.pairwise(frames))


def test_a_stop_that_hangs_in_the_driver_does_not_hold_up_the_end(board):
    board.stop_hangs = True
    slot = Latest()
    capture = Capture(settings(), slot, Health())
    thread = threading.Thread(target=capture.run)
    thread.start()
    assert slot.get(20) is not None
    capture.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_a_frame_that_is_skipped_is_not_copied_and_its_request_goes_back(board):
    camera = open_camera(settings())
    first = camera.read()
    for _ in range(20):  # more than the camera has buffers
        assert camera.skip()
    assert camera.read().seq == first.seq + 21
    camera.close()
