"""The capture thread: keeps a camera open, hands its frames over, and opens it again when it stalls or is lost."""

import logging
import threading
import time
from collections.abc import Callable

from edge_node.camera import Camera
from edge_node.camera import source as sources
from edge_node.camera.factory import open_camera
from edge_node.camera.reader import Reader
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame
from edge_node.errors import CameraError, SourceUnusableError
from edge_node.health import Health
from edge_node.slot import Latest

log = logging.getLogger(__name__)

FIRST_BACK_OFF_S = 0.5
LAST_BACK_OFF_S = 10.0
TICK_S = 0.25
STUCK_READERS = 3
CLOSE_S = 1.0
BRIEF_S = 10.0
BRIEF_TIMES = 3
"""A camera that was lost so often in a row within ``BRIEF_S`` of its opening is back only once it lasts, or the log would fill up."""

Opener = Callable[[CameraSettings, int, Health], Camera]


def has_end(settings: CameraSettings) -> bool:
    """The source is a file or folder."""
    return isinstance(sources.parse_source(settings.source), sources.LocalPath)


def is_lossless(settings: CameraSettings) -> bool:
    """Every frame counts: a file or folder that is not played in real time."""
    return has_end(settings) and not settings.realtime


class Capture:
    """Reads ``settings.source`` into ``slot`` until its end, or until ``stop``.

    It only watches: each opened camera is read by a ``Reader``, and one that gives no sign in time is left behind, whatever it is
    stuck in. ``alive`` is called for each attempt to open a camera that is away, and while a clip and the consumer of the slot both wait
    for the time of its next frame: so much is alive without one.
    """

    def __init__(
        self,
        settings: CameraSettings,
        slot: Latest[Frame],
        health: Health,
        opener: Opener = open_camera,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._slot = slot
        self._health = health
        self._opener = opener
        self._alive = alive
        self._has_end = has_end(settings)
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._next_seq = 0
        self._dropped = 0
        self._lost = False
        self._brief = 0
        self._opened_s = 0.0
        self._said: set[str] = set()
        self._stuck: list[Reader] = []

    @property
    def lossless(self) -> bool:
        """See ``is_lossless``."""
        return is_lossless(self._settings)

    @property
    def silent_at_most_s(self) -> float:
        """So long may pass between two frames, or attempts to open the camera, while nothing is wrong with the node."""
        return max(self._opening_s, self._settings.longest_gap_s)

    def run(self, wanted_from_ns: Callable[[], int] = lambda: 0) -> None:
        """Body of the capture thread. At its end, for whatever reason, the slot is closed.

        ``wanted_from_ns`` tells from when on (monotonic clock) frames of a live source are wanted again.
        Raises ``SourceUnusableError`` for what can never give a frame, ``CameraError`` when camera after camera got stuck.
        """
        back_off_s = FIRST_BACK_OFF_S
        try:
            while not self._stopped.is_set():
                reader = Reader(self._open, self._deliver, self._changed, wanted_from_ns)
                try:
                    problem = self._watch(reader)
                finally:
                    reader.leave(CLOSE_S)
                if problem is None:
                    return
                self._refuse_many_stuck(reader)
                if reader.frames:
                    self._brief = 0 if self._lasts() else self._brief + 1
                back_off_s = FIRST_BACK_OFF_S if reader.frames else min(2 * back_off_s, LAST_BACK_OFF_S)
                self._say_lost(problem)
                self._alive()
                self._stopped.wait(back_off_s)
                self._alive()
        finally:
            self._slot.close()
            self._count_dropped()

    def stop(self) -> None:
        """End ``run`` soon; may be called from any thread."""
        self._stopped.set()
        self._slot.close()
        self._changed.set()

    def _watch(self, reader: Reader) -> str | None:
        """Wait until the reader is done with. Returns what is wrong with the camera, or ``None`` when that is all.

        Raises what waiting cannot mend.
        """
        while not self._stopped.is_set():
            self._changed.wait(TICK_S)
            self._changed.clear()
            self._count_dropped()
            if reader.error is not None:
                return _mendable(reader.error)
            if reader.at_end:
                return None
            if reader.only_waits and self._slot.awaited:
                self._alive()
            if not self._has_end and reader.silent_s > (self._settings.longest_gap_s if reader.is_open else self._opening_s):
                return f"{sources.shown(self._settings.source)}: no picture for {reader.silent_s:.0f} s"
        return None

    @property
    def _opening_s(self) -> float:
        return 10.0 + 2 * self._settings.stall_s  # time for the source's own time limits to come first, with a reason

    def _refuse_many_stuck(self, reader: Reader) -> None:
        self._stuck = [other for other in (*self._stuck, reader) if other.is_alive]
        if len(self._stuck) >= STUCK_READERS:
            raise CameraError(
                f"{sources.shown(self._settings.source)}: {STUCK_READERS} attempts to read it are stuck in its driver; "
                "only a new process can help"
            )

    def _open(self) -> Camera:
        """On a reader's thread: the camera, its frames numbered on from the last one."""
        camera = self._opener(self._settings, self._next_seq, self._health)
        log.log(logging.DEBUG if self._comes_and_goes() else logging.INFO, "camera: %s", camera.description)
        self._health.fact("camera", camera.description)
        self._opened_s = time.monotonic()
        return camera

    def _deliver(self, frame: Frame, live: bool) -> None:
        """On a reader's thread: hand one frame over. A live one replaces what nobody took, a file's waits."""
        self._health.stage("capture", (time.monotonic_ns() - frame.captured_ns) / 1e6)
        self._next_seq = frame.seq + 1
        if self._lost:
            self._lost = False
            self._health.count("camera_reopened")
        if self._said and (self._lasts() or not self._comes_and_goes()):
            self._say_back()
        if live:
            self._slot.put(frame)
        else:
            self._slot.put_wait(frame)

    def _say_lost(self, problem: str) -> None:
        self._lost = True
        if self._comes_and_goes():
            problem += ", again and again"
        self._health.problem("camera", problem)
        if problem not in self._said:
            self._said.add(problem)
            log.warning("camera: %s; trying again until it works", problem)

    def _say_back(self) -> None:
        self._said.clear()
        self._health.problem("camera", None)
        log.info("camera: gives pictures again")

    def _lasts(self) -> bool:
        return time.monotonic() - self._opened_s >= BRIEF_S

    def _comes_and_goes(self) -> bool:
        return self._brief >= BRIEF_TIMES

    def _count_dropped(self) -> None:
        dropped = self._slot.dropped
        if dropped > self._dropped:
            self._health.count("camera_dropped", dropped - self._dropped)
            self._dropped = dropped


def _mendable(error: BaseException) -> str:
    """What to say of an error that time may mend; raises any other."""
    if isinstance(error, CameraError) and not isinstance(error, SourceUnusableError):
        return str(error)
    raise error
