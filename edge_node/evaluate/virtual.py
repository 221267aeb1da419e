"""A virtual camera over annotated pictures: it pans, zooms, shakes and cuts, and the truth of every frame is exact.

A view of the picture is a rectangle that moves; the annotation goes through the same affine transform as the pixels. What
moves is the camera, so a person's joints move together; each person's own motion is the business of ``crowd``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge_node.data import Box, Image
from edge_node.evaluate.coco import Annotation, AnnotationError, Picture
from edge_node.evaluate.truth import TrueFrame, TruePerson
from edge_node.evaluate.warp import Affine, moved, noisy, similarity, warped

FRAME_SIZE_PX = (640, 480)
FPS = 30.0
CUT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """What the camera shows: ``width_px`` of the picture around a centre, turned by ``roll`` radians."""

    x_px: float
    y_px: float
    width_px: float
    roll: float = 0.0

    def affine(self) -> Affine:
        """From picture to frame, both with (0, 0) at the outer corner of the first pixel."""
        middle = (FRAME_SIZE_PX[0] / 2, FRAME_SIZE_PX[1] / 2)
        return similarity(FRAME_SIZE_PX[0] / self.width_px, self.roll, (self.x_px, self.y_px), middle)


def pan(rest: View, t_s: float) -> View:
    """To and fro, 0.15 of the view each way, in 2 s."""
    return replace(rest, x_px=rest.x_px + 0.15 * rest.width_px * math.sin(math.pi * t_s))


def zoom(rest: View, t_s: float) -> View:
    """In by a third and out again, in 2 s."""
    return replace(rest, width_px=rest.width_px * (1 - 0.17 * (1 - math.cos(math.pi * t_s))))


def shake(rest: View, t_s: float) -> View:
    """As a hand holds it: the sum of a few slow and quick tremors, and a little roll."""
    x, y, roll = (
        sum(a * math.sin(2 * math.pi * hz * t_s + 1.7 * p + hz) for a, hz in ((1.0, 0.7), (0.5, 2.3), (0.2, 6.1))) for p in range(3)
    )
    return replace(rest, x_px=rest.x_px + 0.012 * x * rest.width_px, y_px=rest.y_px + 0.012 * y * rest.width_px, roll=0.02 * roll)


def everything(rest: View, t_s: float) -> View:
    """Pan, zoom and shake at once."""
    return shake(zoom(pan(rest, t_s), 0.7 * t_s), t_s)


MOTIONS: dict[str, Callable[[View, float], View]] = {"pan": pan, "zoom": zoom, "shake": shake, "cuts": everything}


class VirtualCamera:
    """A sequence over one picture, or with motion ``cuts`` over several, one second each."""

    def __init__(self, pictures: Sequence[Picture], motion: str, frames: int) -> None:
        self._pictures = pictures
        self._motion = MOTIONS[motion]
        self._cut_frames = round(CUT_EVERY_S * FPS) if motion == "cuts" else frames
        self._frames = frames
        self.name = f"{motion} {pictures[0].path.stem}" if motion != "cuts" else f"cuts over {len(pictures)} pictures"

    @property
    def fps(self) -> float:
        return FPS

    def frames(self) -> Iterator[TrueFrame]:
        """Raises ``AnnotationError`` when a picture cannot be read."""
        image: Image | None = None
        rest = View(0, 0, 1)
        for index in range(self._frames):
            shot, within = divmod(index, self._cut_frames)
            picture = self._pictures[shot % len(self._pictures)]
            if image is None or within == 0:
                image = picture.read()
                rest = _resting_view(picture, image)
            matrix = self._motion(rest, within / FPS).affine()
            people, ignored = _seen(picture.people, matrix, first_id=1 + 1000 * shot)
            yield TrueFrame(
                noisy(warped(image, matrix, FRAME_SIZE_PX, cv2.BORDER_REPLICATE), index), people, cut=within == 0, ignore_px=ignored
            )


def virtual_cameras(pictures: Sequence[Picture], motions: Sequence[str], frames: int, alone: bool) -> list[VirtualCamera]:
    """One sequence for each picture and motion that moves; one over all for ``cuts``. ``alone``: pictures of one person only.

    Raises ``AnnotationError`` when no picture shows anybody whose joints are annotated.
    """
    fitting = [p for p in pictures if any(a.measurable for a in p.people) and (len(p.people) == 1 or not alone)]
    if not fitting:
        raise AnnotationError(f"no picture shows {'exactly one person' if alone else 'anybody'} with 3 or more labelled keypoints")
    moving = [VirtualCamera([picture], motion, frames) for motion in motions if motion != "cuts" for picture in fitting]
    shots = len(fitting) * round(CUT_EVERY_S * FPS)
    return moving + ([VirtualCamera(fitting, "cuts", shots)] if "cuts" in motions else [])


def _resting_view(picture: Picture, image: Image) -> View:
    """Around everyone measurable, with room for motion."""
    boxes = np.array([a.box_px for a in picture.people if a.measurable])
    (x0, y0), (x1, y1) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    aspect = FRAME_SIZE_PX[0] / FRAME_SIZE_PX[1]
    height, width = image.shape[:2]
    wanted = max(1.5 * (x1 - x0), 1.3 * (y1 - y0) * aspect, 0.5 * width)
    return View((x0 + x1) / 2, (y0 + y1) / 2, min(wanted, 1.1 * max(width, height * aspect)))


def _seen(people: Sequence[Annotation], matrix: Affine, first_id: int) -> tuple[tuple[TruePerson, ...], tuple[Box, ...]]:
    true, ignored = [], []
    for id_, person in enumerate(people, start=first_id):
        now = moved(person, matrix, id_, FRAME_SIZE_PX)
        true.append(now)
        if not now.demanded:
            x0, y0, x1, y1 = person.box_px
            corners = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) @ matrix[:, :2].T + matrix[:, 2]
            ignored.append((*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()))
    return tuple(true), tuple(ignored)
