"""Sequences of one person that are nearest to clips annotated by hand: real clips without truth, and pictures of people whole in view.

    python benchmarks/real_clips.py MODEL.tflite CLIPS_DIRECTORY COCO_DIRECTORY

Of the clips: how much the published joints jitter and lag, against the node's own with smoothing off. Of the pictures (one person with
at least 12 keypoints, a third of the picture or taller): the figures of `edge-node evaluate --sequence virtual`.
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
from edge_node.data import Frame  # noqa: E402 - the same
from edge_node.engine import Engine  # noqa: E402 - the same
from edge_node.engine.cpu import open_cpu_engine  # noqa: E402 - the same
from edge_node.evaluate.coco import Picture, read_coco  # noqa: E402 - the same
from edge_node.evaluate.joints import joint_figures  # noqa: E402 - the same
from edge_node.evaluate.matching import FoundPerson, ScoredFrame  # noqa: E402 - the same
from edge_node.evaluate.run import follow, result, together  # noqa: E402 - the same
from edge_node.evaluate.sources import sequences_of  # noqa: E402 - the same
from edge_node.evaluate.truth import TruePerson  # noqa: E402 - the same
from edge_node.health import Health  # noqa: E402 - the same
from edge_node.pose.estimator import Estimator  # noqa: E402 - the same

STRETCHES = {
    "dance.mp4": (3, 120),
    "squats.mp4": (3, 65),
    "people_one_by_one.mp4": (275, 430),
    "two_people_jumping.mp4": (5, 130),
}
"""Frames in which the person is in full view."""
COUNTS = 0.3
VIRTUAL_FRAMES = 45


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("model", "clips", "coco"):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    engine = open_cpu_engine(Model(name=str(arguments.model), threads=2))
    print("| clip | frames | second difference, smoothing off | as shipped | lag, frames |\n|---|---|---|---|---|")
    for name, stretch in STRETCHES.items():
        clip(engine, arguments.clips / name, stretch)
    whole = [picture for picture in read_coco(arguments.coco, None).pictures if whole_in_view(picture)]
    virtual(engine, whole)
    engine.close()


def clip(engine: Engine, path: Path, stretch: tuple[int, int]) -> None:
    raw = list(_poses(engine, path, stretch, smoothing=False))
    smooth = list(_poses(engine, path, stretch, smoothing=True))
    frames = [
        ScoredFrame((_truth(a),), (FoundPerson(1, b),), cut=False, inferences=1)
        for a, b in zip(raw, smooth, strict=True)
        if a is not None and b is not None
    ]
    figures = joint_figures(frames)
    print(
        f"| {path.name} | {len(frames)} | {figures.second_difference_true:.4f} | {figures.second_difference:.4f} "
        f"| {figures.lag_frames:.2f} |",
        flush=True,
    )


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


def _poses(engine: Engine, path: Path, stretch: tuple[int, int], *, smoothing: bool) -> Iterator[np.ndarray | None]:
    """Keypoints in pixels, or None, of each frame of the stretch."""
    settings = Settings(lambda: override(Config(), {"pose.max_people": 1, "smoothing.enabled": smoothing}))
    estimator = Estimator(engine, settings, Health())
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    for number in range(stretch[1]):
        read, bgr = capture.read()
        if not read:
            break
        if number >= stretch[0]:
            at_ns = round(number / fps * 1e9)
            found = estimator.process(Frame(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), number, at_ns, at_ns, at_ns / 1e9))
            yield found.people[0].keypoints * (found.width_px, found.height_px, 1) if found.people else None
    capture.release()


def _truth(keypoints: np.ndarray) -> TruePerson:
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
