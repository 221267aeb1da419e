"""Video files and folders of pictures: every frame counts, and there is an end."""

import logging
import os
import re
import stat
import time
from dataclasses import replace
from pathlib import Path, PurePath
from urllib.parse import urlsplit

import cv2

from edge_node.camera.explain import why_not
from edge_node.camera.opencv import SKIPPED, Capture, RgbConverter, grab, name_of_video, read_picture
from edge_node.camera.stamps import NS_PER_S, FileStamper, sleep_until
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame
from edge_node.errors import CameraError, SourceUnusableError
from edge_node.filesystem import stat_of
from edge_node.health import Health

log = logging.getLogger(__name__)

FULL_HD_PX = 1920 * 1088
PATIENCE_S = 2.0
"""More than the decoding of a picture takes anywhere."""
CATCH_UP_NS = NS_PER_S // 4
"""So long in a row late frames are left out. A file that takes more time to decode than to play would give none else."""
COUNTED_SUFFIXES = frozenset({".3gp", ".avi", ".m4v", ".mov", ".mp4"})
"""Containers that say how many pictures they hold. Of others FFmpeg tells duration x rate, which is wrong where the rate varies, or
where the sound lasts longer than the pictures."""
PICTURE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class VideoFile:
    """A video file, open at its first frame. ``location`` is a path, or the address of a file on a web server."""

    def __init__(self, location: str, shown: str, settings: CameraSettings, first_seq: int, health: Health) -> None:
        self._location, self._shown = location, shown
        self._is_remote = "://" in location
        self._stall_s = settings.stall_s
        self._loop, self.live = settings.loop, settings.realtime
        self._health = health
        self._capture = self._open()
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 0 < rate < 1000 else settings.fps
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) if _is_counted(location) else 0
        """Frames of one round; 0 when the file does not say."""
        self._frames_read = 0
        self._warned: set[str] = set()
        self._stamper = FileStamper(first_seq, round(NS_PER_S / self.fps))
        self._pace = _Pace(round(NS_PER_S / self.fps)) if settings.realtime else None
        self._converter = RgbConverter(settings.hflip, settings.vflip)
        self.description = self._describe()

    @property
    def due_ns(self) -> int:
        """See ``Camera``."""
        return self._pace.due_ns if self._pace else 0

    def read(self) -> Frame | None:
        """The next frame; with ``realtime`` when it is due, and without those that are late."""
        while True:
            if self._pace:
                self._pace.wait_to_read()
            began_ns = time.monotonic_ns()
            if not self._grab():
                return None
            position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            if self._pace and self._pace.is_late(self._stamper.due_ns(position_ms)):
                self._stamper.skip(position_ms)
                continue
            image = self._converter.retrieve(self._capture)
            if image is None:
                self._note_skipped()
                continue
            if self._pace:
                began_ns = self._pace.wait_for(self._stamper.due_ns(position_ms))
            return self._stamper.stamp(image, position_ms, began_ns)

    def skip(self) -> bool:
        if not self._grab():
            return False
        position_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._pace:
            self._pace.wait_for(self._stamper.due_ns(position_ms))
        self._stamper.skip(position_ms)
        return True

    def close(self) -> None:
        self._capture.release()

    def _grab(self) -> bool:
        bad = grab(self._capture, PATIENCE_S)
        if bad is not None:
            for _ in range(bad):
                self._frames_read += 1
                self._note_skipped()
            self._frames_read += 1
            return True
        if self._frames_read == 0:
            raise SourceUnusableError(f"{self._shown}: a video without a picture that can be decoded{self._perhaps_why()}")
        if self._frames_read < self.length:
            self._warn(f"ends after {self._frames_read} of {self.length} frames; the file is damaged or cut off")
        return self._loop and self._start_over()

    def _perhaps_why(self) -> str:
        if not self._is_remote:
            return ""
        return "; perhaps its index is at its end, and the server sends no parts of a file (Range): ffmpeg -movflags faststart"

    def _note_skipped(self) -> None:
        self._warn(f"frame {self._frames_read} cannot be decoded; skipped")
        self._health.count(SKIPPED)

    def _warn(self, text: str) -> None:
        """Once, however often the file is played."""
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s: %s", self._shown, text)

    def _start_over(self) -> bool:
        self._capture.release()
        self._capture = self._open()
        self._stamper.start_over()
        self._frames_read = 0
        return self._grab()

    def _open(self) -> Capture:
        # One decoding thread does it up to Full HD, for less processor time in sum than several that wait for each other.
        capture = cv2.VideoCapture(self._location, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        if capture.isOpened() and _size_px(capture) > FULL_HD_PX:
            capture.release()
            capture = cv2.VideoCapture(self._location, cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise self._refusal()
        return capture

    def _refusal(self) -> CameraError:
        if self._is_remote:  # it was there a moment ago, and may be again
            return CameraError(f"{self._shown}: {why_not(self._location, self._stall_s)}")
        return SourceUnusableError(f"{self._shown}: not a video that can be read (damaged, cut off, or another kind of file)")

    def _describe(self) -> str:
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{self._shown} {width}x{height} {self.fps:g} fps, {self.length or 'unknown number of'} frames"


class PictureFolder:
    """Pictures in natural order of their names (``img2`` before ``img10``), as frames of ``camera.fps``; a single one is a still."""

    def __init__(self, paths: list[Path], shown: str, settings: CameraSettings, first_seq: int, health: Health) -> None:
        self._paths, self._shown = paths, shown
        self._loop, self.live = settings.loop, settings.realtime
        self._health = health
        self.fps, self.length = settings.fps, len(paths)
        self._still = len(paths) == 1 and not settings.loop
        self._next = 0
        self._read_any = False
        """In this round."""
        self._warned_of: set[Path] = set()
        interval_ns = round(NS_PER_S / settings.fps)
        self._stamper = FileStamper(first_seq, interval_ns)
        self._pace = _Pace(interval_ns) if settings.realtime else None
        self._converter = RgbConverter(settings.hflip, settings.vflip)
        self.description = f"{shown}: {len(paths)} {'picture' if len(paths) == 1 else 'pictures'} at {settings.fps:g} fps"

    @property
    def due_ns(self) -> int:
        """See ``Camera``."""
        return self._pace.due_ns if self._pace else 0

    def read(self) -> Frame | None:
        """The next picture; with ``realtime`` when it is due, and without those that are late. One that cannot be read is skipped, said
        once in the log, and counted.
        """
        while self._next < len(self._paths) or self._begin_again():
            began_ns = time.monotonic_ns()
            if self._pace and self._pace.is_late(self._stamper.due_ns(None)):
                self._pass()
                continue
            path = self._paths[self._next]
            self._next += 1
            bgr = read_picture(path, cv2.IMREAD_COLOR)
            if bgr is None:
                self._skip(path)
                continue
            self._read_any = True
            if self._pace:
                began_ns = self._pace.wait_for(self._stamper.due_ns(None))
            return replace(self._stamper.stamp(self._converter.convert(bgr), None, began_ns), still=self._still)
        if not self._read_any:
            raise SourceUnusableError(f"{self._shown}: none of its {len(self._paths)} pictures can be read")
        return None

    def skip(self) -> bool:
        if self._next >= len(self._paths) and not self._begin_again():
            return False
        if self._pace:
            self._pace.wait_for(self._stamper.due_ns(None))
        self._pass()
        return True

    def close(self) -> None:
        self._next = len(self._paths)

    def _begin_again(self) -> bool:
        if not (self._loop and self._read_any):
            return False
        self._next = 0
        self._read_any = False  # a round in which none can be read, all of them gone meanwhile, is the last
        return True

    def _pass(self) -> None:
        self._next += 1
        self._read_any = True  # as far as anybody looked
        self._stamper.skip(None)

    def _skip(self, path: Path) -> None:
        if path not in self._warned_of:
            self._warned_of.add(path)
            log.warning("%s: not a picture that can be read; skipped", path)
        self._health.count(SKIPPED)


class _Pace:
    """Plays at a file's own rate: its time line is tied to the clock when the first frame is due."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self.due_ns = 0
        """Until then it sleeps."""
        self._lead_ns: int | None = None
        self._read_at_ns = 0
        self._late_since_ns: int | None = None

    def wait_to_read(self) -> None:
        """Sleep through half of the interval: a file is decoded by this machine, and should not take the time of the frame at hand."""
        self._sleep_until(self._read_at_ns)

    def is_late(self, media_ns: int) -> bool:
        """The frame after this one is already due, and leaving this one out may help."""
        now_ns = time.monotonic_ns()
        if self._lead_ns is None or now_ns <= media_ns + self._lead_ns + self._interval_ns:
            return False
        self._late_since_ns = now_ns if self._late_since_ns is None else self._late_since_ns
        return now_ns - self._late_since_ns <= CATCH_UP_NS

    def wait_for(self, media_ns: int) -> int:
        """Sleep until the frame is due; returns when it came, on the monotonic clock, which may be a little later."""
        self._late_since_ns = None
        if self._lead_ns is None:
            self._lead_ns = time.monotonic_ns() - media_ns
        due_ns = media_ns + self._lead_ns
        self._sleep_until(due_ns)
        self._read_at_ns = due_ns + self._interval_ns // 2
        return time.monotonic_ns()

    def _sleep_until(self, due_ns: int) -> None:
        self.due_ns = due_ns
        sleep_until(due_ns)


def _is_counted(location: str) -> bool:
    path = urlsplit(location).path if "://" in location else location
    return PurePath(path).suffix.lower() in COUNTED_SUFFIXES


def _size_px(capture: Capture) -> float:
    width, height = (float(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    return width * height


def open_path(path: Path, settings: CameraSettings, first_seq: int, health: Health) -> VideoFile | PictureFolder:
    """A video, a picture or a folder of pictures. Raises ``SourceUnusableError``."""
    found = stat_of(path, SourceUnusableError)
    if found is None:
        raise SourceUnusableError(f"{path}: no such file or folder (camera.source)")
    is_directory = stat.S_ISDIR(found.st_mode)
    if not os.access(path, os.R_OK | (os.X_OK if is_directory else 0)):
        raise SourceUnusableError(f"{path}: permission denied; this user may not read it")
    if is_directory:
        pictures = pictures_in(path)
        if not pictures:
            raise SourceUnusableError(f"{path}: no pictures in this folder ({' '.join(sorted(PICTURE_SUFFIXES))})")
        return PictureFolder(pictures, str(path), settings, first_seq, health)
    if not stat.S_ISREG(found.st_mode):
        raise SourceUnusableError(f"{path}: neither a file nor a folder (camera.source)")
    if found.st_size == 0:
        raise SourceUnusableError(f"{path}: the file is empty")
    if _is_picture(path):
        return PictureFolder([path], str(path), settings, first_seq, health)
    return VideoFile(name_of_video(path, SourceUnusableError), str(path), settings, first_seq, health)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder, in natural order of their names. Raises ``SourceUnusableError`` when it may not be read."""
    try:
        return sorted((path for path in folder.iterdir() if _is_picture(path)), key=_natural_order)
    except OSError as error:
        raise SourceUnusableError(f"{folder}: cannot be read: {error.strerror}") from error


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and os.access(path, os.F_OK) and path.is_file()  # no link to where we may not look


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """``img2`` before ``img10``: runs of digits compare as numbers."""
    return [(int(part), "") if part.isdecimal() else (-1, part.casefold()) for part in re.split(r"(\d+)", path.name) if part]
