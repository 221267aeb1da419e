"""Clips with truth in a simple JSON form, documented in docs/evaluate.md."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_node.camera.files import pictures_in
from edge_node.camera.opencv import name_of_video
from edge_node.data import Image
from edge_node.evaluate.coco import KEYPOINTS, AnnotationError, read_image, read_json
from edge_node.evaluate.truth import TrueFrame, TruePerson, default_area_px
from edge_node.filesystem import is_file, is_folder

Pixels = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
"""A place in the frame, or well out of it."""
FPS = 30.0
"""Of pictures, and of a video that does not tell, where the file does not say."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ClipPerson(_Part):
    """One person of one frame. ``keypoints``: 17 times x, y in pixels and visibility (0 not known, 1 hidden, 2 visible)."""

    id: int
    keypoints: list[Pixels] = Field(min_length=3 * KEYPOINTS, max_length=3 * KEYPOINTS)
    area: float | None = Field(None, gt=0, allow_inf_nan=False)


class ClipFrame(_Part):
    """One frame. ``ignore``: boxes x0, y0, x1, y1 where people are that nobody annotated."""

    people: list[ClipPerson] = []
    ignore: list[tuple[Pixels, Pixels, Pixels, Pixels]] = []
    cut: bool = False
    file: str | None = None


class ClipFile(_Part):
    """A clip: a video, or a folder of pictures (in natural order of their names, or as each frame's ``file`` says)."""

    v: Literal[1] = 1
    name: str | None = None
    fps: float | None = Field(None, ge=0.001, le=1000)
    video: str | None = None
    images: str | None = None
    frames: list[ClipFrame] = Field(min_length=1)


class Clip:
    """A clip with truth. Paths in the file are relative to it."""

    def __init__(self, file: Path) -> None:
        """Raises ``AnnotationError`` with one line when the file is not in the form."""
        self._file = file
        self._clip = _read(file)
        self.name = self._clip.name or file.stem

    @property
    def fps(self) -> float:
        """Where the file does not say, that of the video. Raises ``AnnotationError`` when it cannot be read."""
        if self._clip.fps is not None or self._clip.video is None:
            return self._clip.fps or FPS
        capture = _opened(self._file.parent / self._clip.video)
        rate = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        return rate if 0 < rate < 1000 else FPS

    def frames(self) -> Iterator[TrueFrame]:
        """Raises ``AnnotationError`` when the pictures cannot be read or are fewer than the frames annotated, and
        ``SourceUnusableError`` when their folder cannot.
        """
        images = self._images()
        for index, frame in enumerate(self._clip.frames):
            image = next(images, None)
            if image is None:
                raise AnnotationError(f"{self._file}: {len(self._clip.frames)} frames are annotated, but the clip has {index}")
            yield TrueFrame(image, tuple(_person(p) for p in frame.people), frame.cut or index == 0, tuple(frame.ignore))

    def _images(self) -> Iterator[Image]:
        if self._clip.video is not None:
            return _video_images(self._file.parent / self._clip.video)
        folder = self._file.parent / (self._clip.images or ".")
        files = [folder / frame.file for frame in self._clip.frames if frame.file is not None]
        if not files and not is_folder(folder, AnnotationError):
            raise AnnotationError(f"{folder}: no such folder of pictures")
        return map(read_image, files or pictures_in(folder))


def find_clips(path: Path) -> list[Clip]:
    """The clip of a file, or those of a folder's ``*.json``. Raises ``AnnotationError`` when there is none."""
    if is_folder(path, AnnotationError):
        if not os.access(path, os.R_OK | os.X_OK):  # glob would find nothing
            raise AnnotationError(f"{path}: cannot be read: Permission denied")
        clips = [Clip(file) for file in sorted(path.glob("*.json"))]
        if not clips:
            raise AnnotationError(f"{path}: no clip in it; expected one or more .json files as docs/evaluate.md describes")
        return clips
    return [Clip(path)]


def _read(file: Path) -> ClipFile:
    document = read_json(file, otherwise=" or folder; or one of: virtual, crowd, synthetic")
    try:
        clip = ClipFile.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise AnnotationError(f"{file}: {where}: {first['msg']}") from None
    unnamed = [index for index, frame in enumerate(clip.frames) if frame.file is None]
    if 0 < len(unnamed) < len(clip.frames):
        raise AnnotationError(f"{file}: frames.{unnamed[0]}.file: is missing; either each frame names its picture or none does")
    if (clip.video is None) == (clip.images is None and bool(unnamed)):
        raise AnnotationError(f"{file}: needs either video (a file) or images (a folder)")
    for index, frame in enumerate(clip.frames):
        ids = [person.id for person in frame.people]
        twice = next((id_ for id_ in ids if ids.count(id_) > 1), None)
        if twice is not None:
            raise AnnotationError(f"{file}: frames.{index}.people: id {twice} is given to more than one person")
    return clip


def _person(person: ClipPerson) -> TruePerson:
    keypoints = np.asarray(person.keypoints, dtype=np.float32).reshape(KEYPOINTS, 3)
    return TruePerson(person.id, keypoints, person.area or default_area_px(keypoints))


def _video_images(path: Path) -> Iterator[Image]:
    capture = _opened(path)
    try:
        while True:
            ok, image = capture.read()
            if not ok:
                return
            yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    finally:
        capture.release()


def _opened(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(name_of_video(path, AnnotationError)) if is_file(path, AnnotationError) else None
    if capture is None or not capture.isOpened():
        raise AnnotationError(f"{path}: not a readable video")
    return capture
