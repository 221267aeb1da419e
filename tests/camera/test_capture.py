"""The capture thread: what it does with files, and with cameras that get stuck or lost. The cameras here fail on purpose."""

import gc
import itertools
import logging
import threading
import time
import weakref

import numpy as np
import pytest

from edge_node.camera.capture import STUCK_READERS, Capture
from edge_node.camera.stamps import LiveStamper
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import CameraError, ClosedError, SourceUnusableError
from edge_node.health import Health
from edge_node.slot import Latest
from tests.camera.matroska import write_matroska

IMAGE = np.zeros((8, 8, 3), np.uint8)


class FailingCamera:
    """Gives ``frames`` frames, then does what ``then`` says."""

    live = True
    due_ns = 0
    description = "a camera that fails"

    def __init__(self, first_seq, frames, then):
        self._stamper = LiveStamper(first_seq)
        self._left, self._then = frames, then
        self.skipped = 0

    def read(self):
        if self._left == 0:
            return self._then()
        self._left -= 1
        time.sleep(0.01)
        return self._stamper.stamp(IMAGE, time.monotonic_ns())

    def skip(self):
        time.sleep(0.01)
        self._stamper.skip()
        self.skipped += 1
        return True

    def close(self):
        pass


def lost():
    raise CameraError("the cable came off")


def stuck():
    threading.Event().wait(60)


class Run:
    """A capture thread over cameras made one after the other by ``makers``; the last maker is used again and again."""

    def __init__(self, *makers, alive=lambda: None, **settings):
        self.slot, self.health, self.error = Latest(), Health(), None
        self._makers = list(makers)
        source = CameraSettings(source=0, stall_s=0.5).model_copy(update=settings)
        self.capture = Capture(source, self.slot, self.health, self._opener, alive)
        self.thread = threading.Thread(target=self._body, daemon=True)  # a test that fails before `stop` would never end
        self.thread.start()

    def _opener(self, _settings, first_seq, _health):
        maker = self._makers.pop(0) if len(self._makers) > 1 else self._makers[0]
        return maker(first_seq)

    def _body(self):
        try:
            self.capture.run()
        except Exception as error:  # noqa: BLE001 - a thread's boundary
            self.error = error

    def stop(self):
        self.capture.stop()
        self.thread.join(10)
        assert not self.thread.is_alive()


def gives(frames, then):
    return lambda first_seq: FailingCamera(first_seq, frames, then)


def test_every_frame_of_a_file_arrives_and_the_slot_is_closed(shared):
    slot, health = Latest(), Health()
    thread = threading.Thread(target=Capture(CameraSettings(source=str(shared.clips / "squats.mp4")), slot, health).run)
    thread.start()
    seqs = []
    for _ in range(65):
        seqs.append(slot.get(20).seq)
        time.sleep(0.002)
    with pytest.raises(ClosedError):
        slot.get(20)
    thread.join(20)
    assert seqs == list(range(65))
    assert "camera_dropped" not in health.report().counters
    assert health.report().stages["capture"].p50_ms > 0
    assert "720x1280 5 fps, 65 frames" in health.report().facts["camera"]


def test_a_camera_lost_while_no_thread_is_left_is_opened_again(monkeypatch):
    def none_for_cameras(thread):
        if thread.name == "camera-reader":
            raise RuntimeError("can't start new thread")
        started(thread)

    started = threading.Thread.start
    run = Run(lambda seq: FailingCamera(seq, 3, lost), lambda seq: FailingCamera(seq, 10**6, lost))
    assert run.slot.get(5) is not None
    with monkeypatch.context() as at_the_limit:
        at_the_limit.setattr(threading.Thread, "start", none_for_cameras)
        deadline = time.monotonic() + 10
        while "no thread left" not in run.health.problems().get("camera", "") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.health.problems()["camera"] == "the system has no thread left to read the camera"
    assert run.error is None
    assert run.slot.get(20) is not None
    run.stop()


def test_a_live_source_never_waits_and_what_it_drops_is_counted():
    slot, health = Latest(), Health()
    capture = Capture(CameraSettings(source="synthetic", fps=100.0, width=64, height=64), slot, health)
    thread = threading.Thread(target=capture.run)
    thread.start()
    first = slot.get(20)
    time.sleep(0.5)
    later = slot.get(20)
    capture.stop()
    thread.join(20)
    assert later.seq - first.seq > 20
    assert health.report().counters["camera_dropped"] > 0


def test_frames_that_nobody_wants_pass_undecoded_but_for_one_a_second():
    wanted_from_ns, cameras = [time.monotonic_ns() + 3_000_000_000], []

    def opener(_settings, first_seq, _health):
        cameras.append(FailingCamera(first_seq, 10**6, lost))
        return cameras[-1]

    slot = Latest()
    capture = Capture(CameraSettings(source=0), slot, Health(), opener)
    thread = threading.Thread(target=capture.run, args=(lambda: wanted_from_ns[0],))
    thread.start()
    first, second = slot.get(20), slot.get(20)
    assert second.captured_ns - first.captured_ns > 0.9e9
    assert second.seq - first.seq == cameras[0].skipped + 1 > 10
    wanted_from_ns[0] = 0
    third = slot.get(20)
    assert third.captured_ns - second.captured_ns < 0.9e9
    capture.stop()
    thread.join(20)


def test_a_source_that_can_never_work_ends_the_run_with_its_reason():
    slot = Latest()
    with pytest.raises(SourceUnusableError, match="no such file"):
        Capture(CameraSettings(source="/no/such/clip.mp4"), slot, Health()).run()
    with pytest.raises(ClosedError):
        slot.get(0)


def test_a_lost_camera_is_opened_again_and_numbered_on():
    run = Run(gives(3, lost), gives(10**6, lost))
    frames = [run.slot.get(20) for _ in range(6)]
    assert run.health.problems() == {}
    assert run.health.report().counters["camera_reopened"] >= 1
    run.stop()
    assert all(b.seq > a.seq for a, b in itertools.pairwise(frames))


def test_a_lost_camera_is_forgotten_at_once_with_its_pictures():
    cameras = []

    def maker(first_seq):
        camera = FailingCamera(first_seq, 1, lost)
        cameras.append(weakref.ref(camera))
        return camera

    gc.disable()  # what only a collection would find is memory that grows
    try:
        run = Run(maker, gives(10**6, lost))
        for _ in range(3):
            run.slot.get(20)
        assert cameras[0]() is None
        run.stop()
    finally:
        gc.enable()


def test_a_lost_camera_is_said_while_it_is_lost():
    run = Run(gives(1, lost), gives(0, lost))
    run.slot.get(20)
    deadline = time.monotonic() + 20
    while not run.health.problems() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert run.health.problems() == {"camera": "the cable came off"}
    run.stop()
    assert run.error is None


def test_a_camera_that_comes_and_goes_fills_no_log_and_is_back_once_it_lasts(caplog, monkeypatch):
    monkeypatch.setattr("edge_node.camera.capture.FIRST_BACK_OFF_S", 0.01)
    with caplog.at_level(logging.INFO):
        run = Run(*[gives(2, lost)] * 8, gives(10**6, lost))
        deadline = time.monotonic() + 30
        while run.health.report().counters.get("camera_reopened", 0) < 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.health.report().counters["camera_reopened"] == 8
        assert run.health.problems() == {"camera": "the cable came off, again and again"}
        assert sum("the cable came off" in record.message for record in caplog.records) == 3
        monkeypatch.setattr("edge_node.camera.capture.BRIEF_S", 0.1)
        while run.health.problems() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert run.health.problems() == {}
        run.stop()  # it is said just after the problem is over
        assert caplog.records[-1].message == "camera: gives pictures again"


def test_reasons_that_alternate_while_a_camera_is_away_are_said_once_each(caplog, monkeypatch):
    def unplugged(_first_seq):
        raise CameraError("no such camera")

    def hung(_first_seq):
        raise CameraError("does not answer")

    monkeypatch.setattr("edge_node.camera.capture.FIRST_BACK_OFF_S", 0.01)
    monkeypatch.setattr("edge_node.camera.capture.LAST_BACK_OFF_S", 0.01)
    run = Run(*[unplugged, hung] * 3, gives(10**6, lost))
    assert run.slot.get(20) is not None
    run.stop()
    assert [record.message.split(";")[0] for record in caplog.records] == ["camera: no such camera", "camera: does not answer"]


def test_a_read_that_never_comes_back_is_left_behind():
    run = Run(gives(2, stuck), gives(10**6, lost))
    for _ in range(8):
        assert run.slot.get(20) is not None
    assert run.health.report().counters["camera_reopened"] >= 1
    run.stop()


def test_a_camera_that_says_nothing_is_named_without_its_password(caplog):
    run = Run(gives(1, stuck), source="rtsp://me:hunter2@cam/live")
    run.thread.join(60)
    told = [caplog.text, str(run.error), *run.health.problems().values()]
    assert all("rtsp://cam/live: " in text for text in told)
    assert not any("hunter2" in text for text in told)


def test_the_end_does_not_wait_for_a_read_that_never_comes_back():
    run = Run(gives(1, stuck), stall_s=60.0)
    run.slot.get(20)
    begun = time.monotonic()
    run.stop()
    assert time.monotonic() - begun < 30, "it waited for the read"


def test_too_many_stuck_reads_end_the_process_instead_of_piling_up():
    run = Run(gives(1, stuck))
    run.thread.join(60)
    assert isinstance(run.error, CameraError)
    assert f"{STUCK_READERS} attempts" in str(run.error)


def test_attempts_to_open_a_camera_that_is_away_are_told():
    told = threading.Semaphore(0)
    run = Run(gives(1, lost), alive=told.release)
    assert all(told.acquire(timeout=10) for _ in range(3))
    run.stop()


def test_frames_of_a_camera_that_is_there_are_no_attempts_to_open_it():
    told = threading.Semaphore(0)
    run = Run(gives(10**6, lost), alive=told.release)
    assert all(run.slot.get(20) for _ in range(5))
    assert not told.acquire(timeout=0.2)
    run.stop()


def test_a_clip_whose_next_frame_is_not_due_is_alive_while_that_frame_is_waited_for(tmp_path):
    write_matroska(tmp_path / "lapse.mkv", [0, 500, 4000], 4500)
    told, slot = threading.Semaphore(0), Latest()
    capture = Capture(CameraSettings(source=str(tmp_path / "lapse.mkv"), realtime=True), slot, Health(), alive=told.release)
    thread = threading.Thread(target=capture.run)
    thread.start()
    assert [slot.get(20).seq for _ in range(2)] == [0, 1]
    while told.acquire(blocking=False):
        pass
    assert not told.acquire(timeout=0.7), "nobody waits: who should take the frame may hang"
    assert slot.get(20).seq == 2
    assert told.acquire(timeout=0)
    thread.join(20)
    assert not thread.is_alive()


def test_a_consumer_that_closes_the_slot_ends_the_run():
    run = Run(gives(10**6, lost))
    run.slot.get(20)
    run.slot.close()
    run.thread.join(20)
    assert not run.thread.is_alive()
    assert run.error is None


def test_a_fault_of_the_program_is_not_taken_for_a_lost_camera():
    def broken():
        raise ZeroDivisionError

    run = Run(gives(1, broken))
    run.thread.join(20)
    assert isinstance(run.error, ZeroDivisionError)


@pytest.mark.parametrize(("source", "realtime", "lossless"), [("a.mp4", False, True), ("a.mp4", True, False), ("synthetic", False, False)])
def test_only_files_played_as_fast_as_possible_lose_nothing(source, realtime, lossless):
    assert Capture(CameraSettings(source=source, realtime=realtime), Latest(), Health()).lossless == lossless
