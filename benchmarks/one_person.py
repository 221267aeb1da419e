"""One moving person: the node against the crop that others use, on the same frames with exact truth.

    python benchmarks/one_person.py MODEL.tflite COCO_DIRECTORY

`crop of the tutorial` is the region of TensorFlow Hub's MoveNet tutorial (the same constants are in tfjs), around the joints of the last
frame, with the model's own output: what the demos run, less their mistakes. `a perfect crop` is taken from the truth of the frame at
hand, 1.4 times the extent of its joints: what the model gives where attention is free of fault. `a square around the last joints` has the
same factor, and the person decoded from the heads. Nothing is smoothed but in the last row, the node as shipped. `in view`: judged on
the joints that can be seen, as who annotated had to guess where covered ones are.
"""

import argparse
import sys
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import replace
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the checkout comes first
from filters import walkers  # noqa: E402 - the same
from real_clips import VIRTUAL_FRAMES, whole_in_view  # noqa: E402 - the same

from edge_node.config.load import override  # noqa: E402 - the same
from edge_node.config.models import Config, Model  # noqa: E402 - the same
from edge_node.config.settings import Settings  # noqa: E402 - the same
from edge_node.data import Image, KeypointArray, Region  # noqa: E402 - the same
from edge_node.engine import Engine  # noqa: E402 - the same
from edge_node.engine.cpu import open_cpu_engine  # noqa: E402 - the same
from edge_node.evaluate.coco import read_coco  # noqa: E402 - the same
from edge_node.evaluate.matching import FoundPerson, ScoredFrame, scored  # noqa: E402 - the same
from edge_node.evaluate.run import follow, result, together  # noqa: E402 - the same
from edge_node.evaluate.sources import sequences_of  # noqa: E402 - the same
from edge_node.evaluate.truth import Sequence as TrueSequence  # noqa: E402 - the same
from edge_node.evaluate.truth import TrueFrame  # noqa: E402 - the same
from edge_node.pose.attention import CROP_FACTOR, crop_of  # noqa: E402 - the same
from edge_node.pose.movenet import decode  # noqa: E402 - the same
from edge_node.pose.region import placed, sampler, to_frame, whole_frame  # noqa: E402 - the same
from edge_node.pose.similarity import extent_px  # noqa: E402 - the same
from edge_node.pose.skeleton import INDEX  # noqa: E402 - the same

HIPS = [INDEX["left_hip"], INDEX["right_hip"]]
SHOULDERS = [INDEX["left_shoulder"], INDEX["right_shoulder"]]
COUNTS = 0.2
KNOWN = 1
"""Least visibility, by COCO's numbers, of a joint whose place is known ..."""
VISIBLE = 2
"""... and of one that can be seen."""
Crop = Callable[[TrueFrame, KeypointArray | None], Region | None]
"""The square to look at, from the frame and the joints found in the last one."""
Way = Callable[[TrueSequence], list[ScoredFrame]]
"""One way of following the person of a sequence."""
WALKER_FRAMES = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "coco"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    pictures = read_coco(arguments.coco, None).pictures
    whole = [picture for picture in pictures if whole_in_view(picture)]
    cameras = sequences_of("virtual", whole, frames=VIRTUAL_FRAMES, figures=1, alone=True)
    kinds: dict[str, Several[TrueSequence]] = {
        "a camera that moves over somebody whole in view": [s for s in cameras if not s.name.startswith("cuts")],
        "a camera that cuts from one of them to the next every second": [s for s in cameras if s.name.startswith("cuts")],
        "people who walk": walkers(pictures, WALKER_FRAMES, vigour=1),
        "people who swing their limbs twice as far and as fast": walkers(pictures, WALKER_FRAMES, vigour=2),
    }
    ways = ways_of(arguments.model)
    for kind, sequences in kinds.items():
        print(f"\n{kind}: {len(sequences)} sequences\n")
        print("| | PCK@0.1 | PCK@0.2 | in view @0.1 | in view @0.2 | second difference (truth's) | lag, frames |")
        print("|---|---|---|---|---|---|---|")
        for name, way in ways.items():
            frames = together([way(sequence) for sequence in sequences])
            joints, seen = result("", frames).joints, result("", [in_view(frame) for frame in frames]).joints
            bend = f"{joints.second_difference:.4f} ({joints.second_difference_true:.4f})"
            shares = f"{joints.pck10:.3f} | {joints.pck20:.3f} | {seen.pck10:.3f} | {seen.pck20:.3f}"
            print(f"| {name} | {shares} | {bend} | {joints.lag_frames:.2f} |", flush=True)


def ways_of(model: Path) -> dict[str, Way]:
    """The rows of a table, by name."""
    node, stock = (open_cpu_engine(Model(name=str(model), threads=2, heads=heads)) for heads in ("auto", "stock"))
    return {
        "whole frame each time": partial(demo, engine=stock, crop=lambda *_: None),
        "a perfect crop": partial(demo, engine=stock, crop=perfect_crop),
        "crop of the tutorial": partial(demo, engine=stock, crop=tutorial_crop),
        "a square around the last joints": partial(demo, engine=node, crop=last_crop),
        "the node, smoothing off": partial(follow, engine=node, settings=settings(smoothing=False)),
        "the node": partial(follow, engine=node, settings=settings(smoothing=True)),
    }


def in_view(frame: ScoredFrame) -> ScoredFrame:
    """Judged on the joints that can be seen: where a covered one is, an annotator guessed."""
    seen = [np.where(person.keypoints_px[:, 2:] == VISIBLE, person.keypoints_px, 0) for person in frame.true]
    people = (replace(person, keypoints_px=joints) for person, joints in zip(frame.true, seen, strict=True))
    return replace(frame, true=tuple(person for person in people if person.known.any()))


def settings(*, smoothing: bool) -> Settings:
    return Settings(lambda: override(Config(), {"pose.max_people": 1, "smoothing.enabled": smoothing}))


def demo(sequence: TrueSequence, engine: Engine, crop: Crop) -> list[ScoredFrame]:
    """The model's own output of one square a frame: ``crop``, or the whole frame where that gives none."""
    last: KeypointArray | None = None
    frames = []
    for frame in sequence.frames():
        height, width = frame.image.shape[:2]
        last = single_pose(engine, frame.image, crop(frame, last) or whole_frame(width, height))
        frames.append(scored(frame, [FoundPerson(1, last)], 1))
    return frames


def single_pose(engine: Engine, image: Image, region: Region) -> KeypointArray:
    """float32 [17, 3] in frame pixels."""
    read = partial(decode, centre_threshold=0.0, max_finds=1)
    place = placed(region, image.shape[1], image.shape[0], engine.input_size_px)
    return to_frame(engine.infer([sampler(image, place)], read)[0].result.keypoints[0], place)


def perfect_crop(frame: TrueFrame, _last: KeypointArray | None) -> Region | None:
    """Around the one who is there."""
    return crop_of(extent_px(frame.people[0].keypoints_px, KNOWN), CROP_FACTOR) if frame.people else None


def last_crop(_frame: TrueFrame, keypoints_px: KeypointArray | None) -> Region | None:
    """As the node's, but from nothing else than the joints of the last frame; the whole frame again where half of them do not count."""
    if keypoints_px is None or 2 * np.count_nonzero(keypoints_px[:, 2] > COUNTS) < len(keypoints_px):
        return None
    return crop_of(extent_px(keypoints_px, COUNTS), CROP_FACTOR)


def tutorial_crop(frame: TrueFrame, keypoints_px: KeypointArray | None) -> Region | None:
    """Around the joints of the last frame.

    Source: TensorFlow Hub, "MoveNet: Ultra fast and accurate pose detection model", ``determine_crop_region``.
    """
    if keypoints_px is None:
        return None
    height, width = frame.image.shape[:2]
    counts = keypoints_px[:, 2] > COUNTS
    if not (counts[HIPS].any() and counts[SHOULDERS].any()):
        return None
    x, y = keypoints_px[HIPS, :2].mean(axis=0)
    away = np.abs(keypoints_px[:, :2] - (x, y))
    half = max(1.9 * away[HIPS + SHOULDERS].max(), 1.2 * away[counts].max())
    half = min(half, max(x, width - x, y, height - y))
    if half > max(width, height) / 2:
        return None
    return Region(float(x - half), float(y - half), float(2 * half))


if __name__ == "__main__":
    main()
