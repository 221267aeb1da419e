"""Stand-in for the module ``picamera2`` (interface: The Picamera2 Library, chapters 4 to 6 and appendix C).

A test sets ``board`` to say what the camera does. Pictures are a ramp whose red, green and blue differ, so that a mix-up shows; or, where
PICAMERA2_STANDIN_CLIP names a clip, its first pictures to and fro, made beforehand as the board's own processor would make them.
"""

import itertools
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

FORMATS = {"BGR888": (0, 1, 2), "RGB888": (2, 1, 0)}  # order of R, G, B in memory
CLIP = os.environ.get("PICAMERA2_STANDIN_CLIP")
CLIP_PICTURES = 24


@dataclass
class Board:
    """What is plugged in, and what goes wrong."""

    cameras: int = 1
    gives_format: str | None = None  # the format it gives whatever it is asked
    row_padding: int = 32
    stall_after: int | None = None  # frames of each start, then none
    stop_hangs: bool = False
    cancelled: tuple[int, ...] = ()  # numbers of requests that come back without metadata
    stale_first: bool = False  # the first frame is older than the start
    refuses_size: bool = False
    opened: int = 0
    outstanding: int = 0  # requests not given back
    flushed: int = 0
    configurations: list = field(default_factory=list)


board = Board()


class CompletedRequest:
    def __init__(self, camera, metadata, buffer):
        self._camera, self._metadata, self.buffer = camera, metadata, buffer
        self.config = camera.configuration
        board.outstanding += 1

    def get_metadata(self):
        return dict(self._metadata)

    def release(self):
        board.outstanding -= 1
        if not CLIP:
            self.buffer[:] = 0xAA  # the memory is the camera's again


class MappedArray:
    def __init__(self, request, stream, reshape=True, write=True):
        assert stream == "main"
        self._request, self._reshape, self._write = request, reshape, write

    def __enter__(self):
        self.array = self._request.buffer.view()
        self.array.flags.writeable = self._write
        if self._reshape:
            main = self._request.config["main"]
            width, height = main["size"]
            self.array = self.array[: height * main["stride"]].reshape(height, main["stride"])[:, : width * 3].reshape(height, width, 3)
        return self

    def __exit__(self, *_):
        del self.array


class Picamera2:
    @staticmethod
    def global_camera_info():
        own = [{"Num": n, "Model": "imx708", "Id": f"/base/soc/i2c0mux/i2c@{n}/imx708@1a"} for n in range(board.cameras)]
        return [*own, {"Num": board.cameras, "Model": "HD Webcam", "Id": "/base/scb/pcie@7d500000/usb@0,0-1.2:1.0-046d:0825"}]

    def __init__(self, camera_num=0):
        if camera_num >= board.cameras:
            raise IndexError("list index out of range")
        if board.opened:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        board.opened += 1
        self.camera_properties = {"Model": f"stand-in playing {Path(CLIP).name}" if CLIP else "imx708"}
        self.sensor_modes = [
            {"size": (640, 480), "fps": 120.0, "bit_depth": 10, "crop_limits": (1000, 752, 1280, 960)},
            {"size": (1640, 1232), "fps": 41.8, "bit_depth": 10, "crop_limits": (0, 0, 3280, 2464)},
            {"size": (3280, 2464), "fps": 21.2, "bit_depth": 10, "crop_limits": (0, 0, 3280, 2464)},
        ]
        self._stopped = threading.Event()
        self._taken = 0

    def create_video_configuration(self, *, main, sensor, buffer_count, queue, controls, transform):
        asked = {"sensor": sensor, "buffer_count": buffer_count, "queue": queue, "controls": controls, "transform": transform}
        return {"main": dict(main), **asked}

    def configure(self, configuration):
        if board.refuses_size:
            raise RuntimeError("Camera configuration failed")
        main = configuration["main"]
        main["format"] = board.gives_format or main["format"]
        main["stride"] = main["size"][0] * 3 + board.row_padding
        main["framesize"] = main["stride"] * main["size"][1]
        self.configuration = configuration
        board.configurations.append(configuration)
        self._clip = itertools.cycle(self._clip_buffers()) if CLIP else None

    def camera_configuration(self):
        return self.configuration

    def start(self):
        self._taken = 0
        self._started_ns = self._due_ns = time.monotonic_ns()

    def capture_request(self, wait=None):
        if board.stall_after is not None and self._taken >= board.stall_after:
            time.sleep(wait)
            raise TimeoutError
        now_ns = time.monotonic_ns()
        due_ns = max(self._due_ns + self.configuration["controls"]["FrameDurationLimits"][0] * 1000, now_ns)
        if wait is not None and due_ns - now_ns > wait * 1e9:
            time.sleep(wait)
            raise TimeoutError
        self._due_ns = due_ns
        time.sleep((due_ns - now_ns) / 1e9)
        number, self._taken = self._taken, self._taken + 1
        if number in board.cancelled:
            return CompletedRequest(self, {}, self._buffer(number))
        if self._clip:
            return CompletedRequest(self, {"SensorTimestamp": time.monotonic_ns()}, next(self._clip))
        stamp_ns = time.monotonic_ns() - 8_000_000
        if number == 0 and board.stale_first:
            stamp_ns = self._started_ns - 40_000_000
        return CompletedRequest(self, {"SensorTimestamp": stamp_ns, "ExposureTime": 8000}, self._buffer(number))

    def cancel_all_and_flush(self):
        board.flushed += 1

    def stop(self):
        if board.stop_hangs:
            self._stopped.wait()

    def close(self):
        board.opened -= 1

    def _clip_buffers(self):
        clip = cv2.VideoCapture(CLIP)
        size = self.configuration["main"]["size"]
        pictures = [cv2.resize(clip.read()[1], size, interpolation=cv2.INTER_AREA)[..., ::-1] for _ in range(CLIP_PICTURES)]
        clip.release()
        buffers = [self._in_memory(picture) for picture in pictures]
        return buffers + buffers[-2:0:-1]

    def _buffer(self, number):
        width, height = self.configuration["main"]["size"]
        rgb = np.empty((height, width, 3), np.uint8)
        rgb[..., 0], rgb[..., 1], rgb[..., 2] = np.arange(width) % 256, np.arange(height)[:, None] % 256, number % 256
        return self._in_memory(rgb)

    def _in_memory(self, rgb):
        """Memory as the camera fills it: padded rows, a tail to a whole page."""
        main = self.configuration["main"]
        width, height = main["size"]
        rows = np.full((height, main["stride"]), 0xEE, np.uint8)
        rows[:, : width * 3] = rgb[..., FORMATS[main["format"]]].reshape(height, width * 3)
        return np.concatenate([rows.ravel(), np.full(-rows.size % 4096, 0xDD, np.uint8)])
