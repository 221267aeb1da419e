"""The Raspberry Pi's own camera, through picamera2 (apt: python3-picamera2).

One stream is asked of it: ``main``, at the size of ``camera.width`` and ``height``. Its pictures are copied once, out of the
camera's uncached memory into ours, and the request goes back at once.
"""

import importlib.util
import time
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_node.camera.pool import ImagePool
from edge_node.camera.stamps import LiveStamper
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame, Image
from edge_node.errors import CameraError, SourceUnusableError

RGB_IN_MEMORY = "BGR888"
"""libcamera names a format by its bytes as one little-endian number, so its BGR888 is R, G, B in memory."""
BGR_IN_MEMORY = "RGB888"
BUFFERS = 6
MAX_CANCELLED = 30


def camera_numbers() -> list[int]:
    """The numbers of the cameras on the board's own connectors; none where picamera2 is not installed.

    Raises ``SourceUnusableError`` where it is, and cannot be loaded.
    """
    if importlib.util.find_spec("picamera2") is None:
        return []
    known = _picamera2().Picamera2.global_camera_info()
    return [int(info["Num"]) for info in known if "usb" not in str(info.get("Id", "")).lower()]


class PiCamera:
    """A camera of libcamera, started. Raises ``SourceUnusableError`` without picamera2, ``CameraError`` without the camera."""

    live = True
    due_ns = 0

    def __init__(self, number: int, settings: CameraSettings, first_seq: int) -> None:
        module = _picamera2()
        self._mapped_array = module.MappedArray
        self._settings = settings
        self._pool = ImagePool()
        self._stamper = LiveStamper(first_seq)
        self._stalled = False
        self._last_ns = time.monotonic_ns()
        self._camera = _acquire(module, number)
        try:
            self._start()
        except (RuntimeError, ValueError, KeyError) as error:
            self._camera.close()
            raise CameraError(f"picamera2: {settings.width}x{settings.height} is refused: {error}") from error
        self.description = self._describe(number)

    def read(self) -> Frame | None:
        """The next frame, stamped by the sensor. Raises ``CameraError`` when none comes in time."""
        for _ in range(MAX_CANCELLED):
            request = self._request()
            try:
                captured_ns = self._sensor_ns(request.get_metadata())
                image = self._copy(request) if captured_ns else None
            finally:
                request.release()
            if image is not None and captured_ns:
                self._last_ns = captured_ns
                return self._stamper.stamp(image, captured_ns)
        raise CameraError(f"picamera2: {MAX_CANCELLED} requests were cancelled one after the other")

    def skip(self) -> bool:
        request = self._request()
        try:
            captured_ns = self._sensor_ns(request.get_metadata())
        finally:
            request.release()
        if captured_ns:
            self._last_ns = captured_ns
            self._stamper.skip()
        return True

    def close(self) -> None:
        """Stop and give the camera back. After a stall this can hang in the driver: it is called where that hurts nobody."""
        camera, self._camera = self._camera, None
        if camera is None:
            return
        if self._stalled and hasattr(camera, "cancel_all_and_flush"):  # picamera2 >= 0.3.20
            camera.cancel_all_and_flush()
        camera.stop()
        camera.close()

    def _start(self) -> None:
        from libcamera import Transform  # noqa: PLC0415 - comes with picamera2, from apt

        settings = self._settings
        interval_us = round(1_000_000 / settings.fps)
        configuration = self._camera.create_video_configuration(
            main={"size": (settings.width, settings.height), "format": RGB_IN_MEMORY},
            sensor=_widest_mode(self._camera.sensor_modes, settings.fps),
            buffer_count=BUFFERS,
            queue=False,  # an old frame is never held back for us
            controls={"FrameDurationLimits": (interval_us, interval_us)},
            transform=Transform(hflip=int(settings.hflip), vflip=int(settings.vflip)),
        )
        self._camera.configure(configuration)
        self._main = self._camera.camera_configuration()["main"]
        if self._main["format"] not in (RGB_IN_MEMORY, BGR_IN_MEMORY):
            raise ValueError(f"the camera gives {self._main['format']} instead of {RGB_IN_MEMORY}")
        self._camera.start()
        self._last_ns = time.monotonic_ns()

    def _request(self) -> Any:
        wait_s = self._settings.longest_gap_s
        try:
            return self._camera.capture_request(wait=wait_s)
        except TimeoutError as error:
            self._stalled = True
            raise CameraError(f"picamera2: no picture for {wait_s:g} s (camera cable?)") from error
        except RuntimeError as error:
            raise CameraError(f"picamera2: {error}") from error

    def _sensor_ns(self, metadata: Mapping[str, Any]) -> int | None:
        """When the sensor read the first row; ``None`` for a cancelled request, and for a picture from before we asked."""
        stamp_ns = int(metadata.get("SensorTimestamp", 0))
        return stamp_ns if stamp_ns > self._last_ns else None

    def _copy(self, request: Any) -> Image:
        """The picture in memory of ours, without the padding of its rows."""
        width, height = self._main["size"]
        stride = self._main["stride"]
        image = self._pool.take(height, width)
        with self._mapped_array(request, "main", reshape=False, write=False) as mapped:
            flat: NDArray[np.uint8] = mapped.array.reshape(-1)[: height * stride]
            rows = flat.reshape(height, stride)[:, : width * 3]
            np.copyto(image.reshape(height, width * 3), rows)
        if self._main["format"] == BGR_IN_MEMORY:
            image[...] = image[..., ::-1].copy()
        return image

    def _describe(self, number: int) -> str:
        width, height = self._main["size"]
        model = self._camera.camera_properties.get("Model", "camera")
        return f"picamera2:{number} ({model}) {width}x{height} {self._settings.fps:g} fps {self._main['format']}"


def _picamera2() -> ModuleType:
    try:
        import picamera2  # noqa: PLC0415 - from apt, on a Raspberry Pi only
    except ModuleNotFoundError as error:
        raise SourceUnusableError(
            f"picamera2: not installed here ({error.name} is missing): apt install python3-picamera2, and an environment "
            "made with --system-site-packages"
        ) from error
    except (ImportError, ValueError) as error:
        raise SourceUnusableError(
            f"picamera2: cannot be loaded ({error}); on bookworm install this package with -c config/constraints-bookworm.txt"
        ) from error
    return picamera2  # type: ignore[no-any-return] # without type information, where it is there at all


def _acquire(module: ModuleType, number: int) -> Any:
    try:
        return module.Picamera2(number)
    except IndexError as error:
        known = ", ".join(str(n) for n in camera_numbers()) or "none; check the cable and rpicam-hello --list-cameras"
        raise CameraError(f"picamera2: there is no camera {number} (connected: {known})") from error
    except RuntimeError as error:
        raise CameraError(f"picamera2: camera {number} cannot be opened ({error}); another program may be using it") from error


def _widest_mode(modes: list[dict[str, Any]], fps: float) -> dict[str, Any] | None:
    """The sensor mode that sees most, is fast enough, and has fewest pixels. Left alone, libcamera takes the mode that is
    nearest in size, and on several sensors a small one sees only the middle of the scene.
    """
    fast = [mode for mode in modes if mode.get("fps", 0) >= fps * 0.99] or modes
    if not fast:
        return None
    widest = min(fast, key=lambda mode: (-_area(mode["crop_limits"][2:]), _area(mode["size"])))
    return {"output_size": widest["size"], "bit_depth": widest["bit_depth"]}


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]
