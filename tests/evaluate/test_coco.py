import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.evaluate.coco import AnnotationError, read_coco
from edge_node.pose import skeleton

KEYPOINTS = [10, 20, 2, 30, 40, 1] + [0] * 42 + [50, 80, 2]


def written(
    folder: Path, annotations: list[dict], images: list[dict] | None = None, picture: np.ndarray | None = None, **more: object
) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images/a.png"), np.zeros((48, 64, 3), np.uint8) if picture is None else picture)
    document = {"images": images or [{"id": 7, "file_name": "a.png"}], "annotations": annotations} | more
    (folder / "person_keypoints.json").write_text(json.dumps(document))
    return folder


def test_the_shared_set_is_read_whole(shared):
    coco = read_coco(shared.coco)
    people = [person for picture in coco.pictures for person in picture.people]
    assert (len(coco.pictures), len(people), len(coco.missing)) == (92, 402, 0)
    assert sum(person.labelled > 0 for person in people) == 287
    assert sum(person.measurable for person in people) == 262


@pytest.mark.parametrize("written_as_zero", [{}, {"area": 0}, {"area": 0.0, "bbox": [0, 0, 0, 0]}])
def test_absent_values_are_taken_as_coco_means_them(tmp_path, written_as_zero):
    coco = read_coco(written(tmp_path, [{"image_id": 7, "category_id": 1, "keypoints": KEYPOINTS} | written_as_zero]))
    (person,) = coco.pictures[0].people
    assert person.labelled == 3
    assert not person.crowd
    assert person.box_px == (10, 20, 50, 80)
    assert person.area_px == 40 * 60


@pytest.mark.parametrize(("category_id", "called"), [(4, "person"), (4, "Person"), (1, "human")])
def test_keypoints_named_in_another_order_are_put_into_that_of_coco(tmp_path, category_id, called):
    names = [name.replace("_", " ").title() for name in skeleton.KEYPOINTS]
    backwards = [value for joint in reversed(range(17)) for value in KEYPOINTS[3 * joint : 3 * joint + 3]]
    category = {"id": category_id, "name": called, "keypoints": names[::-1]}
    folder = written(tmp_path, [{"image_id": 7, "category_id": category_id, "keypoints": backwards}], categories=[category])
    assert read_coco(folder).pictures[0].people[0].keypoints_px.ravel().tolist() == KEYPOINTS


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["pelvis", *skeleton.KEYPOINTS[1:]], "'pelvis' among them"),
        (skeleton.KEYPOINTS[:14], "14"),
        ([*skeleton.KEYPOINTS[1:], "left_eye"], "17"),
    ],
)
def test_keypoints_other_than_those_of_coco_are_refused(tmp_path, names, found):
    reason = rf"categories\[0\].keypoints: expected the names of COCO's 17, nose to right_ankle, in any order; found {found}"
    folder = written(tmp_path, [], categories=[{"id": 1, "name": "person", "keypoints": names}])
    with pytest.raises(AnnotationError, match=reason):
        read_coco(folder)


def test_an_annotation_without_keypoints_is_a_person_nobody_can_measure(tmp_path):
    coco = read_coco(written(tmp_path, [{"image_id": 7, "category_id": 1, "bbox": [1, 2, 60, 40], "area": 2400, "iscrowd": 1}]))
    (person,) = coco.pictures[0].people
    assert (person.labelled, person.crowd, person.measurable) == (0, True, False)


def test_other_things_than_people_are_left_out(tmp_path):
    folder = written(tmp_path, [{"image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4]}])
    assert read_coco(folder).pictures[0].people == ()


def test_a_gray_picture_is_read_as_rgb(tmp_path):
    folder = written(tmp_path, [], picture=np.full((48, 64), 99, np.uint8))
    image = read_coco(folder).pictures[0].read()
    assert image.shape == (48, 64, 3)
    assert (image == 99).all()


def test_colours_are_rgb(tmp_path):
    folder = written(tmp_path, [], picture=np.full((48, 64, 3), (0, 0, 255), np.uint8))
    assert read_coco(folder).pictures[0].read()[0, 0].tolist() == [255, 0, 0]


def test_pictures_that_are_not_there_are_told(tmp_path):
    folder = written(tmp_path, [], images=[{"id": 7, "file_name": "a.png"}, {"id": 8, "file_name": "b.png"}])
    coco = read_coco(folder)
    assert [p.path.name for p in coco.pictures] == ["a.png"]
    assert coco.missing == ("b.png",)


def test_the_layout_of_coco_itself_is_found(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    cv2.imwrite(str(tmp_path / "val2017/a.jpg"), np.zeros((48, 64, 3), np.uint8))
    document = {"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": []}
    (tmp_path / "annotations/person_keypoints_val2017.json").write_text(json.dumps(document))
    assert read_coco(tmp_path).pictures[0].path == tmp_path / "val2017/a.jpg"
    assert read_coco(tmp_path, tmp_path / "annotations/person_keypoints_val2017.json").missing == ()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"image_id": 7, "keypoints": [1, 2, 2]}, "annotations[0].keypoints: expected 51 numbers, found 3 values"),
        ({"image_id": 7, "keypoints": KEYPOINTS, "bbox": [1, 2, "3", 4]}, "annotations[0].bbox: expected 4 numbers, found '3' among them"),
        ({"image_id": 7, "area": "x"}, "annotations[0].area: expected a number, found 'x'"),
        ({"image_id": 7, "area": 10**400}, "annotations[0].area: has a number that is too large"),
        ({"image_id": 7, "keypoints": [10**400, *KEYPOINTS[1:]]}, "annotations[0].keypoints: has a number that is too large"),
        ({"image_id": 7, "iscrowd": "0"}, "annotations[0].iscrowd: expected 0 or 1, found '0'"),
        ({"image_id": [7]}, "annotations[0].image_id: expected a number or text, found a list"),
        ({}, "annotations[0].image_id: expected a number or text, found None"),
        ({"image_id": 7, "keypoints": "none"}, "annotations[0].keypoints: expected 51 numbers, found 'none'"),
        ({"image_id": 7, "area": float("nan")}, "annotations[0].area: has a value that is not finite"),
        ({"image_id": 7, "area": 1e300}, "annotations[0].area: has a number that is too large"),
        ({"image_id": 7, "bbox": [1e38, 0, 1, 1]}, "annotations[0].bbox: has a number that is too large"),
        ({"image_id": 7, "area": -3}, "annotations[0].area: expected 0 or more, found -3"),
        ({"image_id": 7, "bbox": [50, 80, -40, 60]}, "annotations[0].bbox: expected x, y, width, height; found a width or height below 0"),
        (
            {"image_id": 7, "category_id": 3, "keypoints": KEYPOINTS},
            "annotations[0].category_id: 3 is not that of people, 1, nor is any other; the category of people should be named person",
        ),
        ({"image_id": "7", "keypoints": KEYPOINTS}, "annotations have image_id '7', but images[0].id is 7"),
    ],
)
def test_a_wrong_annotation_is_named(tmp_path, annotation, reason):
    with pytest.raises(AnnotationError, match=reason.replace("[", r"\[").replace("]", r"\]")):
        read_coco(written(tmp_path, [annotation]))


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([{"id": {}, "file_name": "a.png"}], r"images\[0\]\.id: expected a number or text, found a dict"),
        ([{"id": 7, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}], r"images\[1\]\.id: 7 is also that of images\[0\]"),
    ],
)
def test_a_wrong_picture_is_named(tmp_path, images, reason):
    with pytest.raises(AnnotationError, match=reason):
        read_coco(written(tmp_path, [], images=images))


def test_a_file_nested_too_deeply_is_refused(tmp_path):
    folder = written(tmp_path, [])
    (folder / "person_keypoints.json").write_text("[" * 200_000)
    with pytest.raises(AnnotationError, match="nested too deeply"):
        read_coco(folder)


def test_a_picture_of_another_size_than_annotated_is_refused(tmp_path):
    folder = written(tmp_path, [], images=[{"id": 7, "file_name": "a.png", "width": 640, "height": 480}])
    with pytest.raises(AnnotationError, match="is 64 x 48 pixels, but its annotation is for 640 x 480"):
        read_coco(folder).pictures[0].read()


def test_a_damaged_picture_is_refused(tmp_path):
    folder = written(tmp_path, [])
    (folder / "images/a.png").write_bytes(b"not a picture")
    with pytest.raises(AnnotationError, match="not a readable picture"):
        read_coco(folder).pictures[0].read()
