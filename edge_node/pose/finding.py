"""Looking at squares of one picture: sample, run, decode, and bring everyone found into frame coordinates."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_node.data import Image, KeypointArray, Pose, Region
from edge_node.engine import Engine, Inference, ModelOutput
from edge_node.pose.movenet import Finds, decode
from edge_node.pose.region import Placement, placed, sampler, to_frame
from edge_node.pose.similarity import extents_px, suppress, suppress_parametric

CENTRE_THRESHOLD = 0.1
"""Least value of the centre head for a person."""
MOST_FINDS = 12
"""Most people decoded in one square."""
DUPLICATE_OKS = 0.5
"""Finds more alike than this are one person."""

Nms = Literal["oks", "parametric"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one square gave: its people, in frame pixels, and the inference behind them."""

    region: Region
    poses: tuple[Pose, ...]
    inference: Inference[Finds]


def look(
    engine: Engine,
    image: Image,
    regions: Sequence[Region],
    threshold: float,
    nms: Nms = "oks",
    *,
    invoked: Callable[[], None] = lambda: None,
) -> list[Seen]:
    """Runs the model on each square. ``threshold``: the score from which a keypoint counts. Raises ``EngineError``.

    ``invoked`` is called whenever the model has run a square, on the thread that ran it.
    """

    def read(output: ModelOutput) -> Finds:
        invoked()
        return decode(output, CENTRE_THRESHOLD, MOST_FINDS)

    height_px, width_px = image.shape[:2]
    places = [placed(region, width_px, height_px, engine.input_size_px) for region in regions]
    inferences = engine.infer([sampler(image, place) for place in places], read)
    return [
        Seen(region, poses_of(inference.result, place, threshold, nms), inference)
        for region, place, inference in zip(regions, places, inferences, strict=True)
    ]


def poses_of(finds: Finds, place: Placement, threshold: float, nms: Nms) -> tuple[Pose, ...]:
    """The people of a square, in frame pixels, the best first; several finds of one person are one."""
    keypoints_px = to_frame(finds.keypoints, place)
    scores = pose_scores(keypoints_px, finds, threshold)
    extents = extents_px(keypoints_px, threshold)
    poses = [Pose(k, s, e) for k, s, e in zip(keypoints_px, scores, extents, strict=True)]
    kept = suppress_parametric(poses) if nms == "parametric" else suppress(poses, threshold, DUPLICATE_OKS)
    return tuple(poses[i] for i in kept)


def pose_scores(keypoints_px: KeypointArray, finds: Finds, threshold: float) -> list[float]:
    """How likely each is a person with right joints: mean score of the joints that count, times the centre's."""
    scores = []
    for joints, centre in zip(keypoints_px[..., 2].tolist(), finds.centre.tolist(), strict=True):
        counted = [score for score in joints if score >= threshold]
        scores.append(sum(counted) / max(len(counted), 1) * math.sqrt(min(max(centre, 0.0), 1.0)))
    return scores
