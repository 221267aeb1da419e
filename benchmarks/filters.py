#!/usr/bin/env python3
"""Smoothing filters against each other: the same raw tracks, replayed through each.

    python benchmarks/filters.py --coco DIR --model FILE [--pictures N]

Raw tracks are what the node gives with smoothing off, one person at a time: on a camera that pans, shakes and cuts over
pictures of one person, and on people cut out of pictures whose limbs swing, slowly and fast. Prints a table: RMS of second differences,
their median (jitter at rest), lag in frames, share of joints within 0.1 of the person's size, mean error, all in sizes of the person.
"""

import argparse
import math
import sys
from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_node.config.load import load
from edge_node.config.models import Smoothing
from edge_node.config.settings import Settings
from edge_node.engine import Engine
from edge_node.engine.cpu import open_cpu_engine
from edge_node.errors import EdgeNodeError
from edge_node.evaluate.coco import Picture, read_coco
from edge_node.evaluate.crowd import Crowd
from edge_node.evaluate.joints import Stretch, lag_frames, second_difference
from edge_node.evaluate.matching import nearest_pairs
from edge_node.evaluate.run import follow
from edge_node.evaluate.truth import Sequence
from edge_node.evaluate.virtual import virtual_cameras
from edge_node.pose.smoothing import BodyFilter

FPS = 30.0

Floats = Any
"""Arrays of numbers, or one."""

Track = tuple[Floats, Floats, float]
"""True places [n, 17, 2] (NaN: not known), raw keypoints [n, 17, 3], and the person's size, in pixels."""
Filter = Callable[[Floats, float], Floats]
"""Raw keypoints [n, 17, 3] and size -> places [n, 17, 2]."""


def tracks_of(sequence: Sequence, engine: Engine, settings: Settings) -> list[Track]:
    tracks: list[Track] = []
    run: list[tuple[Floats, Floats, float]] = []
    for frame in [*follow(sequence, engine, settings), None]:
        pairs = nearest_pairs(frame.true, frame.found) if frame else []
        if (frame is None or frame.cut or not pairs) and run:
            if len(run) > 6:
                true, raw, sizes = zip(*run, strict=True)
                tracks.append((np.array(true), np.array(raw), float(np.median(sizes))))
            run = []
        if frame and pairs:
            person, found = frame.true[pairs[0][0]], frame.found[pairs[0][1]]
            run.append((np.where(person.known[:, None], person.keypoints_px[:, :2], np.nan), found.keypoints_px, person.size_px))
    return tracks


def walkers(pictures: Several[Picture], frames: int, vigour: float) -> list[Crowd]:
    """One sequence for each person who can be cut out."""
    found = []
    for picture in pictures:
        for person in picture.people:
            try:
                found.append(Crowd([replace(picture, people=(person,))], 1, frames, seed=3, vigour=vigour))
            except EdgeNodeError:
                continue  # not whole, or not upright
    return found


def collect(arguments: argparse.Namespace) -> dict[str, list[Track]]:
    overrides = [f"model.name={arguments.model}", "smoothing.enabled=false", "pose.max_people=1", "pose.max_inferences=1"]
    settings = Settings(lambda: load(None, {}, overrides))
    pictures = read_coco(arguments.coco).pictures[: arguments.pictures]
    engine = open_cpu_engine(settings.current.model)
    cameras = virtual_cameras(pictures, ["pan", "shake", "cuts"], 45, alone=True)
    tracks = {"camera": [t for s in cameras for t in tracks_of(s, engine, settings)]}
    tracks["limbs"] = [t for s in walkers(pictures, 60, vigour=1) for t in tracks_of(s, engine, settings)]
    tracks["fast limbs"] = [t for s in walkers(pictures, 60, vigour=2) for t in tracks_of(s, engine, settings)]
    return tracks


def none(raw: Floats, _size: float) -> Floats:
    return raw[:, :, :2]


def one_euro(min_cutoff_hz: float, beta: float, derivative_cutoff_hz: float) -> Filter:
    """Casiez and others 2012, speed in sizes of the person a second."""

    def gain(cutoff_hz: Floats) -> Floats:
        return 1 / (1 + FPS / (2 * math.pi * cutoff_hz))

    def run(raw: Floats, size: float) -> Floats:
        place, last, speed = raw[0, :, :2], raw[0, :, :2], 0.0
        places = [place]
        for keypoints in raw[1:]:
            speed = speed + gain(derivative_cutoff_hz) * ((keypoints[:, :2] - last) * FPS / size - speed)
            last = keypoints[:, :2]
            place = place + gain(min_cutoff_hz + beta * np.abs(speed)) * (last - place)
            places.append(place)
        return np.array(places)

    return run


def alpha_beta(time_constant_ms: float, sure_score: float) -> Filter:
    """Critically damped; both gains fall with the score below ``sure_score`` (0: they do not)."""
    fade = math.exp(-1e3 / FPS / time_constant_ms)

    def run(raw: Floats, _size: float) -> Floats:
        place, velocity = raw[0, :, :2], 0.0
        places = [place]
        for keypoints in raw[1:]:
            trust = np.clip(keypoints[:, 2:] / sure_score, 0.1, 1) if sure_score else 1.0
            news = trust * (keypoints[:, :2] - place - velocity)
            place = place + velocity + (1 - fade**2) * news
            velocity = velocity + (1 - fade) ** 2 * news
            places.append(place)
        return np.array(places)

    return run


def the_nodes(time_constant_ms: float) -> Filter:
    settings = Smoothing(time_constant_ms=time_constant_ms)

    def run(raw: Floats, size: float) -> Floats:
        steady = BodyFilter()
        return np.array([steady.apply(k, size, round((i + 1) / FPS * 1e9), settings) for i, k in enumerate(raw.astype(np.float32))])

    return run


CANDIDATES: dict[str, Filter] = {
    "none": none,
    "One-Euro 2.5 / 300 / 2.5 (as tfjs, but by size)": one_euro(2.5, 300, 2.5),
    "One-Euro 2.5 / 10 / 2.5": one_euro(2.5, 10, 2.5),
    "One-Euro 4 / 4 / 1": one_euro(4, 4, 1),
    "One-Euro 4 / 2 / 1": one_euro(4, 2, 1),
    "alpha-beta 65 ms": alpha_beta(65, 0),
    "alpha-beta 65 ms, by score": alpha_beta(65, 0.4),
    "the node's, 30 ms": the_nodes(30),
    "the node's, 40 ms": the_nodes(40),
    "the node's, 60 ms": the_nodes(60),
}


def row(name: str, candidate: Filter, tracks: list[Track]) -> str:
    stretches, bends, errors = [], [], []
    for true, raw, size in tracks:
        places = np.where(np.isfinite(true), candidate(raw, size), np.nan) / size
        stretches.append(Stretch(true / size, places))
        bends.append(second_difference(places))
        off = np.linalg.norm(places - true / size, axis=2)
        errors.append(off[np.isfinite(off)])
    bend, error = np.concatenate(bends), np.concatenate(errors)
    figures = (np.sqrt((bend**2).mean()), np.median(bend), lag_frames(stretches), (error <= 0.1).mean(), np.minimum(error, 0.3).mean())
    return f"| {name} | " + " | ".join(f"{value:.{places}f}" for value, places in zip(figures, (4, 4, 2, 3, 4), strict=True)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--pictures", type=int)
    for motion, tracks in collect(parser.parse_args()).items():
        print(f"\n{motion}: {len(tracks)} tracks, {sum(len(true) for true, _, _ in tracks)} frames\n")
        print("| filter | 2nd difference, RMS | median | lag, frames | within 0.1 | mean error |\n|---|---|---|---|---|---|")
        for name, candidate in CANDIDATES.items():
            print(row(name, candidate, tracks), flush=True)


if __name__ == "__main__":
    main()
