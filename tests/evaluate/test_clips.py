import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.evaluate.clips import Clip, find_clips
from edge_node.evaluate.coco import AnnotationError

KEYPOINTS = [100, 100, 2] * 17


def write(folder: Path, document: dict, images: int = 2) -> Path:
    (folder / "frames").mkdir(exist_ok=True)
    for index in range(images):
        cv2.imwrite(str(folder / f"frames/{index:03}.png"), np.full((240, 320, 3), index, np.uint8))
    file = folder / "clip.json"
    file.write_text(json.dumps(document))
    return file


def frames(count: int = 2) -> list[dict]:
    return [{"people": [{"id": 3, "keypoints": KEYPOINTS}]} for _ in range(count)]


def test_pictures_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    clip = Clip(write(tmp_path, {"fps": 12.5, "images": "frames", "frames": frames()}))
    read = list(clip.frames())
    assert clip.fps == 12.5
    assert [int(frame.image[0, 0, 0]) for frame in read] == [0, 1]
    assert [frame.cut for frame in read] == [True, False]
    assert read[0].people[0].id == 3


def test_pictures_without_leading_zeros_come_in_the_order_of_their_numbers(tmp_path):
    file = write(tmp_path, {"images": "frames", "frames": frames(3)}, images=0)
    for number in (9, 10, 11):
        cv2.imwrite(str(tmp_path / f"frames/f{number}.webp"), np.full((240, 320, 3), number, np.uint8))
    assert [round(float(frame.image.mean())) for frame in Clip(file).frames()] == [9, 10, 11]


def test_frames_may_name_their_pictures(tmp_path):
    named = [{**frame, "file": f"frames/{index:03}.png"} for index, frame in zip((1, 0), frames(), strict=True)]
    clip = Clip(write(tmp_path, {"frames": named}))
    assert [int(frame.image[0, 0, 0]) for frame in clip.frames()] == [1, 0]


def test_a_picture_may_have_a_name_that_is_not_utf8_and_a_video_may_not(tmp_path):
    clip = Clip(write(tmp_path, {"images": "frames", "frames": frames(1)}, images=1))
    (tmp_path / "frames/000.png").rename(tmp_path / "frames/caf\udce9.png")
    (tmp_path / "caf\udce9.mp4").touch()
    assert len(list(clip.frames())) == 1
    with pytest.raises(AnnotationError, match="the name of a video must be UTF-8"):
        list(Clip(write(tmp_path, {"video": "caf\udce9.mp4", "frames": frames()})).frames())


def test_a_video_gives_its_frames(shared, tmp_path):
    file = write(tmp_path, {"video": str((shared.clips / "squats.mp4").resolve()), "fps": 5, "frames": frames(3)})
    assert [frame.image.shape for frame in Clip(file).frames()] == [(1280, 720, 3)] * 3


def test_a_clip_that_does_not_say_its_rate_has_that_of_its_video_and_pictures_have_thirty(shared, tmp_path):
    video = str((shared.clips / "squats.mp4").resolve())
    assert Clip(write(tmp_path, {"video": video, "frames": frames()})).fps == 5
    assert Clip(write(tmp_path, {"video": video, "fps": 7, "frames": frames()})).fps == 7
    assert Clip(write(tmp_path, {"images": "frames", "frames": frames()})).fps == 30


def test_a_folder_stands_for_all_its_clips(tmp_path):
    write(tmp_path, {"images": "frames", "frames": frames()})
    (tmp_path / "another.json").write_text((tmp_path / "clip.json").read_text())
    assert [clip.name for clip in find_clips(tmp_path)] == ["another", "clip"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"images": "frames", "frames": []}, r"clip.json: frames: List should have at least 1 item"),
        (
            {"images": "frames", "frames": [{"people": [{"id": 1, "keypoints": [1, 2]}]}]},
            r"clip.json: frames.0.people.0.keypoints: List should have at least 51",
        ),
        ({"images": "frames", "frames": [{"people": [{"keypoints": KEYPOINTS}]}]}, r"clip.json: frames.0.people.0.id: Field required"),
        ({"frames": frames()}, r"clip.json: needs either video \(a file\) or images \(a folder\)"),
        ({"images": "frames", "fps": 0, "frames": frames()}, r"clip.json: fps: Input should be greater than or equal to 0.001"),
        ({"images": "frames", "fps": 1e-300, "frames": frames()}, r"clip.json: fps: Input should be greater than or equal to 0.001"),
        ({"video": "a.mp4", "images": "frames", "frames": frames()}, r"clip.json: needs either video \(a file\) or images \(a folder\)"),
        ({"video": "a.mp4", "frames": [{"file": "000.png"}]}, r"clip.json: needs either video \(a file\) or images \(a folder\)"),
        (
            {"images": "frames", "frames": [{"file": "000.png"}, *frames(1)]},
            r"clip.json: frames.1.file: is missing; either each frame names its picture or none does",
        ),
        (
            {"images": "frames", "frames": [{}, {"people": 2 * [{"id": 7, "keypoints": KEYPOINTS}]}]},
            r"clip.json: frames.1.people: id 7 is given to more than one person",
        ),
        (
            {"images": "frames", "frames": [{"people": [{"id": 1, "keypoints": [1e39, *KEYPOINTS[1:]]}]}]},
            r"clip.json: frames.0.people.0.keypoints.0: Input should be less than or equal to 1000000000",
        ),
        (
            {"images": "frames", "frames": [{"people": [{"id": 1, "keypoints": KEYPOINTS, "area": float("inf")}]}]},
            r"clip.json: frames.0.people.0.area: Input should be a finite number",
        ),
    ],
)
def test_a_file_in_another_form_is_refused_with_the_place(tmp_path, document, reason):
    with pytest.raises(AnnotationError, match=reason):
        Clip(write(tmp_path, document))


def test_a_file_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "clip.json").write_text("[" * 200_000)
    with pytest.raises(AnnotationError, match=r"clip\.json: nested too deeply"):
        Clip(tmp_path / "clip.json")


def test_a_clip_shorter_than_its_truth_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match="3 frames are annotated, but the clip has 2"):
        list(Clip(write(tmp_path, {"images": "frames", "frames": frames(3)})).frames())


@pytest.mark.parametrize("name", ["nowhere", "clip.json", "nul\0", "\ud800"])
def test_a_folder_of_pictures_that_is_not_there_is_named(tmp_path, name):
    with pytest.raises(AnnotationError, match=f"{name}: no such folder of pictures"):
        list(Clip(write(tmp_path, {"images": name, "frames": frames()})).frames())


def test_a_video_that_is_none_is_refused(tmp_path):
    with pytest.raises(AnnotationError, match=r"none\.mp4: not a readable video"):
        list(Clip(write(tmp_path, {"video": "none.mp4", "frames": frames()})).frames())
