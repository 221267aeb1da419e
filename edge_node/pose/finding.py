"""Looking at squares of one picture: sample, run, decode, and bring everyone found into frame coordinates."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edge_node.data import Image, KeypointArray, Pose, Region
from edge_node.engine import Engine, Inference
from edge_node.pose.movenet import Finds, decode
from edge_node.pose.region import sampler, to_frame

CENTRE_THRESHOLD = 0.1
"""Least value of the centre head for a person."""
MOST_FINDS = 12
"""Most people decoded in one square."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What one square gave: its people, in frame pixels, and the inference behind them."""

    region: Region
    poses: tuple[Pose, ...]
    inference: Inference[Finds]


def look(engine: Engine, image: Image, regions: Sequence[Region], threshold: float) -> list[Seen]:
    """Runs the model on each square. ``threshold``: the score from which a keypoint counts. Raises ``EngineError``."""
    read = partial(decode, centre_threshold=CENTRE_THRESHOLD, max_finds=MOST_FINDS)
    inferences = engine.infer([sampler(image, region) for region in regions], read)
    return [
        Seen(region, poses_of(inference.result, region, threshold), inference)
        for region, inference in zip(regions, inferences, strict=True)
    ]


def poses_of(finds: Finds, region: Region, threshold: float) -> tuple[Pose, ...]:
    """The people of a square, in frame pixels."""
    keypoints_px = to_frame(finds.keypoints, region)
    scores = pose_scores(keypoints_px, finds, threshold)
    return tuple(Pose(k, s) for k, s in zip(keypoints_px, scores, strict=True))


def pose_scores(keypoints_px: KeypointArray, finds: Finds, threshold: float) -> list[float]:
    """How likely each is a person with right joints: mean score of the joints that count, times the centre's."""
    scores = keypoints_px[..., 2]
    counted = scores >= threshold
    mean = np.where(counted, scores, 0).sum(axis=-1) / np.maximum(counted.sum(axis=-1), 1)
    result: list[float] = (mean * np.sqrt(np.clip(finds.centre, 0, 1))).tolist()
    return result
