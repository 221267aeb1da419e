"""Measures of one body, from joints to a few numbers that posture, activity, zones and falls are told from.

Everything is in frame pixels, so that a tall frame does not bend angles; y grows downwards. A joint counts from ``min_score``
on; a measure whose joints are not in view is ``None``.
"""

import math
from dataclasses import dataclass

from edge_node.data import KeypointArray

_LEFT_SHOULDER, _RIGHT_SHOULDER = 5, 6
_LEFT_HIP, _RIGHT_HIP = 11, 12
_LEGS = ((11, 13, 15), (12, 14, 16))
"""Hip, knee, ankle of each side, in COCO order."""
_ANKLES = (15, 16)

SHOULDERS_TO_TORSO = 1.2
"""Adults' shoulder joints are about 1/1.2 of shoulder to hip apart: the torso's length where it points at the camera."""
TORSOS_IN_HEIGHT = 3.1
"""Standing height over torso length (shoulder to hip), of COCO-style joints."""

_EDGE = 0.02

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg of a body, lengths in torso lengths.

    ``thigh_drop``: how far the knee is below the hip, ``shin_drop``: the ankle below the knee (``None`` out of view).
    ``knee_deg``: angle of hip, knee, ankle; 180 is straight.
    """

    thigh_drop: float
    shin_drop: float | None
    knee_deg: float | None


@dataclass(frozen=True, slots=True)
class Body:
    """One body.

    ``torso_px``: shoulder to hip, or what the shoulders' width says where that is foreshortened; ``tilt_deg``: hips to
    shoulders against the vertical, 0 upright, 90 horizontal, 180 head down; ``slenderness``: shoulder width over shoulder to
    hip. ``foot_px`` is where the body stands: the ankles in view, else the hips.
    """

    shoulders_px: Point | None
    hips_px: Point | None
    torso_px: float | None
    tilt_deg: float | None
    slenderness: float | None
    legs: tuple[Leg, ...]
    foot_px: Point | None
    score: float
    """Mean score of the torso's joints, 0..1."""

    @property
    def height_px(self) -> float | None:
        """What this body would measure upright."""
        return None if self.torso_px is None else self.torso_px * TORSOS_IN_HEIGHT


def measure(keypoints: KeypointArray, width_px: int, height_px: int, min_score: float) -> Body:
    """The measures of ``keypoints`` (float32 [17, 3]: x, y normalised, score)."""
    rows: list[list[float]] = keypoints.tolist()
    joints = [(x * width_px, y * height_px) if score >= min_score else None for x, y, score in rows]
    shoulders = _middle(joints[_LEFT_SHOULDER], joints[_RIGHT_SHOULDER])
    hips = _middle(joints[_LEFT_HIP], joints[_RIGHT_HIP])
    width = _distance(joints[_LEFT_SHOULDER], joints[_RIGHT_SHOULDER])
    torso = _distance(shoulders, hips)
    length = max(torso or 0.0, SHOULDERS_TO_TORSO * (width or 0.0)) or None
    # Knees and ankles below the picture are put by the model at its edge: they tell where it ends, not where the leg is.
    inside = [None if y > 1.0 - _EDGE else joint for joint, (_, y, _) in zip(joints, rows, strict=True)]
    torso_scores = [rows[i][2] for i in (5, 6, 11, 12) if joints[i] is not None]
    return Body(
        shoulders_px=shoulders,
        hips_px=hips,
        torso_px=length,
        tilt_deg=_tilt_deg(shoulders, hips),
        slenderness=None if width is None or torso is None else width / max(torso, 1e-6),
        legs=tuple(leg for sides in _LEGS if (leg := _leg(inside, sides, length)) is not None),
        foot_px=_middle(joints[_ANKLES[0]], joints[_ANKLES[1]]) or hips,
        score=sum(torso_scores) / len(torso_scores) if torso_scores else 0.0,
    )


def _middle(a: Point | None, b: Point | None) -> Point | None:
    if a is None or b is None:
        return a or b
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _distance(a: Point | None, b: Point | None) -> float | None:
    return None if a is None or b is None else math.hypot(a[0] - b[0], a[1] - b[1])


def _tilt_deg(shoulders: Point | None, hips: Point | None) -> float | None:
    if shoulders is None or hips is None:
        return None
    return math.degrees(math.atan2(abs(shoulders[0] - hips[0]), hips[1] - shoulders[1]))


def _leg(joints: list[Point | None], sides: tuple[int, int, int], torso_px: float | None) -> Leg | None:
    hip, knee, ankle = (joints[i] for i in sides)
    if hip is None or knee is None or not torso_px:
        return None
    thigh = (knee[1] - hip[1]) / torso_px
    if ankle is None:
        return Leg(thigh, None, None)
    return Leg(thigh, (ankle[1] - knee[1]) / torso_px, _angle_deg(hip, knee, ankle))


def _angle_deg(a: Point, corner: Point, b: Point) -> float:
    first = math.atan2(a[1] - corner[1], a[0] - corner[0])
    second = math.atan2(b[1] - corner[1], b[0] - corner[0])
    turn = abs(math.degrees(first - second)) % 360
    return min(turn, 360 - turn)
