"""USB cameras and whatever else is a V4L2 device, through OpenCV."""

import time
from pathlib import Path

import cv2

from edge_node.camera import devices
from edge_node.camera.opencv import Capture, PassedOver, RgbConverter
from edge_node.camera.stamps import LiveStamper, plausible_monotonic_ns
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame
from edge_node.errors import CameraError
from edge_node.health import Health

RAW_BYTES_PER_S = 20_000_000
"""What USB 2 carries of uncompressed YUYV with some margin; above that MJPG is asked for."""


class DeviceCamera:
    """A V4L2 device, open. Raises ``CameraError`` when it cannot be opened."""

    live = True
    due_ns = 0

    def __init__(self, path: Path, settings: CameraSettings, first_seq: int, health: Health) -> None:
        device = devices.check_device(path)
        self._path = path
        self._capture: Capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise CameraError(f"{path} ({device.card}): cannot be opened; another program may be using it (fuser {path})")
        self._ask_for(settings)
        self._converter = RgbConverter(settings.hflip, settings.vflip)
        self._stamper = LiveStamper(first_seq)
        self._passed_over = PassedOver(str(path), self._stamper, health)
        self.description = f"{path} ({device.card}) {self._mode()}"

    def read(self) -> Frame | None:
        """The next frame, with the driver's time stamp where that is of the monotonic clock (uvcvideo, vivid)."""
        return self._passed_over.first_good(self._next_frame)

    def skip(self) -> bool:
        self._grab()
        self._stamper.skip()
        return True

    def close(self) -> None:
        self._capture.release()

    def _next_frame(self) -> Frame | None:
        self._grab()
        arrived_ns = time.monotonic_ns()
        stamp_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
        image = self._converter.retrieve(self._capture)
        return None if image is None else self._stamper.stamp(image, plausible_monotonic_ns(stamp_ms, arrived_ns))

    def _grab(self) -> None:
        if not self._capture.grab():
            raise CameraError(f"{self._path}: the camera stopped giving pictures (unplugged?)")

    def _ask_for(self, settings: CameraSettings) -> None:
        """Size, rate and pixel format; a camera gives what comes next to it."""
        raw_bytes_per_s = settings.width * settings.height * 2 * settings.fps
        code = "MJPG" if raw_bytes_per_s > RAW_BYTES_PER_S else "YUYV"
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        self._capture.set(cv2.CAP_PROP_FPS, settings.fps)

    def _mode(self) -> str:
        number = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        code = number.to_bytes(4, "little", signed=False).decode("ascii", "replace") if number > 0 else "unknown format"
        width, height = (int(self._capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        return f"{width}x{height} {self._capture.get(cv2.CAP_PROP_FPS):g} fps {code}"
