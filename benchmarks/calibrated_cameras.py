"""Somebody who loses their balance, filmed by four calibrated cameras: the node against truth of each frame that its model had no part in.

    pip download --no-deps pose2sim==0.8.4
    python benchmarks/calibrated_cameras.py pose2sim-0.8.4-py3-none-any.whl MODEL.tflite [--keep DIRECTORY]

The wheel of Pose2Sim (BSD 3-Clause, Copyright 2022 perfanalytics) holds 100 frames of four cameras, 60 a second, what OpenPose saw in
each, and the calibration. ``triangulated.py`` makes the truth of it: a joint's place in a camera's picture is where all cameras together
say. Who else is in the pictures is not annotated. Measured at 60 frames a second, and at 30, by every second frame, as a node's.

``in view``: joints that OpenPose saw in this camera's picture where the truth is. ``without heads``: shoulders to ankles; OpenPose saw
faces that have been blurred since. ``from the second frame on``: no square can be around anybody in the first. The rows are those of
``one_person.py``. ``--keep`` leaves the clips behind for ``edge-node evaluate --sequence``.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402 - the checkout comes first
import numpy as np  # noqa: E402 - the same
from one_person import KNOWN, VISIBLE, in_view, ways_of  # noqa: E402 - the same
from triangulated import (  # noqa: E402 - the same
    SEEN,
    Camera,
    Detections,
    Floats,
    butterworth,
    filled,
    read_cameras,
    read_detections,
    settled,
    triangulate,
)

from edge_node.evaluate.clips import Clip  # noqa: E402 - the same
from edge_node.evaluate.matching import ScoredFrame  # noqa: E402 - the same
from edge_node.evaluate.run import result, together  # noqa: E402 - the same

SESSION = "Pose2Sim/S00_Demo_BatchSession"
TRIAL = f"{SESSION}/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial"
FPS = 60
CUTOFF_HZ = 6.0
"""Pose2Sim's."""
AHEAD = 1
"""Frame n of the detections is frame n + 1 of all four videos: by the motion of pixels at the joints (optical flow), and to the eye."""
HEAD = slice(0, 5)
BODY = range(5, 17)
NEAR = 0.05
"""A detection this near to the truth, in sizes of the person, has seen the joint."""
MARGIN = 0.25
"""Around the joints of somebody not annotated, in sizes of their box."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--cutoff-hz", type=float, default=CUTOFF_HZ, help="of the truth's filter; 0: not filtered (default: %(default)s)")
    parser.add_argument("--as-calibrated", action="store_true", help="cameras where the calibration says, not where the detections do")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave the clips there")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for every in (1, 2):
            clips = clips_of(arguments.wheel, folder, arguments.cutoff_hz, every, as_calibrated=arguments.as_calibrated)
            print(f"\n{FPS // every} frames a second\n", flush=True)
            table(clips, arguments.model)


def table(clips: list[Clip], model: Path) -> None:
    kinds = ("PCK", "in view", "without heads", "from the second frame on")
    print(
        "| | "
        + " | ".join(f"{kind} @0.1 | @0.2" for kind in kinds)
        + " | 2nd difference (truth's) | lag, frames | the same from the second on |"
    )
    print("|---" * 12 + "|")
    runs = {name: [way(clip) for clip in clips] for name, way in ways_of(model).items()}
    for name, of_clips in runs.items():
        print(row(name, of_clips), flush=True)
    for number, clip in enumerate(clips):
        print(f"| **{clip.name}** |" + " |" * 11)
        for name, of_clips in runs.items():
            print(row(name, [of_clips[number]]), flush=True)


def row(name: str, of_clips: list[list[ScoredFrame]]) -> str:
    frames, later = together(of_clips), together([frames[1:] for frames in of_clips])
    kinds = (frames, [in_view(frame) for frame in frames], [without_head(frame) for frame in frames], later)
    joints, *_, after = figures = [result("", kind).joints for kind in kinds]
    shares = " | ".join(f"{figure.pck10:.3f} | {figure.pck20:.3f}" for figure in figures)
    bend = f"{joints.second_difference:.4f} ({joints.second_difference_true:.4f})"
    return f"| {name} | {shares} | {bend} | {joints.lag_frames:.2f} | {after.second_difference:.4f}, {after.lag_frames:.2f} |"


def without_head(frame: ScoredFrame) -> ScoredFrame:
    people = []
    for person in frame.true:
        keypoints = person.keypoints_px.copy()
        keypoints[HEAD] = 0
        people.append(replace(person, keypoints_px=keypoints))
    return replace(frame, true=tuple(people))


def clips_of(wheel: Path, folder: Path, cutoff_hz: float, every: int, *, as_calibrated: bool) -> list[Clip]:
    """Written to ``folder``, one a camera, of every ``every``-th frame, in the form of docs/evaluate.md."""
    with ZipFile(wheel) as archive:
        cameras = read_cameras(archive, f"{SESSION}/S00_Calibration/Calib.qca.txt")
        detections = read_detections(archive, f"{TRIAL}/pose", cameras)
        if not as_calibrated:
            cameras = settled(cameras, detections.keypoints_px, BODY)
        truth = triangulate(detections.keypoints_px, cameras)
        if every == 1:
            off = reprojection_px(cameras, detections, truth.places)[truth.used]
            cameras_a_joint = truth.used.sum(axis=1).mean()
            print(f"{cameras_a_joint:.2f} cameras a joint; detections are {off.mean():.1f} px from the reprojection in the mean")
        places = filled(truth.places)
        if cutoff_hz:
            places = butterworth(places, cutoff_hz, FPS)
        videos = [_unpacked(archive, f"{TRIAL}/videos/cam0{number + 1}.mp4", folder) for number in range(len(cameras))]
    clips = []
    for number, (camera, video) in enumerate(zip(cameras, videos, strict=True)):
        taken = range(AHEAD, len(places), every)
        size_px = _kept(video, taken, folder / f"{video.stem}_{FPS // every}.avi", FPS / every)
        file = folder / f"{video.stem}_{FPS // every}.json"
        places_px = camera.pixels(places)
        frames = [_frame(places_px[i - AHEAD], detections, i - AHEAD, number, size_px) for i in taken]
        name = f"{video.stem}, {FPS // every} frames a second"
        file.write_text(json.dumps({"v": 1, "name": name, "fps": FPS / every, "video": f"{file.stem}.avi", "frames": frames}))
        clips.append(Clip(file))
    return clips


def reprojection_px(cameras: list[Camera], detections: Detections, places: Floats) -> Floats:
    """[frames, cameras, 17]: how far each detection is from where its joint is said to be."""
    off = [camera.pixels(places) - detections.keypoints_px[:, number, :, :2] for number, camera in enumerate(cameras)]
    return np.asarray(np.linalg.norm(np.stack(off, axis=1), axis=-1))


def _frame(places_px: Floats, detections: Detections, frame: int, camera: int, size_px: tuple[int, int]) -> dict[str, Any]:
    """One of a clip's ``frames``."""
    detected = detections.keypoints_px[frame, camera]
    known = np.asarray(np.isfinite(places_px).all(axis=1) & (places_px >= 0).all(axis=1) & (places_px < size_px).all(axis=1))
    extent = np.max(np.ptp(places_px[known], axis=0))
    off = np.linalg.norm(places_px - detected[:, :2], axis=1)
    seen = (detected[:, 2] > SEEN) & (off < NEAR * extent)
    visibility = np.where(known, np.where(seen, VISIBLE, KNOWN), 0)
    keypoints = np.column_stack((np.where(known[:, None], places_px, 0).round(2), visibility))
    others = detections.others_px[frame][camera]
    return {"people": [{"id": 1, "keypoints": keypoints.ravel().tolist()}], "ignore": [_wider(box) for box in others]}


def _wider(box_px: Floats) -> list[float]:
    margin = MARGIN * np.max(box_px[2:] - box_px[:2])
    return [round(float(v), 1) for v in (*(box_px[:2] - margin), *(box_px[2:] + margin))]


def _unpacked(archive: ZipFile, name: str, folder: Path) -> Path:
    file = folder / Path(name).name
    file.write_bytes(archive.read(name))
    return file


def _kept(video: Path, taken: range, file: Path, fps: float) -> tuple[int, int]:
    """Those frames in ``file``, without loss; their width and height."""
    capture = cv2.VideoCapture(str(video))
    size_px = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"FFV1"), fps, size_px)
    for number in range(taken.stop):
        read, image = capture.read()
        if not read or not writer.isOpened():
            raise SystemExit(f"{video.name}: cannot be {'written again without loss (FFV1)' if read else 'read to its end'}")
        if number in taken:
            writer.write(image)
    writer.release()
    capture.release()
    return size_px


if __name__ == "__main__":
    main()
