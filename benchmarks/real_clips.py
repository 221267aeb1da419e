"""Sequences of one person that are nearest to clips annotated by hand: real clips without truth, and pictures of people whole in view.

    python benchmarks/real_clips.py MODEL.tflite CLIPS_DIRECTORY COCO_DIRECTORY

Of the clips: how much the published joints jitter and lag, with smoothing off and as shipped, against a reference that takes twelve times
as long: the median of twelve crops of each frame, shifted, scaled and half of them mirrored, without memory of other frames. It is no truth
(what the model never sees it does not see twelve times either), but it neither lags nor is it smoothed. Of the pictures (one person with at
least 12 keypoints, a third of the picture or taller): the figures of `edge-node evaluate --sequence virtual`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - the checkout comes first
import numpy as np  # noqa: E402 - the same

from edge_node.config.load import override  # noqa: E402 - the same
from edge_node.config.models import Config, Model  # noqa: E402 - the same
from edge_node.config.settings import Settings  # noqa: E402 - the same
from edge_node.data import Frame, KeypointArray, Region  # noqa: E402 - the same
from edge_node.engine import Engine  # noqa: E402 - the same
from edge_node.engine.cpu import open_cpu_engine  # noqa: E402 - the same
from edge_node.evaluate.coco import Picture, read_coco  # noqa: E402 - the same
from edge_node.evaluate.joints import JointFigures, joint_figures  # noqa: E402 - the same
from edge_node.evaluate.matching import FoundPerson, ScoredFrame  # noqa: E402 - the same
from edge_node.evaluate.run import follow, result, together  # noqa: E402 - the same
from edge_node.evaluate.sources import sequences_of  # noqa: E402 - the same
from edge_node.evaluate.truth import TruePerson  # noqa: E402 - the same
from edge_node.health import Health  # noqa: E402 - the same
from edge_node.pose.attention import CROP_FACTOR, crop_of  # noqa: E402 - the same
from edge_node.pose.estimator import Estimator  # noqa: E402 - the same
from edge_node.pose.finding import look  # noqa: E402 - the same
from edge_node.pose.similarity import extent_px  # noqa: E402 - the same
from edge_node.pose.skeleton import INDEX, KEYPOINTS  # noqa: E402 - the same

STRETCHES = {
    "dance.mp4": (3, 120),
    "squats.mp4": (3, 65),
    "people_one_by_one.mp4": (275, 430),
    "two_people_jumping.mp4": (5, 130),
}
"""Frames in which the person is in full view."""
COUNTS = 0.3
VIRTUAL_FRAMES = 45
CROPS = 12
SHIFT, SCALE = 0.06, 0.15
"""How far a crop of the reference may be off, as shares of its side."""
OTHER_SIDE = [INDEX[name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")] for name in KEYPOINTS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "clips", "coco"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    engine = open_cpu_engine(Model(name=str(arguments.model), threads=2))
    print("| clip | frames | 2nd difference: reference | smoothing off | as shipped | as shipped / reference | lag, frames |")
    print("|---|---|---|---|---|---|---|")
    for name, stretch in STRETCHES.items():
        clip(engine, arguments.clips / name, stretch)
    whole = [picture for picture in read_coco(arguments.coco, None).pictures if whole_in_view(picture)]
    virtual(engine, whole)
    engine.close()


def clip(engine: Engine, path: Path, stretch: tuple[int, int]) -> None:
    frames = list(_frames(path, stretch))
    raw, smooth = (_published(engine, frames, smoothing=smoothing) for smoothing in (False, True))
    reference = [None if pose is None else _reference(engine, frame, pose) for frame, pose in zip(frames, raw, strict=True)]
    off, shipped = (_figures(reference, poses) for poses in (raw, smooth))
    least = shipped.second_difference_true
    print(
        f"| {path.name} | {len(frames)} | {least:.4f} | {off.second_difference:.4f} | {shipped.second_difference:.4f} "
        f"| {shipped.second_difference / least:.2f} | {shipped.lag_frames:.2f} |",
        flush=True,
    )


def _figures(reference: list[KeypointArray | None], poses: list[KeypointArray | None]) -> JointFigures:
    pairs = [(a, b) for a, b in zip(reference, poses, strict=True) if a is not None and b is not None]
    return joint_figures([ScoredFrame((_truth(a),), (FoundPerson(1, b),), cut=False, inferences=1) for a, b in pairs])


def _reference(engine: Engine, frame: Frame, pose: KeypointArray) -> KeypointArray | None:
    """The median of what the model gives on crops around ``pose``; ``None`` when most show nobody."""
    chance = np.random.default_rng(frame.seq)
    mirrored = np.ascontiguousarray(frame.image[:, ::-1])
    crop = crop_of(extent_px(pose, COUNTS), CROP_FACTOR)
    found = []
    for number in range(CROPS):
        side = crop.side_px * chance.uniform(1 - SCALE, 1 + SCALE)
        dx, dy = chance.uniform(-SHIFT, SHIFT, 2) * crop.side_px + (crop.side_px - side) / 2
        left, top = crop.left_px + dx, crop.top_px + dy
        flip = number % 2 == 1
        region = Region(frame.width_px - left - side if flip else left, top, side)
        best = max(look(engine, mirrored if flip else frame.image, [region], COUNTS)[0].poses, key=lambda p: p.score, default=None)
        if best is not None:
            keypoints = best.keypoints_px.copy()
            if flip:
                keypoints[:, 0] = frame.width_px - keypoints[:, 0]
                keypoints = keypoints[OTHER_SIDE]
            found.append(keypoints)
    return np.median(found, axis=0).astype(np.float32) if len(found) > CROPS / 2 else None


def virtual(engine: Engine, pictures: list[Picture]) -> None:
    settings = Settings(lambda: override(Config(), {"pose.max_people": 1}))
    scenes = sequences_of("virtual", pictures, frames=VIRTUAL_FRAMES, figures=1, alone=True)
    found = result("", together([follow(scene, engine, settings) for scene in scenes]))
    joints = found.joints
    print(
        f"\npeople whole in view, {len(pictures)} pictures, {found.frames} frames: PCK@0.1 {joints.pck10:.3f}, PCK@0.2 {joints.pck20:.3f}, "
        f"second difference {joints.second_difference:.4f} ({joints.second_difference_true:.4f}), lag {joints.lag_frames:.2f}, "
        f"identity switches {found.identity.identity_switches}, recall {found.identity.recall:.3f}"
    )


def _frames(path: Path, stretch: tuple[int, int]) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    for number in range(stretch[1]):
        read, bgr = capture.read()
        if not read:
            break
        if number >= stretch[0]:
            at_ns = round(number / fps * 1e9)
            yield Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), number, at_ns, at_ns, at_ns / 1e9)
    capture.release()


def _published(engine: Engine, frames: list[Frame], *, smoothing: bool) -> list[KeypointArray | None]:
    """Keypoints in pixels, or None, of each frame."""
    settings = Settings(lambda: override(Config(), {"pose.max_people": 1, "smoothing.enabled": smoothing}))
    estimator = Estimator(engine, settings, Health())
    told = (estimator.process(frame) for frame in frames)
    return [t.people[0].keypoints * (t.width_px, t.height_px, 1) if t.people else None for t in told]


def _truth(keypoints: KeypointArray) -> TruePerson:
    """A pose as what another is compared with; joints of low score are not known."""
    known = np.where(keypoints[:, 2:] > COUNTS, 2.0, 0.0)
    return TruePerson(1, np.hstack((keypoints[:, :2], known)).astype(np.float32), area_px=1.0)


def whole_in_view(picture: Picture) -> bool:
    people = [person for person in picture.people if person.measurable]
    if len(people) != 1 or len(picture.people) != 1:
        return False
    _, top, _, bottom = people[0].box_px
    return people[0].labelled >= 12 and bottom - top >= picture.read().shape[0] / 3


if __name__ == "__main__":
    main()
