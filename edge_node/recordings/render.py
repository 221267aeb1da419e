"""Moving or still pictures of poses: a video, or a sheet of evenly spaced frames."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_node.data import Image
from edge_node.errors import SinkError, UsageError
from edge_node.filesystem import is_folder

CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG", ".webm": "VP90"}
"""Suffix of a video to the codec that OpenCV's own FFmpeg can write into it everywhere."""
SHEETS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
SLOWEST_FPS = 0.1
"""No codec takes a picture an hour."""
TILE_WIDTH_PX = 320
COLUMNS = 4


class Output(Protocol):
    """Takes pictures one after the other, all RGB of one size."""

    def add(self, image: Image) -> None:
        """The next picture."""

    def close(self) -> None:
        """Complete the file. Raises ``SinkError`` when it cannot be written."""


def open_output(path: Path, fps: float, codec: str | None, tiles: int) -> Output:
    """What ``path`` asks for by its suffix. Raises ``UsageError`` for one that is neither video nor picture."""
    suffix = path.suffix.lower()
    if not is_folder(path.parent, SinkError):
        raise SinkError(f"{path}: cannot be written: there is no folder {path.parent}")
    if suffix in SHEETS:
        return Sheet(path, tiles)
    if suffix in CODECS:
        return Video(path, fps, codec or CODECS[suffix])
    raise UsageError(f"{path}: unknown kind of output; a video ({' '.join(CODECS)}) or a sheet of pictures ({' '.join(sorted(SHEETS))})")


class Video:
    """A video file; it is begun with the first picture, whose size it takes."""

    def __init__(self, path: Path, fps: float, codec: str) -> None:
        if len(codec) != 4 or not codec.isascii():
            raise UsageError(f"--codec {codec}: a codec has four letters, such as {', '.join(sorted(set(CODECS.values())))}")
        self._path, self._fps, self._codec = path, max(SLOWEST_FPS, fps), codec
        self._writer: cv2.VideoWriter | None = None

    def add(self, image: Image) -> None:
        if self._writer is None:
            self._writer = self._begin(image)
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def _begin(self, image: Image) -> cv2.VideoWriter:
        _refuse_unwritable(self._path)
        size = (image.shape[1], image.shape[0])
        writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*self._codec), self._fps, size)
        if not writer.isOpened():
            self._path.unlink(missing_ok=True)
            known = CODECS[self._path.suffix.lower()]
            raise SinkError(f"{self._path}: the codec {self._codec} is unknown here or does not fit {self._path.suffix}; {known} does")
        return writer


class Sheet:
    """One picture with ``tiles`` evenly spaced frames, whatever number comes."""

    def __init__(self, path: Path, tiles: int) -> None:
        self._path, self._tiles = path, tiles
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
        if not self._kept:
            return
        _refuse_unwritable(self._path)
        chosen = np.linspace(0, len(self._kept) - 1, min(self._tiles, len(self._kept))).round().astype(int)
        if not cv2.imwrite(str(self._path), cv2.cvtColor(sheet_of([self._kept[i] for i in chosen]), cv2.COLOR_RGB2BGR)):
            raise SinkError(f"{self._path}: cannot be written")


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


def write_all(images: Iterable[Image], output: Output) -> int:
    """Pass every picture to ``output`` and complete it; returns how many there were."""
    count = 0
    try:
        for image in _of_one_size(images):
            output.add(image)
            count += 1
    finally:
        output.close()
    return count


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


def _refuse_unwritable(path: Path) -> None:
    try:
        with path.open("ab"):
            pass
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror}") from error
