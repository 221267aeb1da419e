"""Where somebody's joints are, from what a detector saw in several calibrated cameras: the truth of ``calibrated_cameras.py``.

Read from a wheel of Pose2Sim (BSD 3-Clause, Copyright 2022 perfanalytics): a calibration of Qualisys, and OpenPose's detections of each
frame of each camera (BODY_25B, whose first 17 keypoints are COCO's, in COCO's order). What is done to them is what Pose2Sim does (Pagnon
and others 2021): the person who is the same in all cameras, a direct linear transform weighted by confidence, cameras left out until the
rest agree, gaps closed, a Butterworth filter run forwards and backwards. Lengths are in metres, places in pictures in pixels.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise, product
from xml.etree import ElementTree
from zipfile import ZipFile

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]

KEYPOINTS = 17
SEEN = 0.3
"""From this confidence on a detection counts; Pose2Sim's ``likelihood_threshold_triangulation``."""
AGREE_PX = 15.0
"""Cameras are left out until the mean distance of the rest to the reprojected joint is below this; Pose2Sim's threshold."""
SAME_PX = 60.0
"""Two people of two cameras are one if the joints both saw are, by their median, not farther than this from their reprojection."""
LONGEST_GAP = 10
"""Frames; longer gaps stay not known."""
TORSO = [5, 6, 11, 12]
ROUNDS = 60


@dataclass(frozen=True, slots=True)
class Camera:
    """OpenCV's model: x = intrinsic (rotation X + translation), distorted."""

    intrinsic: Floats
    distortion: Floats
    rotation: Floats
    translation: Floats

    @property
    def projection(self) -> Floats:
        """[3, 4], onto the normalised picture plane, undistorted."""
        return np.column_stack((self.rotation, self.translation))

    def undistorted(self, places_px: Floats) -> Floats:
        """[..., 2] in pixels to the normalised picture plane."""
        points = cv2.undistortPoints(places_px.reshape(-1, 1, 2), self.intrinsic, self.distortion)
        return np.asarray(points, np.float64).reshape(places_px.shape)

    def pixels(self, places: Floats) -> Floats:
        """[..., 3] in metres to [..., 2] in pixels."""
        turned = cv2.Rodrigues(self.rotation)[0]
        points = cv2.projectPoints(np.nan_to_num(places).reshape(-1, 1, 3), turned, self.translation, self.intrinsic, self.distortion)[0]
        found = np.asarray(points, np.float64).reshape(*places.shape[:-1], 2)
        return np.where(np.isfinite(places[..., :1]), found, np.nan)


@dataclass(frozen=True, slots=True)
class Detections:
    """What the detector said of one person: ``keypoints_px`` [frames, cameras, 17, 3], x, y, confidence (0: not found).

    ``others_px``: for each frame and camera the boxes x0, y0, x1, y1 of everybody else it found.
    """

    keypoints_px: Floats
    others_px: list[list[list[Floats]]]


@dataclass(frozen=True, slots=True)
class Triangulated:
    """``places``: [frames, 17, 3] in metres, NaN where not known; ``used``: [frames, cameras, 17], whose detections agree with it."""

    places: Floats
    used: Booleans


def read_cameras(wheel: ZipFile, name: str) -> list[Camera]:
    """Of a .qca.txt: lengths in 1/64 px and mm, rotations by column, cameras that look along -z."""
    cameras = []
    for element in ElementTree.fromstring(wheel.read(name)).iter("camera"):
        lens, place = (next(element.iter(part)).attrib for part in ("intrinsic", "transform"))
        u, v, fu, fv = (float(lens[key]) / 64 for key in ("centerPointU", "centerPointV", "focalLengthU", "focalLengthV"))
        distortion = [float(lens[f"{kind}Distortion{n}"]) for kind in ("radial", "tangental") for n in (1, 2)]
        listed = np.array([[float(place[f"r{row}{column}"]) for column in (1, 2, 3)] for row in (1, 2, 3)])
        look_ahead = np.diag([1.0, -1.0, -1.0]) @ listed
        at = np.array([float(place[axis]) / 1000 for axis in "xyz"])
        cameras.append(Camera(np.array([[fu, 0, u], [0, fv, v], [0, 0, 1]]), np.array(distortion), look_ahead, -look_ahead @ at))
    return cameras


def read_detections(wheel: ZipFile, folder: str, cameras: list[Camera]) -> Detections:
    """The one who is the same in all cameras, frame by frame."""
    folders = [f"{folder}/cam0{number + 1}_json/" for number in range(len(cameras))]
    files = [sorted(n for n in wheel.namelist() if n.startswith(start) and n.endswith(".json")) for start in folders]
    kept, others = [], []
    for names in zip(*files, strict=True):
        people = [[_read(person) for person in json.loads(wheel.read(name))["people"]] for name in names]
        chosen = same_person(people, cameras)
        kept.append([people[c][i] if i is not None else np.zeros((KEYPOINTS, 3)) for c, i in enumerate(chosen)])
        others.append([[_box(p) for i, p in enumerate(found) if i != chosen[c]] for c, found in enumerate(people)])
    return Detections(np.array(kept, np.float64), others)


def same_person(people: Sequence[Sequence[Floats]], cameras: list[Camera]) -> tuple[int | None, ...]:
    """Which detection of each camera is the person whom most cameras agree on, and those the best; ``None``: none of that camera."""
    best: tuple[float, tuple[int | None, ...]] = (math.inf, (None,) * len(cameras))
    for choice in product(*([None, *range(len(found))] for found in people)):
        views = [c for c, i in enumerate(choice) if i is not None]
        if len(views) < 2:
            continue
        keypoints = np.stack([people[c][choice[c]] for c in views])[None]
        seen = keypoints[..., 2] > SEEN
        off = _off(keypoints, seen, [cameras[c] for c in views])[1]
        off = off[..., TORSO][seen[..., TORSO]]
        if len(off) and np.median(off) < SAME_PX:
            best = min(best, (float(np.median(off)) - 1000 * len(views), choice), key=lambda pair: pair[0])
    return best[1]


def triangulate(keypoints_px: Floats, cameras: list[Camera]) -> Triangulated:
    """[frames, cameras, 17, 3] to places: of as many cameras as agree, and of those the ones that agree best."""
    seen = keypoints_px[..., 2] > SEEN
    frames, count = seen.shape[:2]
    places, used = np.full((frames, KEYPOINTS, 3), np.nan), np.zeros_like(seen)
    for size in range(count, 1, -1):
        least = np.full((frames, KEYPOINTS), AGREE_PX)
        todo = ~used.any(axis=1)
        for views in combinations(range(count), size):
            among = np.isin(np.arange(count), views)[None, :, None] & seen
            found, off = _off(keypoints_px, among, cameras)
            mean = np.where(among, off, 0).sum(axis=1) / np.maximum(among.sum(axis=1), 1)
            better = todo & (among.sum(axis=1) == size) & (mean < least)
            least = np.where(better, mean, least)
            places[better] = found[better]
            used = np.where(better[:, None], among, used)
    return Triangulated(places, used)


def settled(cameras: list[Camera], keypoints_px: Floats, joints: Sequence[int]) -> list[Camera]:
    """The cameras where the detections say they stand: a bundle adjustment of their poses, by turns with the joints' places.

    Starts at the calibration. Which detections count is decided anew in each round; a common motion of all cameras changes nothing.
    """
    for _ in range(ROUNDS):
        truth = triangulate(keypoints_px, cameras)
        moved = []
        for c, camera in enumerate(cameras):
            counts = truth.used[:, c] & (truth.used.sum(axis=1) > 2)
            counts[:, [j for j in range(KEYPOINTS) if j not in joints]] = False
            turned, shift = cv2.solvePnPRefineLM(
                truth.places[counts],
                keypoints_px[:, c][counts][:, :2].copy(),
                camera.intrinsic,
                camera.distortion,
                cv2.Rodrigues(camera.rotation)[0],
                camera.translation.reshape(3, 1).copy(),
            )
            moved.append(replace(camera, rotation=np.asarray(cv2.Rodrigues(turned)[0]), translation=np.asarray(shift).reshape(3)))
        cameras = moved
    return cameras


def filled(places: Floats) -> Floats:
    """Gaps of at most ``LONGEST_GAP`` frames closed by straight lines; frames first."""
    result = places.copy()
    for column in result.reshape(len(places), -1).T:  # views of result
        known = np.flatnonzero(np.isfinite(column))
        for a, b in pairwise(known):
            if 1 < b - a <= LONGEST_GAP + 1:
                column[a : b + 1] = np.interp(np.arange(a, b + 1), [a, b], column[[a, b]])
    return result


def butterworth(places: Floats, cutoff_hz: float, fps: float) -> Floats:
    """Low-pass of second order, forwards and backwards: fourth order without delay. Frames first; stretches between unknowns by themselves.

    Source: Winter, Biomechanics and Motor Control of Human Movement, and the bilinear transform; the ends are continued
    by their point reflection, as scipy's ``filtfilt`` does. The cutoff is that of one pass, as Pose2Sim's.
    """
    warped = math.tan(math.pi * cutoff_hz / fps)
    scale = 1 + math.sqrt(2) * warped + warped**2
    b = np.array([1, 2, 1]) * warped**2 / scale
    a = np.array([2 * (warped**2 - 1), 1 - math.sqrt(2) * warped + warped**2]) / scale
    result = places.copy()
    for column in result.reshape(len(places), -1).T:  # views of result
        known = np.isfinite(column)
        edges = np.flatnonzero(np.diff(np.r_[False, known, False].astype(int)))
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            stretch, pad = column[start:end], 9
            if len(stretch) > pad:
                padded = np.r_[2 * stretch[0] - stretch[pad:0:-1], stretch, 2 * stretch[-1] - stretch[-2 : -pad - 2 : -1]]
                column[start:end] = _pass(_pass(padded, b, a)[::-1], b, a)[::-1][pad:-pad]
    return result


def _read(person: dict[str, list[float]]) -> Floats:
    """[17, 3], of one entry of OpenPose's ``people``."""
    return np.reshape(np.array(person["pose_keypoints_2d"], np.float64), (-1, 3))[:KEYPOINTS]


def _pass(values: Floats, b: Floats, a: Floats) -> Floats:
    done = np.full(len(values) + 2, values[0])
    given = np.r_[values[0], values[0], values]
    for i in range(2, len(done)):
        done[i] = b @ given[i - 2 : i + 1][::-1] - a @ done[i - 2 : i][::-1]
    return done[2:]


def _off(keypoints_px: Floats, among: Booleans, cameras: list[Camera]) -> tuple[Floats, Floats]:
    """Places [frames, 17, 3] from the detections ``among`` [frames, cameras, 17], and how far each is from each detection, in pixels."""
    rows = []
    for c, camera in enumerate(cameras):
        x, y = np.moveaxis(camera.undistorted(keypoints_px[:, c, :, :2].copy()), -1, 0)
        weight = np.where(among[:, c], keypoints_px[:, c, :, 2], 0)[..., None]
        rows += [weight * (place[..., None] * camera.projection[2] - camera.projection[axis]) for axis, place in enumerate((x, y))]
    last = np.linalg.svd(np.stack(rows, axis=-2))[2][..., -1, :]
    places = last[..., :3] / np.where(last[..., 3:] == 0, np.nan, last[..., 3:])
    off = [np.linalg.norm(camera.pixels(places) - keypoints_px[:, c, :, :2], axis=-1) for c, camera in enumerate(cameras)]
    return places, np.stack(off, axis=1)


def _box(keypoints_px: Floats) -> Floats:
    known = keypoints_px[keypoints_px[:, 2] > 0, :2]
    return np.r_[known.min(axis=0), known.max(axis=0)] if len(known) else np.zeros(4)
