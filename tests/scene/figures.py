"""Drawn figures: a body of known limbs and angles, and films of it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from edge_node.config.models import Config
from edge_node.data import People, Person
from edge_node.scene import Observed, Scene

WIDTH_PX, HEIGHT_PX = 1280, 720


@dataclass(frozen=True)
class Figure:
    """A body by its angles, in degrees. Torso: from upright, forward positive. Thigh and shin: from hanging down, forward positive.

    ``thigh_length`` and ``torso_length``: what is left of them where they point at the camera. ``facing``: 1 from the front, 0
    from the side. ``hidden``: joints out of view. ``tall``: body height over frame height.
    """

    torso: float = 0.0
    thigh: float = 0.0
    shin: float = 0.0
    thigh_length: float = 1.0
    torso_length: float = 1.0
    facing: float = 0.6
    feet: tuple[float, float] = (0.5, 0.9)
    hip_height: float | None = None
    tall: float = 0.5
    hidden: tuple[int, ...] = ()
    score: float = 0.8
    mirrored: bool = False

    def keypoints_px(self) -> np.ndarray:
        def way(degrees: float, length: float) -> np.ndarray:
            return np.array([math.sin(math.radians(degrees)), math.cos(math.radians(degrees))]) * length

        across = np.array([math.cos(math.radians(self.torso)), -math.sin(math.radians(self.torso))]) * self.facing
        up = way(self.torso, 1.0)
        thigh = way(self.thigh, 0.24 * self.thigh_length) * (1, -1)
        shin = way(self.shin, 0.24) * (1, -1)
        hips = -thigh - shin if self.hip_height is None else np.array([0.0, self.hip_height])
        shoulders = hips + up * 0.30 * self.torso_length
        head = shoulders + up * 0.12
        points = [head, head + up * 0.02 - across * 0.02, head + up * 0.02 + across * 0.02, head - across * 0.04, head + across * 0.04]
        points += [shoulders - across * 0.11, shoulders + across * 0.11]
        points += [shoulders - up * 0.17 - across * 0.14, shoulders - up * 0.17 + across * 0.14]
        points += [shoulders - up * 0.30 - across * 0.14, shoulders - up * 0.30 + across * 0.14]
        for joint in (hips, hips + thigh, hips + thigh + shin):
            points += [joint - across * 0.06, joint + across * 0.06]
        out = np.array(points) * self.tall * HEIGHT_PX
        out[:, 0] = self.feet[0] * WIDTH_PX + (-out[:, 0] if self.mirrored else out[:, 0])
        out[:, 1] = self.feet[1] * HEIGHT_PX - out[:, 1]
        return out

    def person(self, identity: int = 1, predicted: bool = False) -> Person:
        xy = self.keypoints_px() / (WIDTH_PX, HEIGHT_PX)
        scores = np.full((17, 1), self.score)
        scores[list(self.hidden)] = 0.05
        seen = xy[scores[:, 0] > 0.1]
        (x0, y0), (x1, y1) = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else ((0, 0), (0, 0))
        return Person(identity, self.score, (x0, y0, x1, y1), np.hstack([xy, scores]).astype(np.float32), predicted)


STANDING = Figure()
SITTING = Figure(torso=5, thigh=88, facing=0.2)
SITTING_FACING = Figure(thigh=20, thigh_length=0.25, facing=1.0)
BENDING = Figure(torso=95)
LYING = Figure(torso=88, thigh=-88, shin=-88, facing=0.3)


def people_at(t_s: float, *persons: Person) -> People:
    at_ns = int((t_s + 100) * 1e9)
    return People(int(t_s * 30), at_ns, at_ns, 1_000.0 + t_s, WIDTH_PX, HEIGHT_PX, "cpu", persons)


def film(pose_at: Callable[[float], Iterable[Person]], seconds: float, fps: float = 30.0) -> list[People]:
    """Frames of ``pose_at(t)`` for t from 0 to ``seconds``."""
    return [people_at(i / fps, *pose_at(i / fps)) for i in range(round(seconds * fps) + 1)]


def watch(frames: Iterable[People], config: Config | None = None, scene: Scene | None = None) -> list[Observed]:
    """What a scene says about each frame."""
    config, scene = config or Config(), scene or Scene()
    return [scene.update(people, config) for people in frames]


def eased(t: float, start: float, duration: float) -> float:
    """0 before ``start``, 1 after ``start + duration``, smooth between."""
    u = min(1.0, max(0.0, (t - start) / duration))
    return u * u * (3 - 2 * u)
