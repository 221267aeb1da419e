"""Falls made of real pictures: a standing person of a clip is turned about their feet, and the whole node looks at it.

No film of a fall is at hand; this at least shows whether model, tracking and scene hold together while a real picture of a person
topples, and whether a body that lies is found and told as lying. The table of docs/state.md.

Usage: python -m benchmarks.scene_falls CLIP_FOLDER [--models FOLDER]
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import Frame, Image
from edge_node.engine import Engine
from edge_node.engine.create import create_engine
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.scene import FallEvent, Posture, Scene

STANDING = {
    "squats": (range(18, 27), (0.48, 0.78)),
    "dance": (range(100, 110), (0.53, 0.78)),
    "people_one_by_one": (range(300, 310), (0.58, 0.93)),
}
"""Frames of a clip in which somebody stands, and where their feet are, 0..1 of the frame."""
FPS, SECONDS, STARTS_S = 15, 8.0, 2.5
WIDTH_PX, HEIGHT_PX = 1280, 720


def falling(takes_s: float) -> Callable[[float], float]:
    """Degrees over time of a body that topples, faster and faster."""
    return lambda t: 88 * min(1.0, max(0.0, (t - STARTS_S) / takes_s)) ** 2


def lying_down(takes_s: float) -> Callable[[float], float]:
    """Degrees over time of a body that is laid down gently."""

    def degrees(t: float) -> float:
        u = min(1.0, max(0.0, (t - STARTS_S) / takes_s))
        return 88 * u * u * (3 - 2 * u)

    return degrees


def leaning(t: float) -> float:
    """Degrees over time of a body that leans over to 40 degrees and comes back."""
    return 40 * float(np.sin(np.pi * min(1.0, max(0.0, (t - STARTS_S) / 1.5))))


MOTIONS = {
    "topples in 0.6 s": falling(0.6),
    "topples in 1.0 s": falling(1.0),
    "topples in 1.5 s": falling(1.5),
    "lies down in 3 s": lying_down(3.0),
    "lies down in 5 s": lying_down(5.0),
    "leans and comes back in 1.5 s": leaning,
}


def pictures(clip: Path, wanted: range) -> list[Image]:
    """Some frames of a clip, RGB."""
    capture = cv2.VideoCapture(str(clip))
    frames = []
    for number in range(wanted.stop):
        found, bgr = capture.read()
        if not found:
            break
        if number in wanted:
            frames.append(np.ascontiguousarray(bgr[:, :, ::-1]))
    return frames


def film(stills: list[Image], feet: tuple[float, float], motion: Callable[[float], float], side: int) -> Iterator[Frame]:
    """The stills, to and fro, turned about the feet to one ``side`` (1 or -1)."""
    for number in range(int(SECONDS * FPS)):
        t_s = number / FPS
        turn = number % (2 * len(stills))
        still = stills[min(turn, 2 * len(stills) - 1 - turn)]
        x, y = feet[0] * still.shape[1], feet[1] * still.shape[0]
        matrix = cv2.getRotationMatrix2D((x, y), -side * motion(t_s), 0.62 * HEIGHT_PX / still.shape[0])
        matrix[:, 2] += WIDTH_PX * (0.5 - 0.2 * side) - x, HEIGHT_PX * 0.88 - y
        image = cv2.warpAffine(still, matrix, (WIDTH_PX, HEIGHT_PX), borderValue=(190, 190, 190))
        at_ns = int((100 + t_s) * 1e9)
        yield Frame(image, number, at_ns, at_ns, 1_000.0 + t_s)


def watch(frames: Iterator[Frame], engine: Engine, settings: Settings) -> tuple[list[FallEvent], float]:
    """The falls told, and the share of the last two seconds in which the person was told as lying."""
    estimator, scene = Estimator(engine, settings, Health()), Scene()
    falls: list[FallEvent] = []
    lying: list[bool] = []
    for frame in frames:
        observed = scene.update(estimator.process(frame), settings.current)
        falls += [event for event in observed.events if isinstance(event, FallEvent)]
        now = scene.latest
        lying.append(now is not None and any(person.posture is Posture.LYING for person in now.people))
    return falls, float(np.mean(lying[-2 * FPS :]))


def main() -> None:
    """Every motion with every person, to both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--models", type=Path, help="folder of the model files")
    arguments = parser.parse_args()
    overrides = [f"model.directory={arguments.models}"] if arguments.models else []
    settings = Settings(lambda: load(None, {}, overrides))
    engine = create_engine(settings.current.model, Health())
    for name, motion in MOTIONS.items():
        told, confidences, lying = 0, [], []
        for clip, (wanted, feet) in STANDING.items():
            stills = pictures(arguments.clips / f"{clip}.mp4", wanted)
            for side in (1, -1):
                falls, share = watch(film(stills, feet, motion, side), engine, settings)
                told += bool(falls)
                confidences += [f"{fall.confidence:.2f}" for fall in falls]
                lying.append(share)
        print(f"{name}: fall told {told} of {len(lying)} ({', '.join(confidences)}); told as lying afterwards {np.mean(lying):.2f}")


if __name__ == "__main__":
    main()
