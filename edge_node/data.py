"""What crosses threads: frozen values with named fields.

Images are RGB uint8 [H, W, 3]. A name that ends in ``_px`` is in frame pixels, where (0, 0) is the outer corner of the
top-left pixel; coordinates without a suffix are normalised, 0..1 of the frame.

Three times travel with a frame. ``captured_ns``, of the monotonic clock, is when its pixels existed on this machine: latency and
age are measured from it. ``media_ns`` is the frame's place on its source's own time line: motion (smoothing, tracking, presence, falls)
is measured by it. Of a live camera both are the same; a file's frames are apart by their media time in ``media_ns`` however
fast the file is processed. ``ts`` is wall time, for publishing only, and follows ``media_ns``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""RGB uint8 [H, W, 3]."""

KeypointArray = NDArray[np.float32]
"""float32 [17, 3]: x, y, score (0..1) of each COCO keypoint."""

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1, in pixels or normalised as the name says."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a camera.

    ``seq`` counts frames of this run from 0, without gaps at the source. ``captured_ns``: monotonic clock when the picture was
    captured. ``media_ns``: its time on the source's time line, never going back. ``ts``: wall clock, seconds since 1970, of
    ``media_ns``. ``still``: a picture of its own, with nothing before or after it. The image belongs to whoever holds the frame; a
    camera never writes into it again.
    """

    image: Image
    seq: int
    captured_ns: int
    media_ns: int
    ts: float
    still: bool = False

    @property
    def width_px(self) -> int:
        return int(self.image.shape[1])

    @property
    def height_px(self) -> int:
        return int(self.image.shape[0])


@dataclass(frozen=True, slots=True)
class Region:
    """A square of the frame that a model looks at, in frame pixels; it may overhang the frame.

    The point (u, v), 0..1 of the square, lies at (``left_px`` + u ``side_px``, ``top_px`` + v ``side_px``) of the frame.
    """

    left_px: float
    top_px: float
    side_px: float


@dataclass(frozen=True, slots=True)
class Pose:
    """One body as the model saw it in one frame, before anybody said whose it is.

    ``keypoints_px``: float32 [17, 3], x and y in frame pixels, score 0..1. ``score`` orders poses by how likely they are a
    person whose joints are right, 0..1. ``extent_px``: around the joints whose score counts.
    """

    keypoints_px: KeypointArray
    score: float
    extent_px: Box


@dataclass(frozen=True, slots=True)
class Person:
    """One tracked body of one frame.

    ``id`` is the identity within this run, from 1. ``keypoints``: float32 [17, 3], smoothed, x and y normalised to the
    frame. ``box``: x0, y0, x1, y1, normalised. ``predicted``: not found in this frame, because nobody looked or a
    blink of the model missed them; the position is carried on from their motion.
    """

    id: int
    score: float
    box: Box
    keypoints: KeypointArray
    predicted: bool = False


@dataclass(frozen=True, slots=True)
class People:
    """What the node says about one frame.

    ``accelerator`` is ``"cpu"`` or ``"edgetpu"``: what ran the model for this frame. ``regions`` are the squares looked at.
    ``seq``, ``captured_ns``, ``media_ns`` and ``ts`` are the frame's. ``stage_ms``: milliseconds spent in each stage of the estimator
    (``sample invoke decode``, summed over all squares; ``track smooth``, which stills do not have). ``image`` is the frame's, RGB uint8
    [H, W, 3], and only there when the user asked for pictures on the live page. ``recorded_age_ms`` is what a replayed message
    said of its age; ``None`` of a frame that was just captured.
    """

    seq: int
    captured_ns: int
    media_ns: int
    ts: float
    width_px: int
    height_px: int
    accelerator: str
    people: tuple[Person, ...]
    regions: tuple[Region, ...] = ()
    stage_ms: Mapping[str, float] = field(default_factory=dict)
    image: Image | None = None
    recorded_age_ms: float | None = None
