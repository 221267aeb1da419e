"""A crowd with exact truth that a real model can see: people cut out of annotated pictures walk about and cross.

Each goes to and fro on a way of their own, bobs, sways, swings arms and legs, and hides those behind. The pictures are the
user's own, used while the sequence runs and never stored.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge_node.data import Image
from edge_node.evaluate.coco import Picture
from edge_node.evaluate.cutouts import Cutout, cutouts
from edge_node.evaluate.limbs import Limbs
from edge_node.evaluate.truth import FEWEST_VISIBLE, TrueFrame, TruePerson
from edge_node.evaluate.warp import Affine, Opacity, moved, noisy, similarity, warped, warped_opacity

SIZE_PX = (960, 540)
FPS = 30.0


@dataclass(frozen=True, slots=True)
class _Walk:
    """How one of the crowd moves. Lengths are in frame pixels."""

    middle_px: float
    reach_px: float
    period_s: float
    phase: float
    feet_px: float
    height_px: float
    stride_s: float

    def affine(self, cutout: Cutout, t_s: float) -> Affine:
        """From the cut-out to the frame at ``t_s``: where the feet are, a step's bob twice a second, a little sway."""
        x = self.middle_px + self.reach_px * math.sin(2 * math.pi * t_s / self.period_s + self.phase)
        y = self.feet_px - 0.012 * self.height_px * abs(math.sin(2 * math.pi * t_s + self.phase))
        sway = 0.04 * math.sin(2 * math.pi * t_s + self.phase)
        x0, _, x1, y1 = cutout.person.box_px
        return similarity(self.height_px / cutout.height_px, sway, ((x0 + x1) / 2, y1), (x, y))


class Crowd:
    """``figures`` people over ``frames`` frames; another ``seed`` gives other ways. ``vigour`` 1 walks, 2 swings its limbs twice as far
    and as fast.
    """

    def __init__(self, pictures: Sequence[Picture], figures: int, frames: int, seed: int, vigour: float = 1.0) -> None:
        """Raises ``AnnotationError`` when too few people in the pictures can be cut out."""
        self._pictures, self._figures, self._frames, self._seed = pictures, figures, frames, seed
        self._vigour = vigour
        self._people = cutouts(pictures, figures)
        self.name = f"crowd of {figures}, way {seed}"

    @property
    def fps(self) -> float:
        return FPS

    def frames(self) -> Iterator[TrueFrame]:
        """The farthest is drawn first."""
        walks = _walks(self._figures, self._seed)
        background = _background(self._pictures[self._seed % len(self._pictures)].read())
        for index in range(self._frames):
            image = background.copy()
            people: list[TruePerson] = []
            for number, (cutout, walk) in enumerate(zip(self._people, walks, strict=True)):
                matrix = walk.affine(cutout, index / FPS)
                now = self._posed(cutout, walk, index / FPS)
                covered = _paste(image, now, matrix)
                people = [_hidden_by(person, covered) for person in people]
                people.append(moved(now.person, matrix, number + 1, SIZE_PX))
            true = tuple(replace(p, demanded=p.demanded and int((p.keypoints_px[:, 2] == 2).sum()) >= FEWEST_VISIBLE) for p in people)
            yield TrueFrame(noisy(image, index), true, cut=index == 0)

    def _posed(self, cutout: Cutout, walk: _Walk, t_s: float) -> Cutout:
        """The cut-out with arms and legs as they are at ``t_s``."""
        height, width = cutout.opacity.shape
        limbs = Limbs(cutout.person.keypoints_px, (width, height), walk.stride_s / self._vigour, self._vigour)
        image, opacity = limbs.drawn(cutout.image, cutout.opacity, t_s)
        return Cutout(image, opacity, replace(cutout.person, keypoints_px=limbs.keypoints(t_s)))


def _walks(figures: int, seed: int) -> list[_Walk]:
    """Farthest, that is smallest, first; all cross the middle of the frame."""
    chance = np.random.default_rng(seed)
    walks = []
    for number in range(figures):
        near = number / max(figures - 1, 1)
        walks.append(
            _Walk(
                middle_px=SIZE_PX[0] * float(chance.uniform(0.4, 0.6)),
                reach_px=SIZE_PX[0] * float(chance.uniform(0.25, 0.38)),
                period_s=float(chance.uniform(7, 12)),
                phase=2 * math.pi * (number / figures + float(chance.uniform(-0.05, 0.05))),
                feet_px=SIZE_PX[1] * (0.78 + 0.19 * near),
                height_px=SIZE_PX[1] * (0.45 + 0.2 * near),
                stride_s=float(chance.uniform(1.0, 1.6)),
            )
        )
    return walks


def _background(image: Image) -> Image:
    """A picture so blurred that nobody in it is a person any more."""
    spread = cv2.resize(image, SIZE_PX, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(spread, (0, 0), 40), dtype=np.uint8)


def _paste(image: Image, cutout: Cutout, matrix: Affine) -> Opacity:
    """Put the cut-out into ``image``; returns how much of each pixel it covers. Only the part it reaches is touched."""
    height, width = cutout.opacity.shape
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, SIZE_PX)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, SIZE_PX)
    covered = np.zeros((SIZE_PX[1], SIZE_PX[0]), np.float32)
    if left < right and top < bottom:
        size = (int(right - left), int(bottom - top))
        here = matrix - [[0, 0, left], [0, 0, top]]
        opacity = warped_opacity(cutout.opacity, here, size)
        part = np.ascontiguousarray(image[top:bottom, left:right])
        pixels = warped(cutout.image, here, size, cv2.BORDER_REPLICATE)
        image[top:bottom, left:right] = cv2.blendLinear(pixels, part, opacity, 1 - opacity)
        covered[top:bottom, left:right] = opacity
    return covered


def _hidden_by(person: TruePerson, covered: Opacity) -> TruePerson:
    """The person with the keypoints that are covered marked as hidden."""
    keypoints = person.keypoints_px.copy()
    known = np.flatnonzero(keypoints[:, 2] > 0)
    x, y = keypoints[known, :2].astype(int).T
    keypoints[known[covered[y, x] > 0.5], 2] = 1
    return replace(person, keypoints_px=keypoints)
