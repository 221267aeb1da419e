"""``edge-node render``: skeletons over a clip or on black, as a video or a sheet of pictures."""

import argparse
from collections.abc import Iterator
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path

from edge_node.camera.files import PictureFolder, VideoFile, open_path, pictures_in
from edge_node.commands.argument_types import positive
from edge_node.commands.progress import progress
from edge_node.commands.settings_arguments import add_settings_arguments, loader
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import Frame, Image, People
from edge_node.errors import EXIT_OK, RecordingError, SinkError, SourceUnusableError, UsageError
from edge_node.filesystem import are_same, is_folder
from edge_node.health import Health
from edge_node.recordings.draw import black, draw_people
from edge_node.recordings.read import can_be_read_again, looks_like_recording, people_of, read_recording
from edge_node.recordings.render import write_all
from edge_node.sink.messages import Pose

DEFAULT_FPS = 30.0
LARGEST_BLACK_PX = 7680
"""Longer side of a black picture, whatever size a damaged message says."""
MOST_TILES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("input", type=Path, metavar="CLIP|RECORDING", help="a clip or folder (the model runs on it), or a recording")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="out.mp4 .avi .webm .mkv, or a sheet: out.png")
    parser.add_argument("--black", action="store_true", help="skeletons on black instead of over the clip")
    parser.add_argument("--over", type=Path, metavar="CLIP", help="draw a recording over the clip it was made of")
    parser.add_argument("--codec", metavar="FOUR", help="four letters, such as mp4v or MJPG (default: what fits the suffix)")
    parser.add_argument("--tiles", type=_tiles, default=12, metavar="N", help="pictures of a sheet, 1 to 100 (default: 12)")
    parser.add_argument("--frames", type=positive, metavar="N", help="only the first N frames")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Draw and write."""
    if not can_be_read_again(arguments.input):
        raise UsageError(f"render: {arguments.input} can be read once only; give a file")
    settings = Settings(loader(arguments))
    recorded = looks_like_recording(arguments.input)
    if arguments.over and not recorded:
        raise UsageError("render: --over is for a recording; a clip is drawn over itself")
    _refuse_to_replace_what_is_read(arguments)
    if recorded:
        fps, total = _rate_and_length(arguments.input)
        pictures = _over(arguments, settings.current) if arguments.over else _on_black(arguments.input, settings.current)
    else:
        with closing(_clip(arguments.input, settings.current)) as clip:
            fps, total = clip.fps, clip.length
        pictures = _estimated(arguments, settings)
    total = min(total, arguments.frames or total)
    images = progress(islice(pictures, arguments.frames), total, str(arguments.output))
    count = write_all(images, arguments.output, fps, arguments.codec, arguments.tiles)
    print(f"{arguments.output}: {count} frames")
    return EXIT_OK


def _tiles(text: str) -> int:
    if not (text.isdecimal() and len(text) <= 3 and 1 <= int(text) <= MOST_TILES):
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a number of pictures from 1 to {MOST_TILES}")
    return int(text)


def _refuse_to_replace_what_is_read(arguments: argparse.Namespace) -> None:
    """Raise ``UsageError`` when the output is the input, the clip under it, or a picture of a folder that is read."""
    for given in (arguments.input, arguments.over):
        if given is None:
            continue
        for path in pictures_in(given) if is_folder(given, SourceUnusableError) else [given]:
            if are_same(arguments.output, path, SinkError):
                raise UsageError(f"render: {arguments.output} is what is read; give another -o")


def _on_black(path: Path, config: Config) -> Iterator[Image]:
    for message in read_recording(path):
        yield _drawn(_black_for(message), people_of(message), config)


def _black_for(message: Pose) -> Image:
    shrink = min(1.0, LARGEST_BLACK_PX / max(message["width"], message["height"]))
    return black(max(1, round(shrink * message["width"])), max(1, round(shrink * message["height"])))


def _over(arguments: argparse.Namespace, config: Config) -> Iterator[Image]:
    """Each message over the frame of its number. Raises ``RecordingError`` when there is none of both."""
    messages = read_recording(arguments.input)
    message: Pose | None = next(messages)
    fits = False
    for frame in _frames(arguments.over, config):
        while message is not None and message["seq"] < frame.seq:
            message = next(messages, None)
        if message is not None and message["seq"] == frame.seq:
            fits = True
            yield _drawn(frame.image.copy(), people_of(message), config)
    if not fits:
        raise RecordingError(f"{arguments.input}: no message has the number of a frame of {arguments.over}")


def _estimated(arguments: argparse.Namespace, settings: Settings) -> Iterator[Image]:
    """Each frame of a clip, with what the model sees in it."""
    from edge_node.engine.create import create_engine  # noqa: PLC0415 - a recording needs no model
    from edge_node.health import Health  # noqa: PLC0415 - the same
    from edge_node.pose.estimator import Estimator  # noqa: PLC0415 - the same

    health = Health()
    with closing(create_engine(settings.current.model, health)) as engine:
        estimator = Estimator(engine, settings, health)
        for frame in _frames(arguments.input, settings.current):
            people = estimator.process(frame)
            image = black(frame.width_px, frame.height_px) if arguments.black else frame.image.copy()
            yield _drawn(image, people, settings.current)


def _drawn(image: Image, people: People, config: Config) -> Image:
    draw_people(image, people.people, config.pose.score_threshold)
    return image


def _frames(path: Path, config: Config) -> Iterator[Frame]:
    with closing(_clip(path, config)) as clip:
        yield from iter(clip.read, None)


def _clip(path: Path, config: Config) -> VideoFile | PictureFolder:
    return open_path(path, config.camera.model_copy(update={"realtime": False, "loop": False}), 0, Health())


def _rate_and_length(path: Path) -> tuple[float, int]:
    """Frames a second, by the middle of the gaps between them, and number of messages."""
    stamps = [message["ts"] for message in read_recording(path)]
    gaps = sorted(after - before for before, after in pairwise(stamps) if after > before)
    return (min(240.0, 1 / gaps[len(gaps) // 2]) if gaps else DEFAULT_FPS), len(stamps)
