"""One opened camera, read on a daemon thread of its own that can be left behind.

A read of a dead camera may never come back, and nothing can interrupt it: only a thread that nobody waits for can do it.
"""

import threading
import time
from collections.abc import Callable

from edge_node.camera import Camera
from edge_node.data import Frame
from edge_node.errors import CameraError, ClosedError

LONGEST_PAUSE_NS = 1_000_000_000


class Reader:
    """Opens a camera with ``opener`` and passes each frame, and whether it is a live one, to ``deliver``, until either ends it.

    Frames of a live camera that come before ``wanted_from_ns()`` (monotonic clock) pass undecoded, but for one in ``LONGEST_PAUSE_NS``:
    that the loop is alive is known by its frames. ``changed`` is set when it came to its end. Attributes are written by the reader's
    thread only.
    """

    def __init__(
        self,
        opener: Callable[[], Camera],
        deliver: Callable[[Frame, bool], None],
        changed: threading.Event,
        wanted_from_ns: Callable[[], int],
    ) -> None:
        self._opener = opener
        self._deliver = deliver
        self._changed = changed
        self._wanted_from_ns = wanted_from_ns
        self._left = threading.Event()
        self._sign_ns = time.monotonic_ns()
        self._camera: Camera | None = None
        self._delivered_ns = 0
        self.is_open = False
        self.frames = 0
        self.at_end = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="camera-reader", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            self._end(CameraError("the system has no thread left to read the camera"))

    @property
    def is_alive(self) -> bool:
        """Its thread still runs, or is stuck."""
        return self._thread.is_alive()

    @property
    def only_waits(self) -> bool:
        """For the time of a frame, as between the frames of a time-lapse clip."""
        return time.monotonic_ns() < self._due_ns

    @property
    def silent_s(self) -> float:
        """Seconds since it was opened, gave a frame, or only waited."""
        return max(0, time.monotonic_ns() - max(self._sign_ns, self._due_ns)) / 1e9

    @property
    def _due_ns(self) -> int:
        camera = self._camera
        return camera.due_ns if camera else 0

    def leave(self, timeout_s: float) -> None:
        """Tell it to close its camera and end, which happens when its read comes back; wait for that so long at most."""
        self._left.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            camera = self._opener()
            try:
                self._read(camera)
            except BaseException as error:  # noqa: BLE001 - a thread's boundary: the capture thread raises it again
                self._end(error)  # before closing: that may take long, or for ever
            else:
                self._end(None)
            finally:
                self._camera = None
            camera.close()
        except BaseException as error:  # noqa: BLE001 - the same
            self._end(error)

    def _read(self, camera: Camera) -> None:
        self._sign()
        self._camera = camera
        self.is_open = True
        while not self._left.is_set():
            if camera.live and self._may_pass():
                if not camera.skip():
                    return
                self._sign()
                continue
            frame = camera.read()
            if frame is None:
                return
            self._sign()
            if not self._left.is_set():
                self._deliver(frame, camera.live)
                self._delivered_ns = time.monotonic_ns()
                self.frames += 1
                self._sign()

    def _may_pass(self) -> bool:
        return time.monotonic_ns() < min(self._wanted_from_ns(), self._delivered_ns + LONGEST_PAUSE_NS)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, ClosedError) or error is None:
            self.at_end = True
        elif self.error is None:
            self.error = _without_frames(error) if isinstance(error, CameraError) else error
        self._changed.set()

    def _sign(self) -> None:
        self._sign_ns = time.monotonic_ns()


def _without_frames(error: CameraError) -> CameraError:
    """The same, referring to no frame of the stack any more: those hold the camera and its pictures until cycles are collected."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
