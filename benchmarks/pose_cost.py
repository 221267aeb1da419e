"""What pose estimation costs beside the model: decoding a square, and attention, tracking and smoothing of a frame.

    python benchmarks/pose_cost.py MODEL.tflite COCO_DIRECTORY

Each figure is the median over pictures (or frames) of the quickest of many rounds through all of them, in milliseconds: what the work
itself costs, not what else the machine does at the time. The invoke of the same run stands beside it.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_node.config.models import Config, Model
from edge_node.data import Image, KeypointArray, Pose, Region
from edge_node.engine import Engine, Heads, ModelOutput, Quantised
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import read_image
from edge_node.pose.attention import Attention
from edge_node.pose.finding import CENTRE_THRESHOLD, MOST_FINDS, look, poses_of
from edge_node.pose.movenet import decode
from edge_node.pose.region import Placement, placed, sampler, whole_frame
from edge_node.pose.similarity import pose_of
from edge_node.pose.smoothing import BodyFilter
from edge_node.pose.tracking import NOTICE_SCORE, Sighting, Tracker

ROUNDS = 60
PICTURES = 30
PEOPLE = 4
FRAMES = 120
THRESHOLD = 0.2


def quickest_ms(works: Sequence[Callable[[], object]]) -> list[float]:
    """Of each the quickest run. They take turns, because a machine that is slow is so for seconds."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for number, work in enumerate(works):
            started = time.perf_counter()
            work()
            best[number] = min(best[number], time.perf_counter() - started)
    return [seconds * 1e3 for seconds in best]


def own(head: Quantised) -> Quantised:
    """A copy that outlives the interpreter's memory."""
    return replace(head, values=head.values.copy())


def kept(heads: ModelOutput) -> Heads:
    """Heads that outlive the decode call."""
    if not isinstance(heads, Heads):
        sys.exit("MODEL cannot be cut at its heads, so there is nothing to decode")
    return Heads(own(heads.centre), own(heads.heatmap), own(heads.offset), own(heads.regression), heads.centre_weighted, heads.closeness)


def decoding(heads: list[Heads], places: list[Placement]) -> None:
    """Print the cost of decoding everyone, and of making poses of that: in frame pixels, scored, each person once."""
    costs = quickest_ms([partial(decode, h, CENTRE_THRESHOLD, MOST_FINDS) for h in heads])
    finds = [decode(h, CENTRE_THRESHOLD, MOST_FINDS) for h in heads]
    people = np.mean([len(f.centre) for f in finds])
    print(f"decode: {_spread(costs)}, {people:.1f} people a square")
    costs = quickest_ms([partial(poses_of, f, p, THRESHOLD, "oks") for f, p in zip(finds, places, strict=True)])
    print(f"poses of the finds: {_spread(costs)}")


def _spread(costs: list[float]) -> str:
    return f"{np.median(costs):.3f} ms a square (mean {np.mean(costs):.3f}, most {np.max(costs):.3f})"


def following(engine: Engine, image: Image) -> None:
    """Print the cost of attention, tracking and smoothing while four people are followed."""
    pose = max(look(engine, image, [whole_frame(image.shape[1], image.shape[0])], THRESHOLD)[0].poses, key=lambda p: p.score)
    runs = np.array([followed(pose, max(image.shape[:2])) for _ in range(ROUNDS)])
    frames = runs.min(axis=0)[FRAMES // 4 :]  # the same work in each run
    stages = {"attention": frames[:, 0], "tracking": frames[:, 1], "both": frames[:, :2].sum(axis=1), "smoothing": frames[:, 2]}
    for name, costs in stages.items():
        print(f"{name}: {np.median(costs):.3f} ms a frame (mean {costs.mean():.3f}, most {costs.max():.3f}) with {PEOPLE} people")


def followed(pose: Pose, size: int) -> list[tuple[float, float, float]]:
    """Milliseconds of attention, tracking and smoothing of each frame in which the person of ``pose`` walks, four times side by side."""
    config = Config()
    attention, tracker, filters = Attention(), Tracker(), [BodyFilter() for _ in range(PEOPLE)]
    spent = []
    for number in range(1, FRAMES):
        now_ns = number * 33_000_000
        started = time.perf_counter()
        looks = attention.plan(tracker.wanted(now_ns), PEOPLE * size, size, budget=PEOPLE + 1, full=False)
        planned = time.perf_counter()
        sightings = []
        for person in range(PEOPLE):
            moved = pose.keypoints_px.copy()
            moved[:, 0] += person * size + number
            there = pose_of(moved, max(pose.score, NOTICE_SCORE), THRESHOLD)
            sightings += [Sighting(there, x.track) for x in looks if x.track is None or inside(x.region, moved)]
        found = time.perf_counter()
        tracks = tracker.update(sightings, {x.track for x in looks if x.track is not None}, now_ns, PEOPLE, THRESHOLD)
        tracked = time.perf_counter()
        for track, steady in zip(tracks, filters, strict=False):
            steady.apply(track.pose.keypoints_px, track.size_px, now_ns, config.smoothing)
        ended = time.perf_counter()
        assert number < FRAMES // 4 or len(tracks) == PEOPLE
        spent.append(((planned - started) * 1e3, (tracked - found) * 1e3, (ended - tracked) * 1e3))
    return spent


def inside(region: Region, keypoints_px: KeypointArray) -> bool:
    """Whether the person's middle lies in the square."""
    x, y = (float(middle) for middle in keypoints_px[:, :2].mean(axis=0))
    return region.left_px < x < region.left_px + region.side_px and region.top_px < y < region.top_px + region.side_px


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("coco", type=Path)
    arguments = parser.parse_args()
    engine = open_cpu_engine(Model(name=str(arguments.model), threads=1))
    paths = sorted((arguments.coco / "images").glob("*.jpg"))[:PICTURES]
    images = [read_image(path) for path in paths]
    sides = [(image.shape[1], image.shape[0]) for image in images]
    places = [placed(whole_frame(w, h), w, h, engine.input_size_px) for w, h in sides]
    fills = [sampler(i, place) for i, place in zip(images, places, strict=True)]
    inferences = [engine.infer([fill], kept)[0] for fill in fills]
    print(f"{engine.description}; invoke {min(i.invoke_ms for i in inferences):.2f} ms")
    target = np.zeros((engine.input_size_px, engine.input_size_px, 3), np.uint8)
    print(f"sample: {np.median(quickest_ms([partial(f, target) for f in fills])):.3f} ms a square")
    decoding([i.result for i in inferences], places)
    following(engine, images[0])
    engine.close()


if __name__ == "__main__":
    main()
