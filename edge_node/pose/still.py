"""Everyone in one picture without a before or after: look at the whole, then again where it promises most."""

from dataclasses import dataclass, replace

import numpy as np

from edge_node.data import Box, Image, Pose, Region
from edge_node.engine import Engine
from edge_node.pose.attention import crop_of, scan_squares
from edge_node.pose.finding import DUPLICATE_OKS, Nms, Seen, look
from edge_node.pose.opinions import joined
from edge_node.pose.region import whole_frame
from edge_node.pose.similarity import areas_px, oks, side_of, stacked, suppress
from edge_node.pose.skeleton import KEYPOINTS

MAX_INFERENCES = 9
"""So many looks a picture is worth where nobody says otherwise: nothing comes after it."""
THRESHOLD = 0.2
"""Keypoints count from this score on, where nobody says otherwise."""
BOX_FACTOR = 1.05
"""Side of the square for a given box, as a multiple of the box's longer side."""
CROP_FACTOR = 1.25
"""Side of the square for somebody found, as a multiple of the joints' extent, whose box is a little larger."""
FILLING = 0.6
"""A person whose extent is this share of the square they were found in is seen as well as they will be."""
COARSE = 0.15
"""At this share of the square, a find counts for half of one that fills the square, when one of two must go."""
OPINION_FACTORS = (1.4, 1.6)
"""Sides of the squares of further looks at somebody found, as multiples of the extent, where looks are left."""
SAME_PERSON = 0.1
"""Least OKS (loose) of what another look finds with what was known of somebody, to be taken for the same person."""
TILE_PROMISE = 0.03
"""What looking at a tile for people not found yet promises, next to looking again at somebody found."""


@dataclass(frozen=True, slots=True)
class Still:
    """What was found in a picture, best first, and every look it took."""

    poses: tuple[Pose, ...]
    looks: tuple[Seen, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Find:
    """``filling``: the person's extent as a share of the square's side. ``settled``: looked at in a square of their own."""

    pose: Pose
    filling: float
    settled: bool = False

    @property
    def promise(self) -> float:
        """What another look may gain: the surer the person and the smaller in the square, the more."""
        return 0.0 if self.settled else self.pose.score * (FILLING - self.filling)

    @property
    def worth(self) -> float:
        """Which of two finds of one person is kept: the better score, discounted where the person was small."""
        return self.pose.score * self.filling / (self.filling + COARSE)


class _Looking:
    """The looks at one picture: at most so many, each of them kept."""

    def __init__(self, image: Image, engine: Engine, max_inferences: int, threshold: float, nms: Nms) -> None:
        self.threshold = threshold
        self.looks: list[Seen] = []
        self._image = image
        self._engine = engine
        self._most = max_inferences
        self._nms: Nms = nms

    @property
    def may_go_on(self) -> bool:
        return len(self.looks) < self._most

    def at(self, region: Region) -> list[_Find]:
        """Whoever is found in a square."""
        self.looks += look(self._engine, self._image, [region], self.threshold, self._nms)
        return [_Find(p, side_of(p.extent_px) / region.side_px) for p in self.looks[-1].poses]


def find_people(
    image: Image, engine: Engine, max_inferences: int, max_people: int | None = None, *, threshold: float = THRESHOLD, nms: Nms = "oks"
) -> Still:
    """Everyone in ``image`` (RGB), in at most ``max_inferences`` runs of the model; ``max_people`` keeps the best so many.

    First the whole frame; each further run is a square around the person for whom it promises most, or the next tile. Runs that are
    left give further opinions on those who were found, the surest first. ``threshold``: the score from which a keypoint counts.
    Raises ``EngineError``.
    """
    looking = _Looking(image, engine, max_inferences, threshold, nms)
    found = _found(looking, image.shape[1], image.shape[0], max_people)
    poses = _in_several_opinions(looking, sorted(found, key=lambda p: -p.score)[:max_people])
    return Still(tuple(sorted(poses, key=lambda p: -p.score)), tuple(looking.looks))


def pose_in_box(image: Image, engine: Engine, box_px: Box, *, threshold: float = THRESHOLD, nms: Nms = "oks") -> Pose:
    """The person in the box x0, y0, x1, y1 (frame pixels), in one run of the model. ``threshold``: the score from which a keypoint
    counts. Raises ``EngineError``.
    """
    x0, y0, x1, y1 = box_px
    side = BOX_FACTOR * max(x1 - x0, y1 - y0, 1.0)
    region = Region((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)
    poses = look(engine, image, [region], threshold, nms)[0].poses
    return max(poses, key=lambda p: p.score * _overlap(p.extent_px, box_px), default=_nobody())


def _found(looking: _Looking, width_px: int, height_px: int, max_people: int | None) -> list[Pose]:
    """Everyone, each from the best square that they were looked at in."""
    finds = looking.at(whole_frame(width_px, height_px))
    tiles = [] if max_people == 1 else _tiles(width_px, height_px)
    while looking.may_go_on:
        chosen = max(_best(finds, looking.threshold)[:max_people], key=lambda f: f.promise, default=None)
        if chosen is not None and chosen.promise > (TILE_PROMISE if tiles else 0.0):
            seen = looking.at(crop_of(chosen.pose.extent_px, CROP_FACTOR))
            finds = _with_second_look(finds, chosen, seen, looking.threshold)
        elif tiles:
            finds += looking.at(tiles.pop(0))
        else:
            break
    return [find.pose for find in _best(finds, looking.threshold)]


def _in_several_opinions(looking: _Looking, poses: list[Pose]) -> list[Pose]:
    """The same people, looked at again in other squares as long as that may go on."""
    opinions = [[pose] for pose in poses]
    for factor in OPINION_FACTORS:
        for said in opinions:
            if not looking.may_go_on:
                break
            pose = joined(said, looking.threshold)
            seen = looking.at(crop_of(pose.extent_px, factor))
            same = _same_person(pose, seen, looking.threshold)
            if same is not None:
                said.append(seen[same].pose)
    return [joined(said, looking.threshold) for said in opinions]


def _tiles(width_px: int, height_px: int) -> list[Region]:
    """Squares as large as the frame allows, side by side along its longer side; none for a frame that is nearly square."""
    short = min(width_px, height_px)
    tiles = [s for s in dict.fromkeys(scan_squares(width_px, height_px)) if s.side_px == short]
    return tiles if len(tiles) > 1 else []


def _best(finds: list[_Find], threshold: float) -> list[_Find]:
    """One find a person."""
    order = sorted(finds, key=lambda f: -f.worth)
    ranked = [replace(f.pose, score=f.worth) for f in order]
    return [order[i] for i in suppress(ranked, threshold, DUPLICATE_OKS)]


def _with_second_look(finds: list[_Find], chosen: _Find, seen: list[_Find], threshold: float) -> list[_Find]:
    """All finds, the chosen one replaced by what its own square showed of the same person, if anything."""
    others = [f for f in finds if f is not chosen]
    same = _same_person(chosen.pose, seen, threshold)
    if same is None:
        return [*others, _Find(chosen.pose, chosen.filling, settled=True), *seen]
    settled = _Find(seen[same].pose, seen[same].filling, settled=True)
    return [*others, settled, *(f for i, f in enumerate(seen) if i != same)]


def _same_person(pose: Pose, seen: list[_Find], threshold: float) -> int | None:
    """Which of the finds is the person of ``pose``, if any."""
    if not seen:
        return None
    finds = stacked([f.pose.keypoints_px for f in seen])
    alike = oks(finds, pose.keypoints_px[None], areas_px([pose.extent_px]), threshold, 2.0)[:, 0]
    best = int(np.argmax(alike))
    return best if alike[best] > SAME_PERSON else None


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _nobody() -> Pose:
    return Pose(np.zeros((len(KEYPOINTS), 3), np.float32), 0.0, (0.0, 0.0, 0.0, 0.0))
