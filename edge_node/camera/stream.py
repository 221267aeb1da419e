"""Network cameras: RTSP and HTTP streams, through OpenCV's FFmpeg."""

import contextlib
import os
import time
from collections.abc import Iterator

import cv2

from edge_node.camera import source
from edge_node.camera.explain import why_not
from edge_node.camera.opencv import Capture, PassedOver, RgbConverter, grab
from edge_node.camera.stamps import LiveStamper, StreamClock
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame
from edge_node.errors import CameraError
from edge_node.health import Health

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
FFMPEG_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer"
"""TCP, because UDP loses slices; no holding back of packets before the first picture."""


def open_capture(stream: source.Stream, settings: CameraSettings) -> Capture:
    """Connect. Raises ``CameraError`` with the reason as far as the server tells one."""
    open_ms, read_ms = round(settings.stall_s * 1000), round(settings.longest_gap_s * 1000)
    with _ffmpeg_options():
        capture = cv2.VideoCapture(
            stream.url,
            cv2.CAP_FFMPEG,
            # One decoding thread: with several, FFmpeg holds back a picture for each of them.
            [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, open_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, read_ms, cv2.CAP_PROP_N_THREADS, 1],
        )
    if not capture.isOpened():
        raise CameraError(f"{stream.shown}: {why_not(stream.url, settings.stall_s)}")
    return capture


@contextlib.contextmanager
def _ffmpeg_options() -> Iterator[None]:
    """OpenCV takes FFmpeg's options from the environment only. They must not outlast the opening: no clip could be read with them."""
    if OPTIONS_VARIABLE in os.environ:  # the user's own
        yield
        return
    os.environ[OPTIONS_VARIABLE] = FFMPEG_OPTIONS
    try:
        yield
    finally:
        del os.environ[OPTIONS_VARIABLE]


def is_finite(capture: Capture) -> bool:
    """A file that happens to lie on a server has a number of pictures; a stream has none."""
    return bool(capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0)


def _leave_jpeg_undecoded(capture: Capture) -> bool:
    """Have the pictures of a stream of JPEG given as they come; ``False`` for any other stream.

    OpenCV's FFmpeg would decode each in ``grab``; these stand for themselves, so one that is skipped need not be decoded.
    """
    return int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG") and bool(capture.set(cv2.CAP_PROP_FORMAT, -1))


class StreamCamera:
    """An open stream without an end. RTSP frames are stamped by the stream's own clock, HTTP ones by their arrival."""

    live = True
    due_ns = 0

    def __init__(self, stream: source.Stream, capture: Capture, settings: CameraSettings, first_seq: int, health: Health) -> None:
        self._shown = stream.shown
        self._capture = capture
        self._clock = StreamClock() if stream.url.startswith("rtsp") else None
        converter = RgbConverter(settings.hflip, settings.vflip)
        self._picture = converter.decode if _leave_jpeg_undecoded(capture) else converter.retrieve
        self._stamper = LiveStamper(first_seq)
        self._still = _StillWatch(settings.longest_gap_s)
        self._patience_s = settings.longest_gap_s / 2
        self._passed_over = PassedOver(stream.shown, self._stamper, health)
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        self.description = f"{stream.shown} {width}x{height}"

    def read(self) -> Frame | None:
        """The next frame. Raises ``CameraError`` when the stream ended, or gives the same picture for ever."""
        return self._passed_over.first_good(self._next_frame)

    def skip(self) -> bool:
        self._next()
        self._stamper.skip()
        return True

    def close(self) -> None:
        self._capture.release()

    def _next_frame(self) -> Frame | None:
        captured_ns = self._next()
        image = self._picture(self._capture)
        return None if image is None else self._stamper.stamp(image, captured_ns)

    def _next(self) -> int:
        """Go on to the next frame; when it was captured."""
        bad = grab(self._capture, self._patience_s)
        if bad is None:
            raise CameraError(f"{self._shown}: the stream ended or stopped")
        self._passed_over.count(bad)
        arrived_ns = time.monotonic_ns()
        stamp_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        if self._still.stands_still(stamp_ms, arrived_ns):
            raise CameraError(f"{self._shown}: the stream stands still")
        return self._clock.captured_ns(stamp_ms, arrived_ns) if self._clock else arrived_ns


class _StillWatch:
    """Notices a dead stream of which OpenCV returns the last picture for ever: its time stamp does not advance any more."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self._stamp_ms: float | None = None
        self._since_ns = 0

    def stands_still(self, stamp_ms: float, now_ns: int) -> bool:
        if stamp_ms != self._stamp_ms or stamp_ms <= 0:  # 0: a stream without stamps
            self._stamp_ms, self._since_ns = stamp_ms, now_ns
        return now_ns - self._since_ns > self._limit_ns
