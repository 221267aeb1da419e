"""What the scene says about clips: the shares of postures, activity, events, and what it costs. The table of docs/state.md.

Usage: python -m benchmarks.scene CLIP... (with the model fetched, see: edge-node models fetch)
"""

import argparse
import statistics
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_node.camera.factory import open_camera
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.engine.create import create_engine
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.scene import Posture, Scene, SceneEvent

MARKED = {
    "squats": {Posture.STANDING: [(19, 27), (43, 51)], Posture.SITTING: [(9, 12), (32, 37), (57, 62)]},
    "dance": {Posture.STANDING: [(0, 119)]},
    "people_one_by_one": {Posture.STANDING: [(0, 1393)]},
}
"""Frames, first and last, whose posture was told by eye; a squat is folded legs under an upright torso, as sitting is."""


def measure(clip: Path, settings: Settings, copies: int) -> None:
    """Run one clip through estimator and scene and print its row and events."""
    health = Health()
    estimator = Estimator(create_engine(settings.current.model, health), settings, health)
    camera = open_camera(settings.current.camera.model_copy(update={"source": str(clip)}))
    scene, cost_us = Scene(), []
    postures: Counter[Posture] = Counter()
    right: dict[Posture, list[bool]] = defaultdict(list)
    activity: list[float] = []
    events: list[SceneEvent] = []
    states = 0
    first_ts = None
    while (frame := camera.read()) is not None:
        people = copied(estimator.process(frame), copies)
        first_ts = people.ts if first_ts is None else first_ts
        started_ns = time.thread_time_ns()
        observed = scene.update(people, settings.current)
        cost_us.append((time.thread_time_ns() - started_ns) / 1e3)
        states += observed.state is not None
        events += observed.events
        now = scene.latest
        if not people.people or now is None:
            continue
        postures.update(person.posture for person in now.people)
        activity += [person.activity for person in now.people]
        for posture, spans in MARKED.get(clip.stem, {}).items():
            if any(first <= frame.seq <= last for first, last in spans):
                right[posture] += [person.posture is posture for person in now.people]
    total = max(1, postures.total())
    shares = ", ".join(f"{posture.value} {100 * count / total:.0f} %" for posture, count in postures.most_common())
    marked = ", ".join(f"{p.value} {sum(found)}/{len(found)}" for p, found in right.items()) or "none"
    print(f"{clip.stem}: {shares}; as marked by eye: {marked}; activity median {statistics.median(activity or [0]):.1f}, states {states}")
    slowest_us = sorted(cost_us)[int(len(cost_us) * 0.99)]
    print(f"  processor time per frame: mean {statistics.fmean(cost_us):.0f} us, 99 % {slowest_us:.0f} us")
    for event in events:
        print(f"  {event.ts - (first_ts or 0):7.2f} s {event}")


def copied(people: People, copies: int) -> People:
    """Everybody ``copies`` times, side by side: what a crowd costs."""
    persons = [
        replace(person, id=person.id * copies + n, keypoints=person.keypoints + np.array((n / 2, 0, 0), np.float32))
        for person in people.people
        for n in range(copies)
    ]
    return replace(people, people=tuple(persons))


def main() -> None:
    """Measure each clip."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--models", type=Path, help="folder of the model files")
    parser.add_argument("--copies", type=int, default=1, help="everybody so many times: for the cost of several people")
    arguments = parser.parse_args()
    overrides = [f"model.directory={arguments.models}"] if arguments.models else []
    settings = Settings(lambda: load(None, {}, overrides))
    for clip in arguments.clips:
        measure(clip, settings, arguments.copies)


if __name__ == "__main__":
    main()
