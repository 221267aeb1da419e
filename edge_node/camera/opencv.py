"""What every source behind OpenCV shares: a quiet library, and pictures turned from its BGR into our RGB.

Importing this module imports OpenCV (some 0.1 s), so it is only imported when such a source is opened.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.camera.pool import ImagePool
from edge_node.camera.stamps import LiveStamper
from edge_node.data import Frame, Image
from edge_node.errors import CameraError
from edge_node.filesystem import Refusal
from edge_node.health import Health

log = logging.getLogger(__name__)

# What OpenCV and FFmpeg would say of a broken stream several times a second, we say once.
if hasattr(cv2.utils, "logging"):  # OpenCV 5
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
else:
    cv2.setLogLevel(0)  # type: ignore[attr-defined] # OpenCV 4, whose type information is not the one installed for checking
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read when the first video is opened

Capture = Any
"""cv2.VideoCapture: OpenCV carries no type information for it that holds over its versions."""

SKIPPED = "camera_skipped"
"""Counts pictures that cannot be decoded."""

BAD_IN_A_ROW = 25
"""After so many pictures that cannot be decoded, one after the other, nothing good is expected any more."""

FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}


def read_picture(path: Path, flags: int) -> NDArray[np.uint8] | None:
    """The picture in a file, BGR, read as ``flags`` (``cv2.IMREAD_…``) say; ``None`` when there is none that can be decoded.

    The bytes are read here: OpenCV ends the process over a name that is not UTF-8.
    """
    try:
        content = np.frombuffer(path.read_bytes(), np.uint8)
        picture: NDArray[np.uint8] | None = cv2.imdecode(content, flags) if content.size else None
    except (OSError, cv2.error):  # not ours to read or gone; or larger than OpenCV takes
        return None
    return picture


def name_of_video(path: Path, refusal: Refusal) -> str:
    """``path`` as OpenCV and FFmpeg take it: absolute, as ``a:b.mp4`` would be a protocol. Raises ``refusal`` for a name that is not UTF-8,
    over which OpenCV ends the process.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise refusal(f"{path}: the name of a video must be UTF-8; rename it") from error
    return str(path.absolute())


def grab(capture: Capture, patience_s: float) -> int | None:
    """Go on to the next picture that can be decoded; how many that cannot were passed over, or ``None`` at the end.

    OpenCV says the same of a damaged picture as of the end; only beyond a picture more may come. Once ``patience_s`` are over it was no
    picture that failed but the wait for one.
    """
    began_s = time.monotonic()
    for bad in range(BAD_IN_A_ROW):
        if capture.grab():
            return bad
        if time.monotonic() - began_s > patience_s:
            break
    return None


class PassedOver:
    """Pictures of a live source that cannot be decoded: they leave their numbers behind, are counted, and told of once."""

    def __init__(self, shown: str, stamper: LiveStamper, health: Health) -> None:
        self._shown = shown
        self._stamper = stamper
        self._health = health
        self._told = False

    def count(self, pictures: int) -> None:
        """So many were passed over."""
        for _ in range(pictures):
            self._stamper.skip()
            self._health.count(SKIPPED)
        if pictures and not self._told:
            self._told = True
            log.warning("%s: some pictures cannot be decoded; they are skipped", self._shown)

    def first_good(self, next_frame: Callable[[], Frame | None]) -> Frame:
        """The first frame of ``next_frame``, which gives ``None`` for a picture that cannot be decoded.

        Raises ``CameraError`` when too many of those come in a row.
        """
        for _ in range(BAD_IN_A_ROW):
            frame = next_frame()
            if frame is not None:
                return frame
            self.count(1)
        raise CameraError(f"{self._shown}: gives pictures that cannot be decoded")


class RgbConverter:
    """Turns BGR pictures into RGB ones of a pool, mirrored and turned as asked."""

    def __init__(self, hflip: bool, vflip: bool) -> None:
        self._flip = FLIP_CODES.get((hflip, vflip))
        self._pool = ImagePool()
        self._bgr: NDArray[np.uint8] | None = None

    def retrieve(self, capture: Capture) -> Image | None:
        """The picture that ``capture`` grabbed last; ``None`` when it cannot be decoded."""
        try:
            decoded, bgr = capture.retrieve(self._bgr)
        except cv2.error:  # a damaged header that names an impossible size
            return None
        if not decoded or bgr is None or bgr.size == 0:
            return None
        if bgr.ndim != 3:
            bgr = cv2.cvtColor(bgr, cv2.COLOR_GRAY2BGR)
        self._bgr = bgr
        return self.convert(bgr)

    def decode(self, capture: Capture) -> Image | None:
        """The picture, RGB uint8 [H, W, 3], that ``capture`` grabbed last and gives as JPEG; ``None`` when it cannot be decoded.

        Which way up the JPEG claims to be is left alone, as FFmpeg does.
        """
        try:
            got, jpeg = capture.retrieve()
            bgr = cv2.imdecode(jpeg, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if got else None
        except cv2.error:  # an impossible size, or no byte at all
            return None
        return None if bgr is None else self.convert(bgr)

    def convert(self, bgr: NDArray[np.uint8]) -> Image:
        """RGB uint8 [H, W, 3] of a BGR picture of the same size; ``bgr`` may be used as scratch memory."""
        rgb = self._pool.take(bgr.shape[0], bgr.shape[1])
        if self._flip is None:
            cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=rgb)
        else:
            cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)
            cv2.flip(bgr, self._flip, dst=rgb)
        return rgb
