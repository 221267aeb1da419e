"""Moving or still pictures of poses: a video, or a sheet of evenly spaced frames."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_node.camera.opencv import name_of_video
from edge_node.data import Image
from edge_node.errors import SinkError, UsageError
from edge_node.filesystem import is_folder
from edge_node.recordings.output import whole_file

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP90"}
"""Suffix of a video to the codec that OpenCV's own FFmpeg can write into it everywhere."""
SHEETS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
SLOWEST_FPS = 0.1
"""No codec takes a picture an hour."""
TILE_WIDTH_PX = 320
COLUMNS = 4
MORE_BYTES = 64 * 1024
"""More than a disk that is full has left in the last block of a file."""


class Output(Protocol):
    """Takes pictures one after the other, all RGB of one size."""

    def add(self, image: Image) -> None:
        """The next picture."""

    def close(self) -> None:
        """Complete the file. Raises ``SinkError`` or ``OSError`` when it cannot be written."""


def write_all(images: Iterable[Image], path: Path, fps: float, codec: str | None, tiles: int) -> int:
    """Make ``path`` out of pictures, all RGB; returns how many there were.

    The file is there when it is whole: one from before stays as it was when anything goes wrong. Raises ``UsageError`` for what is
    neither video nor picture, ``SinkError`` when it cannot be written or there are no pictures.
    """
    if not is_folder(path.parent, SinkError):
        raise SinkError(f"{path}: cannot be written: there is no folder {path.parent}")
    count = 0
    with whole_file(path) as scratch:
        output = _output(path, scratch, fps, codec, tiles)
        with scratch.open("wb"):
            pass  # what cannot be written is told before the first picture is made
        for image in _of_one_size(images):
            output.add(image)
            count += 1
        if not count:
            raise SinkError(f"{path}: not written: there are no pictures for it")
        output.close()
    return count


def _output(path: Path, scratch: Path, fps: float, codec: str | None, tiles: int) -> Output:
    """What ``path`` asks for by its suffix, to be written into ``scratch``."""
    suffix = path.suffix.lower()
    if suffix in SHEETS:
        return Sheet(path, scratch, tiles)
    if suffix in CODECS:
        return Video(path, scratch, fps, codec or CODECS[suffix])
    raise UsageError(f"{path}: unknown kind of output; a video ({' '.join(CODECS)}) or a sheet of pictures ({' '.join(sorted(SHEETS))})")


class Video:
    """A video file ``scratch``, told of as ``path``; it is begun with the first picture, whose size it takes."""

    def __init__(self, path: Path, scratch: Path, fps: float, codec: str) -> None:
        if len(codec) != 4 or not codec.isascii():
            raise UsageError(f"--codec {codec}: a codec has four letters, such as {', '.join(sorted(set(CODECS.values())))}")
        self._path, self._scratch, self._fps, self._codec = path, scratch, max(SLOWEST_FPS, fps), codec
        self._location = name_of_video(scratch, lambda _: SinkError(f"{path}: cannot be written: the name of a video must be UTF-8"))
        self._writer: cv2.VideoWriter | None = None
        self._frames = 0

    def add(self, image: Image) -> None:
        if self._writer is None:
            self._writer = self._begin(image)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self._frames += 1

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
        self._refuse_cut_off()

    def _refuse_cut_off(self) -> None:
        """OpenCV tells nobody that it could not write.

        After a write that failed FFmpeg writes nothing more, so the file never gets its number of frames. Only where that was the
        last write it may have got it; then there is no room for anything behind it either.
        """
        with self._scratch.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.write(bytes(MORE_BYTES))
            file.flush()
            os.fsync(file.fileno())
            file.truncate(end)
        capture = cv2.VideoCapture(self._location, cv2.CAP_FFMPEG)
        there = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
        if there < self._frames:  # with some codecs that number is not known
            there = sum(1 for _ in iter(capture.grab, False))
        capture.release()
        if there < self._frames:
            raise SinkError(f"{self._path}: cannot be written: only a part of its {self._frames} frames is there; was the disk full?")

    def _begin(self, image: Image) -> cv2.VideoWriter:
        size = (image.shape[1], image.shape[0])
        writer = cv2.VideoWriter(self._location, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*self._codec), self._fps, size)
        if not writer.isOpened():
            known = CODECS[self._path.suffix.lower()]
            if self._codec == known:
                raise SinkError(f"{self._path}: cannot be written: pictures of {size[0]} x {size[1]} pixels do not fit {known}")
            raise SinkError(f"{self._path}: the codec {self._codec} is unknown here or does not fit {self._path.suffix}; {known} does")
        return writer


class Sheet:
    """One picture ``scratch``, told of as ``path``, with ``tiles`` evenly spaced frames, whatever number comes."""

    def __init__(self, path: Path, scratch: Path, tiles: int) -> None:
        self._path, self._scratch, self._tiles = path, scratch, tiles
        self._kept: list[Image] = []
        self._every = 1
        self._count = 0

    def add(self, image: Image) -> None:
        """Keep every frame, then every second, every fourth …: never more than twice what is needed."""
        if self._count % self._every == 0:
            self._kept.append(_tile(image))
            if len(self._kept) > 2 * self._tiles:
                self._kept = self._kept[::2]
                self._every *= 2
        self._count += 1

    def close(self) -> None:
        chosen = np.linspace(0, len(self._kept) - 1, min(self._tiles, len(self._kept))).round().astype(int)
        sheet = cv2.cvtColor(sheet_of([self._kept[i] for i in chosen]), cv2.COLOR_RGB2BGR)
        try:
            made, encoded = cv2.imencode(self._path.suffix.lower(), sheet)
        except cv2.error:
            made = False
        if not made:
            raise SinkError(f"{self._path}: cannot be written: too large for {self._path.suffix}; ask for fewer --tiles")
        self._scratch.write_bytes(encoded.tobytes())


def sheet_of(tiles: list[Image], columns: int = COLUMNS) -> Image:
    """Pictures of one size beside and under each other."""
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return sheet


def _of_one_size(images: Iterable[Image]) -> Iterator[Image]:
    """Pictures as they are, those of another size than the first fitted to it."""
    size: tuple[int, int] | None = None
    for image in images:
        size = size or (image.shape[1], image.shape[0])
        yield image if (image.shape[1], image.shape[0]) == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _tile(image: Image) -> Image:
    height = max(1, round(image.shape[0] * TILE_WIDTH_PX / image.shape[1]))
    tile: Image = cv2.resize(image, (TILE_WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    return tile
