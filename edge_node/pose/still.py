"""Everyone in one picture without a before or after: scan, then look again at each person found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_node.data import Image, KeypointArray, Pose, Region
from edge_node.engine import Engine
from edge_node.pose.attention import CROP_FACTOR, crop_of, scan_squares
from edge_node.pose.finding import look
from edge_node.pose.region import whole_frame
from edge_node.pose.similarity import areas_px, extent_px, oks, suppress
from edge_node.pose.skeleton import KEYPOINTS

THRESHOLD = 0.2
BOX_FACTOR = 1.05
"""Side of the square for a given box, as a multiple of the box's longer side (benchmarks/accuracy.md)."""
DUPLICATE_OKS = 0.5
"""Finds more alike than this are one person."""
LEAST_ALIKE = 0.1
"""A second look that finds nobody so alike (loose OKS) to the first has lost the person."""
SCAN_SHARE = 0.45
"""Share of the inferences that goes to scanning before the finds are looked at again."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Still:
    """What was found in a picture, best first, and how many inferences it took."""

    poses: tuple[Pose, ...]
    inferences: int


def find_people(image: Image, engine: Engine, max_inferences: int, max_people: int | None = None) -> Still:
    """Everyone in ``image`` (RGB), in at most ``max_inferences`` runs of the model; ``max_people`` keeps the best so many.

    Raises ``EngineError``.
    """
    height_px, width_px = image.shape[:2]
    scans = [whole_frame(width_px, height_px)]
    if max_people != 1:
        tiles = [s for s in dict.fromkeys(scan_squares(width_px, height_px)) if s != scans[0]]
        scans += tiles[: max(int(max_inferences * SCAN_SHARE) - 1, 0)]
    finds = [p for seen in look(engine, image, scans[:max_inferences], THRESHOLD) for p in seen.poses]
    finds = [finds[i] for i in suppress(finds, THRESHOLD, DUPLICATE_OKS)]
    used = len(scans[:max_inferences])
    again = finds[: min(max_inferences - used, max_people or max_inferences)]
    poses = [*_looked_at_again(image, engine, again), *finds[len(again) :]]
    kept = [poses[i] for i in suppress(poses, THRESHOLD, DUPLICATE_OKS)]
    return Still(tuple(kept[:max_people]), used + len(again))


def pose_in_box(image: Image, engine: Engine, box_px: Box) -> Pose:
    """The person in the box x0, y0, x1, y1 (frame pixels), in one run of the model. Raises ``EngineError``."""
    x0, y0, x1, y1 = box_px
    side = BOX_FACTOR * max(x1 - x0, y1 - y0, 1.0)
    region = Region((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)
    poses = look(engine, image, [region], THRESHOLD)[0].poses
    return max(poses, key=lambda p: p.score * _overlap(extent_px(p.keypoints_px, THRESHOLD), box_px), default=Pose(_nobody(), 0.0))


def _looked_at_again(image: Image, engine: Engine, finds: Sequence[Pose]) -> list[Pose]:
    """Each person seen in a crop of their own; as before where the crop shows nobody alike."""
    crops = [crop_of(p.keypoints_px, THRESHOLD, CROP_FACTOR) for p in finds]
    seen = look(engine, image, crops, THRESHOLD) if crops else []
    return [_most_alike(find, s.poses) for find, s in zip(finds, seen, strict=True)]


def _most_alike(find: Pose, poses: Sequence[Pose]) -> Pose:
    if not poses:
        return find
    size = areas_px(find.keypoints_px[None], THRESHOLD)
    alike = oks(np.stack([p.keypoints_px for p in poses]), find.keypoints_px[None], size, THRESHOLD, looseness=2.0)[:, 0]
    best = int(alike.argmax())
    return poses[best] if alike[best] > LEAST_ALIKE else find


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _nobody() -> KeypointArray:
    return np.zeros((len(KEYPOINTS), 3), np.float32)
