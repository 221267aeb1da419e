"""Video files and folders of pictures."""

import itertools
import logging
import os
import shutil
import struct
import time
import zlib
from contextlib import closing

import cv2
import numpy as np
import pytest

from edge_node.camera.factory import open_camera
from edge_node.camera.files import open_path, pictures_in
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import SourceUnusableError
from edge_node.health import Health
from tests.camera.matroska import write_matroska

MS = 1_000_000


def frames_of(source, health=None, **settings):
    with closing(open_camera(CameraSettings(source=str(source), **settings), health=health)) as camera:
        return list(iter(camera.read, None))


def write_picture(path, colour=(0, 0, 0), size=(16, 12)):
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), colour[::-1], np.uint8))


@pytest.mark.parametrize(
    ("clip", "frames", "shape", "apart_ms"),
    [
        ("squats.mp4", 65, (1280, 720, 3), 200),
        ("dance.mp4", 120, (576, 576, 3), 33),
        ("two_people_jumping.mp4", 230, (994, 1768, 3), 33),
        ("people_one_by_one.mp4", 1394, (432, 768, 3), 100),
    ],
)
def test_gives_every_frame_of_a_clip_at_its_own_times(shared, clip, frames, shape, apart_ms):
    with closing(open_camera(CameraSettings(source=str(shared.clips / clip)))) as camera:
        assert not camera.live
        last, count = None, 0
        for frame in iter(camera.read, None):
            assert frame.seq == count
            assert frame.image.shape == shape
            if last:
                assert (frame.media_ns - last) // MS == apart_ms
            last, count = frame.media_ns, count + 1
    assert count == frames


def test_frames_are_rgb_and_the_same_as_the_decoders(shared):
    capture = cv2.VideoCapture(str(shared.clips / "dance.mp4"))
    _, bgr = capture.read()
    with closing(open_camera(CameraSettings(source=str(shared.clips / "dance.mp4")))) as camera:
        image = camera.read().image
    assert image.flags.c_contiguous
    assert (image == bgr[..., ::-1]).all()


@pytest.mark.parametrize(
    ("flips", "expected"),
    [({"hflip": True}, np.s_[:, ::-1]), ({"vflip": True}, np.s_[::-1]), ({"hflip": True, "vflip": True}, np.s_[::-1, ::-1])],
)
def test_frames_are_mirrored_and_turned_as_asked(shared, flips, expected):
    clip = str(shared.clips / "dance.mp4")
    with closing(open_camera(CameraSettings(source=clip))) as plain, closing(open_camera(CameraSettings(source=clip, **flips))) as flipped:
        assert (flipped.read().image == plain.read().image[expected]).all()


@pytest.mark.parametrize("size", [(320, 180), (2048, 1152)])
def test_clips_small_and_larger_than_full_hd_give_every_frame(tmp_path, size):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 30, size)
    for number in range(5):
        writer.write(np.full((size[1], size[0], 3), 50 * number, np.uint8))
    writer.release()
    levels = [round(float(frame.image.mean()) / 50) for frame in frames_of(path)]
    assert levels == [0, 1, 2, 3, 4]


def test_a_held_frame_is_not_written_over(shared):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "dance.mp4")))) as camera:
        first = camera.read()
        copy = first.image.copy()
        for _ in range(20):
            camera.read()
        assert (first.image == copy).all()


def test_real_time_plays_at_the_files_rate(shared):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "dance.mp4"), realtime=True))) as camera:
        assert camera.live
        frames = [camera.read() for _ in range(10)]
    behind_ns = [frame.captured_ns - frame.media_ns for frame in frames]
    assert min(behind_ns) >= behind_ns[0] - MS, "no frame comes before it is due"


def test_real_time_leaves_out_what_is_late(shared):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "dance.mp4"), realtime=True))) as camera:
        camera.read()
        time.sleep(0.5)
        assert camera.read().seq >= 10


def test_real_time_leaves_out_pictures_of_a_folder_that_are_late(tmp_path):
    for number in range(30):
        write_picture(tmp_path / f"{number}.png", (number, 20, 30))
    with closing(open_camera(CameraSettings(source=str(tmp_path), realtime=True, fps=20))) as camera:
        first = camera.read()
        time.sleep(0.5)
        later = camera.read()
    assert later.seq >= 8
    assert later.image[0, 0, 0] == later.seq
    assert later.media_ns - first.media_ns == later.seq * 50 * MS


class SlowDecoder:
    """An OpenCV capture on a machine that takes 60 ms for a picture."""

    def __init__(self, capture):
        self._capture = capture

    def grab(self):
        time.sleep(0.06)
        return self._capture.grab()

    def __getattr__(self, name):
        return getattr(self._capture, name)


def test_of_a_clip_that_takes_longer_to_decode_than_to_play_real_time_still_gives_pictures(shared):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "dance.mp4"), realtime=True))) as camera:
        camera._capture = SlowDecoder(camera._capture)
        seqs = [camera.read().seq for _ in range(5)]
    assert seqs[-1] < 60


def test_loop_starts_again_and_time_goes_on(shared):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "squats.mp4"), loop=True))) as camera:
        frames = [(frame.seq, frame.media_ns) for frame in itertools.islice(iter(camera.read, None), 140)]
    assert [seq for seq, _ in frames] == list(range(140))
    assert {(b - a) // MS for (_, a), (_, b) in itertools.pairwise(frames)} == {200}


def test_a_folder_comes_in_natural_order_with_the_rate_of_the_camera(tmp_path):
    for number in (1, 10, 2):
        write_picture(tmp_path / f"img{number}.png", (number, 20, 30))
    (tmp_path / "notes.txt").write_text("no picture")
    frames = frames_of(tmp_path, fps=10.0)
    assert [frame.image[0, 0].tolist() for frame in frames] == [[1, 20, 30], [2, 20, 30], [10, 20, 30]]
    assert {b.media_ns - a.media_ns for a, b in itertools.pairwise(frames)} == {100 * MS}


def test_one_picture_is_a_source_too(tmp_path):
    write_picture(tmp_path / "a.png")
    assert len(frames_of(tmp_path / "a.png")) == 1


def test_a_looped_folder_whose_pictures_are_all_gone_is_an_error(tmp_path):
    for name in ("1.png", "2.png"):
        write_picture(tmp_path / name)
    with closing(open_camera(CameraSettings(source=str(tmp_path), loop=True))) as camera:
        assert [camera.read().seq for _ in range(5)] == list(range(5))
        for path in tmp_path.iterdir():
            path.unlink()
        with pytest.raises(SourceUnusableError, match="none of its 2 pictures can be read"):
            camera.read()


def test_a_looped_folder_goes_on_after_pictures_that_passed_unread(tmp_path):
    for name in ("1.png", "2.png"):
        write_picture(tmp_path / name)
    with closing(open_camera(CameraSettings(source=str(tmp_path), loop=True, realtime=True, fps=100))) as camera:
        assert camera.read().seq == 0
        assert all(camera.skip() for _ in range(6))
        assert camera.read().seq == 7


@pytest.mark.parametrize(("count", "loop", "still"), [(1, False, True), (1, True, False), (2, False, False)])
def test_a_picture_is_a_still_where_nothing_comes_after_it(tmp_path, count, loop, still):
    for number in range(count):
        write_picture(tmp_path / f"{number}.png")
    with closing(open_camera(CameraSettings(source=str(tmp_path), loop=loop))) as camera:
        assert camera.read().still is still


def test_a_damaged_picture_of_a_folder_is_skipped_said_and_counted(tmp_path, caplog):
    for number in range(3):
        write_picture(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"\x89PNG nonsense")
    health = Health()
    with caplog.at_level(logging.WARNING):
        frames = frames_of(tmp_path, health)
    assert [frame.seq for frame in frames] == [0, 1]
    assert health.report().counters["camera_skipped"] == 1
    assert [record.getMessage() for record in caplog.records] == [f"{tmp_path}/1.png: not a picture that can be read; skipped"]


def test_what_is_damaged_in_a_folder_that_is_looped_is_said_once_and_counted_each_time(tmp_path, caplog):
    for number in range(3):
        write_picture(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"\x89PNG nonsense")
    health = Health()
    with (
        caplog.at_level(logging.WARNING),
        closing(open_camera(CameraSettings(source=str(tmp_path), loop=True), health=health)) as camera,
    ):
        assert [camera.read().seq for _ in range(10)] == list(range(10))
    assert health.report().counters["camera_skipped"] == 5
    assert len(caplog.records) == 1


def test_a_picture_larger_than_can_be_read_is_skipped_like_a_damaged_one(tmp_path):
    write_picture(tmp_path / "0.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)))
    health = Health()
    assert len(frames_of(tmp_path, health)) == 1
    assert health.report().counters["camera_skipped"] == 1


def test_a_picture_may_have_a_name_that_is_not_utf8(tmp_path):
    write_picture(tmp_path / "a.png", (1, 20, 30))
    (tmp_path / "a.png").rename(tmp_path / "caf\udce9.png")
    assert [frame.image[0, 0].tolist() for frame in frames_of(tmp_path)] == [[1, 20, 30]]


def test_a_video_whose_name_is_not_utf8_is_refused(tmp_path, shared):
    path = tmp_path / "caf\udce9.mp4"
    path.symlink_to(shared.clips / "squats.mp4")
    with pytest.raises(SourceUnusableError, match=r"the name of a video must be UTF-8"):
        open_path(path, CameraSettings(), 0, Health())


def test_a_raised_digit_in_the_name_of_a_picture_is_no_number(tmp_path):
    for name in ("²1.png", "1.png", "٣.png"):
        write_picture(tmp_path / name)
    assert [path.name for path in pictures_in(tmp_path)] == ["²1.png", "1.png", "٣.png"]


def test_a_video_that_is_cut_off_gives_what_is_there_and_says_so(tmp_path, caplog):
    whole, cut = tmp_path / "whole.avi", tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(40):
        writer.write(np.full((48, 64, 3), shade * 5, np.uint8))
    writer.release()
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 3 // 4])
    with caplog.at_level(logging.WARNING):
        frames = frames_of(cut)
    assert 10 < len(frames) < 40
    assert "the file is damaged or cut off" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING), closing(open_camera(CameraSettings(source=str(cut), loop=True))) as camera:
        assert camera.read().seq == 0
        while camera.read().seq < 3 * len(frames):
            pass
    assert len(caplog.records) == 1, "said once, however often it is played"


@pytest.mark.parametrize(
    ("times_ms", "duration_ms"),
    [
        (list(itertools.accumulate(itertools.islice(itertools.cycle((20, 45, 110)), 30))), 1_800),
        ([33 * number for number in range(30)], 5_000),
        ([60_000 + 33 * number for number in range(30)], 61_000),
    ],
    ids=["of a varying rate", "shorter than its sound", "that starts late"],
)
def test_an_intact_matroska_is_not_called_damaged_nor_given_a_number_of_frames(tmp_path, caplog, times_ms, duration_ms):
    path = tmp_path / "clip.mkv"
    write_matroska(path, times_ms, duration_ms)
    with caplog.at_level(logging.WARNING), closing(open_camera(CameraSettings(source=str(path)))) as camera:
        assert "unknown number of frames" in camera.description
        assert len(list(iter(camera.read, None))) == 30
    assert caplog.records == []


def test_damaged_frames_of_a_video_are_skipped_and_said_and_those_behind_them_used(tmp_path, caplog):
    path = tmp_path / "damaged.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for shade in range(20):
        writer.write(np.full((48, 64, 3), shade * 10, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    pictures = [place for place in range(len(content)) if content.startswith(b"\xff\xd8\xff", place)]
    for number in (5, 6, 12):
        content[pictures[number] : pictures[number + 1] - 8] = bytes(pictures[number + 1] - 8 - pictures[number])
    path.write_bytes(content)
    health = Health()
    with caplog.at_level(logging.WARNING):
        frames = frames_of(path, health)
    assert [round(int(frame.image.mean()) / 10) for frame in frames] == [n for n in range(20) if n not in (5, 6, 12)]
    assert [frame.seq for frame in frames] == list(range(17))
    assert [record.message for record in caplog.records] == [f"{path}: frame {n} cannot be decoded; skipped" for n in (6, 7, 13)]
    assert health.report().counters["camera_skipped"] == 3


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "missing.mp4", "no such file or folder"),
        (lambda folder: _written(folder / "text.mp4", b"this is no video"), "not a video that can be read"),
        (lambda folder: _written(folder / "empty.mp4", b""), "the file is empty"),
        (lambda folder: _made(folder / "nothing"), "no pictures in this folder"),
        (lambda folder: _pipe(folder / "a.mp4"), "neither a file nor a folder"),
        (lambda folder: _pipe(folder / "a.png"), "neither a file nor a folder"),
        (lambda folder: _written(folder / "bad.png", b"\x89PNG nonsense"), "none of its 1 pictures can be read"),
    ],
)
def test_what_can_never_give_a_frame_is_refused_in_one_line(tmp_path, make, says):
    with pytest.raises(SourceUnusableError, match=says) as refused:
        frames_of(make(tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["a: b.mp4", "file:c.mp4"])
def test_a_clip_in_the_working_directory_may_be_called_like_a_protocol(shared, tmp_path, monkeypatch, name):
    shutil.copyfile(shared.clips / "squats.mp4", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(frames_of(name)) == 65


def test_a_clip_without_its_index_is_refused(shared, tmp_path):
    cut = _written(tmp_path / "cut.mp4", (shared.clips / "squats.mp4").read_bytes()[:100_000])
    with pytest.raises(SourceUnusableError, match="not a video that can be read"):
        frames_of(cut)


def _written(path, content):
    path.write_bytes(content)
    return path


def _pipe(path):
    os.mkfifo(path)
    return path


def _made(path):
    path.mkdir()
    return path


@pytest.mark.parametrize("realtime", [True, False])
def test_a_frame_of_a_clip_that_is_skipped_leaves_its_number_and_its_time(shared, realtime):
    with closing(open_camera(CameraSettings(source=str(shared.clips / "squats.mp4"), realtime=realtime))) as camera:
        first = camera.read()
        assert camera.skip()
        third = camera.read()
    assert (first.seq, third.seq) == (0, 2)
    assert third.media_ns - first.media_ns == 400 * MS


def test_a_picture_that_is_skipped_leaves_its_number_and_the_end_is_told(tmp_path):
    for number in range(3):
        write_picture(tmp_path / f"{number}.png", (number, 20, 30))
    with closing(open_camera(CameraSettings(source=str(tmp_path), fps=100.0))) as camera:
        assert camera.read().seq == 0
        assert camera.skip()
        assert (last := camera.read()).seq == 2
        assert last.image[0, 0, 0] == 2
        assert not camera.skip()
