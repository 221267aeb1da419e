"""The synthetic scene: drawn figures that walk, wave, squat, cross, hide one another, come and go, with exactly known joints.

Everything is a pure function of the scene's time, so any picture can be drawn again and its truth is always at hand. Time runs in
rounds of ``ROUND_S``; the last ``EMPTY_S`` of each show nobody. Every figure crosses the picture once a round, stops half way to
wave, raise its arms or squat, and is drawn over those behind it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_node.camera.markers import BODY_RADIUS, CENTRE_COLOUR, CENTRE_RADIUS, FACE_RADIUS, JOINT_COLOURS, Rgb
from edge_node.data import Image
from edge_node.pose.skeleton import INDEX, KEYPOINTS

ROUND_S = 30.0
EMPTY_S = 5.0
SHIFT = 4
"""OpenCV draws at positions of 1 / 2**SHIFT pixel."""

Joints = NDArray[np.float64]
"""float64 [17, 2]: x and y."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure at one time. ``id`` is never used again for another crossing.

    ``keypoints_px``: float32 [17, 3]: x, y in frame pixels, and 1 where the middle of the joint's mark can be seen, else 0 (outside
    the picture, or covered by another mark or figure). ``centre_px``: half way between shoulders and hips. ``box_px``: x0, y0, x1,
    y1 around the joints.
    """

    id: int
    keypoints_px: NDArray[np.float32]
    centre_px: tuple[float, float]
    box_px: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Crossing:
    """How one figure goes through one round."""

    id: int
    height_px: float
    feet_px: float
    starts_s: float
    lasts_s: float
    to_the_right: bool
    act: int
    tone: int


class Scene:
    """A scene of ``people`` figures at most; another ``seed`` gives other sizes, ways and times.

    With ``marks`` every joint carries its colour, for the marker model; without, a real MoveNet takes the figures for people.
    """

    def __init__(self, width_px: int, height_px: int, people: int = 3, seed: int = 1, marks: bool = True) -> None:
        self._width_px, self._height_px = width_px, height_px
        self._people, self._seed, self._marks = people, seed, marks
        self._backdrop = _backdrop(width_px, height_px)
        self._round = -1
        self._crossings: list[_Crossing] = []

    def truth(self, t_s: float) -> list[Figure]:
        """Who is in the picture at ``t_s`` with at least one joint, farthest first."""
        bodies = self._bodies(t_s)
        figures = [self._figure(crossing, joints, bodies[index + 1 :]) for index, (crossing, joints) in enumerate(bodies)]
        return [figure for figure in figures if self._is_inside(figure.keypoints_px).any()]

    def render(self, t_s: float, out: Image) -> None:
        """Draw the picture of ``t_s`` into ``out``, RGB uint8 [H, W, 3] of the scene's size."""
        np.copyto(out, self._backdrop)
        for crossing, joints in self._bodies(t_s):
            _draw_body(out, joints, crossing)
            if self._marks:
                _draw_marks(out, joints, crossing.height_px)

    def _bodies(self, t_s: float) -> list[tuple[_Crossing, Joints]]:
        """Everyone on the way at ``t_s``, farthest first, with their joints in pixels."""
        number, in_round_s = divmod(t_s, ROUND_S)
        if number != self._round:
            self._round, self._crossings = int(number), self._plan(int(number))
        if in_round_s >= ROUND_S - EMPTY_S:
            return []
        on_their_way = [c for c in self._crossings if 0 <= in_round_s - c.starts_s <= c.lasts_s]
        return [(c, self._joints(c, in_round_s - c.starts_s)) for c in on_their_way]

    def _plan(self, number: int) -> list[_Crossing]:
        """The crossings of one round, farthest first. The first figure is in view from the start: the picture cuts to it."""
        chance = np.random.default_rng((self._seed, number))
        crossings = []
        for index in range(self._people):
            lasts_s = chance.uniform(12, 16)
            starts_s = -0.35 * lasts_s if index == 0 else chance.uniform(0, ROUND_S - EMPTY_S - 1 - lasts_s)
            height_px = chance.uniform(0.55, 0.85) * self._height_px
            room_px = self._height_px - 1.06 * height_px
            crossings.append(
                _Crossing(
                    id=number * self._people + index + 1,
                    height_px=height_px,
                    feet_px=height_px + room_px * chance.uniform(0.7, 1.0) + 0.03 * height_px,
                    starts_s=starts_s,
                    lasts_s=lasts_s,
                    to_the_right=bool(chance.integers(2)),
                    act=int(chance.integers(3)),
                    tone=int(chance.integers(70, 110)) if index % 2 else int(chance.integers(165, 205)),
                )
            )
        return sorted(crossings, key=lambda c: c.feet_px)

    def _joints(self, crossing: _Crossing, gone_s: float) -> Joints:
        progress, act = _progress(gone_s / crossing.lasts_s)
        walked = progress if crossing.to_the_right else 1 - progress
        margin_px = 0.3 * crossing.height_px
        x_px = -margin_px + walked * (self._width_px + 2 * margin_px)
        stride = 2 * math.pi * progress * self._width_px / (0.75 * crossing.height_px)
        joints = _stance(stride, crossing.act, act)
        joints *= crossing.height_px
        joints += (x_px, crossing.feet_px - crossing.height_px)
        return joints

    def _figure(self, crossing: _Crossing, joints: Joints, nearer: list[tuple[_Crossing, Joints]]) -> Figure:
        keypoints = np.ones((len(KEYPOINTS), 3), np.float32)
        keypoints[:, :2] = joints
        seen = self._is_inside(keypoints) & ~_covered_by_own_marks(joints, crossing.height_px)
        for other, other_joints in nearer:
            seen &= ~_covered_by(joints, other_joints, other.height_px)
        keypoints[:, 2] = seen
        x0, y0 = joints.min(axis=0)
        x1, y1 = joints.max(axis=0)
        centre = _centre(joints)
        return Figure(crossing.id, keypoints, (float(centre[0]), float(centre[1])), (float(x0), float(y0), float(x1), float(y1)))

    def _is_inside(self, keypoints: NDArray[np.float32]) -> NDArray[np.bool_]:
        x, y = keypoints[:, 0], keypoints[:, 1]
        return (x >= 0) & (y >= 0) & (x < self._width_px) & (y < self._height_px)


ACT_FROM, ACT_TO = 0.4, 0.6
"""Part of a crossing's time in which the figure stands and acts."""


def _progress(share: float) -> tuple[float, float]:
    """Of the share of time gone: the share of the way walked, and how far into the act (0..1; 0 and 1: arms down, walking)."""
    walking = 1 - (ACT_TO - ACT_FROM)
    walked_s = min(share, ACT_FROM) + max(0.0, share - ACT_TO)
    act = min(max((share - ACT_FROM) / (ACT_TO - ACT_FROM), 0.0), 1.0)
    return walked_s / walking, act


_HEAD = {"nose": (0, 0.1), "left_eye": (0.034, 0.07), "right_eye": (-0.034, 0.07), "left_ear": (0.078, 0.085), "right_ear": (-0.078, 0.085)}
_SHOULDERS, _HIPS, _KNEES, _ANKLES = 0.21, 0.52, 0.74, 0.95
_SHOULDER_HALF, _HIP_HALF, _ANKLE_HALF = 0.115, 0.07, 0.08
_UPPER_ARM, _FORE_ARM = 0.155, 0.145


def _stance(stride: float, kind: int, act: float) -> Joints:
    """Joints of a figure of height 1 that faces us: (0, 0) is above its head. ``stride``: phase of the step, radians."""
    bend = math.sin(math.pi * act) if kind == 2 else 0.0  # a squat
    joints = np.empty((len(KEYPOINTS), 2))
    drop = 0.16 * bend
    for name, (x, y) in _HEAD.items():
        joints[INDEX[name]] = x, y + drop
    for side, sign in (("left", 1), ("right", -1)):
        step = max(0.0, math.sin(stride) * sign)
        shoulder = np.array((sign * _SHOULDER_HALF, _SHOULDERS + drop))
        joints[INDEX[f"{side}_shoulder"]] = shoulder
        joints[INDEX[f"{side}_hip"]] = sign * _HIP_HALF, _HIPS + drop
        joints[INDEX[f"{side}_knee"]] = sign * (_HIP_HALF + 0.01 + 0.07 * bend), _KNEES + 0.25 * drop - 0.05 * step
        joints[INDEX[f"{side}_ankle"]] = sign * _ANKLE_HALF, _ANKLES - 0.06 * step
        _set_arm(joints, side, sign, shoulder, _arm_angles(stride, sign, kind, act))
    return joints


def _arm_angles(stride: float, sign: int, kind: int, act: float) -> tuple[float, float]:
    """Angles of upper and fore arm away from hanging down, outwards, radians."""
    swing = 0.18 + 0.1 * math.sin(stride) * sign
    raised = math.sin(math.pi * act)
    if kind == 0 and sign > 0:  # waves with the left hand
        return swing + raised * 1.4, swing * 0.5 + raised * (2.6 + 0.4 * math.sin(12 * math.pi * act))
    if kind == 1:  # both arms up
        return swing + raised * 2.2, swing * 0.5 + raised * 2.7
    return swing + 0.4 * raised * (kind == 2), 0.5 * swing + 0.3 * raised * (kind == 2)


def _set_arm(joints: Joints, side: str, sign: int, shoulder: NDArray[np.float64], angles: tuple[float, float]) -> None:
    elbow = shoulder + _UPPER_ARM * np.array((sign * math.sin(angles[0]), math.cos(angles[0])))
    joints[INDEX[f"{side}_elbow"]] = elbow
    joints[INDEX[f"{side}_wrist"]] = elbow + _FORE_ARM * np.array((sign * math.sin(angles[1]), math.cos(angles[1])))


def _centre(joints: Joints) -> NDArray[np.float64]:
    torso = [INDEX[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]
    return np.asarray(joints[torso].mean(axis=0))


def _neck(joints: Joints) -> NDArray[np.float64]:
    return np.asarray(joints[[INDEX["left_shoulder"], INDEX["right_shoulder"]]].mean(axis=0))


# What is drawn: (from, to, half width as a share of the height). Limbs are capsules, the trunk a quadrilateral, the head an ellipse.
_LIMBS = tuple(
    (INDEX[f"{side}_{a}"], INDEX[f"{side}_{b}"], half)
    for side in ("left", "right")
    for a, b, half in (("hip", "knee", 0.05), ("knee", "ankle", 0.04), ("shoulder", "elbow", 0.034), ("elbow", "wrist", 0.03))
)
_TRUNK = [INDEX[name] for name in ("left_shoulder", "right_shoulder", "right_hip", "left_hip")]
_TRUNK_EDGE = 0.025
_NECK_HALF = 0.045
_HEAD_RADII = (0.06, 0.08)
_MARK_RADII = np.where(np.arange(len(KEYPOINTS)) < 5, FACE_RADIUS, BODY_RADIUS)


def _draw_body(out: Image, joints: Joints, crossing: _Crossing) -> None:
    height_px = crossing.height_px
    light, dark = (crossing.tone,) * 3, (max(crossing.tone - 45, 0),) * 3
    for start, end, half in _LIMBS[:2] + _LIMBS[4:6]:
        _line(out, joints[start], joints[end], dark, 2 * half * height_px)
    trunk = _fixed(joints[_TRUNK])
    cv2.fillConvexPoly(out, trunk, light, cv2.LINE_AA, SHIFT)
    cv2.polylines(out, [trunk], True, light, max(1, round(2 * _TRUNK_EDGE * height_px)), cv2.LINE_AA, SHIFT)
    nose = joints[INDEX["nose"]]
    _line(out, _neck(joints), nose, light, 2 * _NECK_HALF * height_px)
    axes = np.round(np.array(_HEAD_RADII) * height_px * (1 << SHIFT)).astype(int)
    head = _fixed(nose - (0, 0.01 * height_px))
    cv2.ellipse(out, head.tolist(), axes.tolist(), 0, 0, 360, (max(crossing.tone - 15, 0),) * 3, -1, cv2.LINE_AA, SHIFT)
    for start, end, half in _LIMBS[2:4] + _LIMBS[6:8]:
        _line(out, joints[start], joints[end], light, 2 * half * height_px)


def _draw_marks(out: Image, joints: Joints, height_px: float) -> None:
    _disc(out, _centre(joints), CENTRE_RADIUS * height_px, CENTRE_COLOUR)
    for index in range(len(KEYPOINTS)):
        _disc(out, joints[index], float(_MARK_RADII[index]) * height_px, JOINT_COLOURS[index])


def _covered_by_own_marks(joints: Joints, height_px: float) -> NDArray[np.bool_]:
    """Joints whose middle lies under, or within two pixels of, a mark that is drawn later."""
    apart = np.linalg.norm(joints[:, None] - joints[None], axis=2)
    later = np.arange(len(KEYPOINTS))[None] > np.arange(len(KEYPOINTS))[:, None]
    return np.asarray((later & (apart < _MARK_RADII[None] * height_px + 2)).any(axis=1))


def _covered_by(joints: Joints, other: Joints, height_px: float) -> NDArray[np.bool_]:
    """Joints whose middle lies under, or within two pixels of, a nearer figure."""
    covered = np.linalg.norm(joints[:, None] - other[None], axis=2).min(axis=1) <= BODY_RADIUS * height_px + 2
    for start, end, half in _LIMBS:
        covered |= _distance(joints, other[start], other[end]) <= half * height_px + 2
    covered |= _distance(joints, _neck(other), other[INDEX["nose"]]) <= _NECK_HALF * height_px + 2
    trunk = other[_TRUNK].astype(np.float32)
    inside = [cv2.pointPolygonTest(trunk, point, True) >= -_TRUNK_EDGE * height_px - 2 for point in joints.tolist()]
    head = other[INDEX["nose"]] - (0, 0.01 * height_px)
    in_head = (((joints - head) / (np.array(_HEAD_RADII) * height_px + 2)) ** 2).sum(axis=1) <= 1
    return np.asarray(covered | np.array(inside) | in_head)


def _distance(points: Joints, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each point to the line between ``start`` and ``end``."""
    along = end - start
    share = np.clip(((points - start) @ along) / (along @ along), 0, 1)
    return np.asarray(np.linalg.norm(points - (start + share[:, None] * along), axis=1))


def _backdrop(width_px: int, height_px: int) -> Image:
    """A room in greys: a wall that darkens to the sides, a lighter floor."""
    across = 1 - 0.25 * np.abs(np.linspace(-1, 1, width_px))
    down = np.linspace(0.9, 1.0, height_px)
    wall = 130 * down[:, None] * across[None]
    floor_px = round(0.72 * height_px)
    wall[floor_px:] *= 0.8
    return np.repeat(wall.astype(np.uint8)[..., None], 3, axis=2)


def _fixed(points: NDArray[np.float64]) -> NDArray[np.int32]:
    """Positions for OpenCV: fixed point, and (0, 0) is the middle of the first pixel there, its corner here."""
    return np.round((points - 0.5) * (1 << SHIFT)).astype(np.int32)


def _disc(out: Image, centre: NDArray[np.float64], radius_px: float, colour: Rgb) -> None:
    cv2.circle(out, _fixed(centre).tolist(), round(radius_px * (1 << SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)


def _line(out: Image, start: NDArray[np.float64], end: NDArray[np.float64], colour: Rgb, width_px: float) -> None:
    cv2.line(out, _fixed(start).tolist(), _fixed(end).tolist(), colour, max(1, round(width_px)), cv2.LINE_AA, SHIFT)
