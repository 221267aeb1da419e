"""Annotated pictures in COCO's form: read, checked, and put into one shape whatever tool wrote them."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_node.camera.opencv import read_picture
from edge_node.config.keys import shown
from edge_node.data import Image, KeypointArray
from edge_node.errors import EdgeNodeError
from edge_node.evaluate.truth import box_around
from edge_node.filesystem import is_file, is_folder
from edge_node.pose.skeleton import INDEX

KEYPOINTS = 17
Id = int | float | str
ANNOTATION_FILES = (
    "person_keypoints.json",
    "annotations/person_keypoints.json",
    "annotations/person_keypoints_val2017.json",
    "person_keypoints_val2017.json",
)
IMAGE_FOLDERS = ("images", ".", "val2017", "train2017", "images/val2017", "images/train2017")
SMALL_AREA_PX = 32.0**2
"""COCO's border of small objects; its keypoint figures leave them out."""
FEWEST_LABELLED = 3
LARGEST = 1e12
"""No picture has more pixels."""


class AnnotationError(EdgeNodeError):
    """An annotation file or one of its pictures cannot be used."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotated person. ``keypoints_px``: float32 [17, 3], x, y in pixels and COCO's visibility (0 not labelled, 1
    hidden, 2 visible). ``box_px``: x0, y0, x1, y1. ``area_px``: of the person's outline, in square pixels.
    """

    keypoints_px: KeypointArray
    box_px: tuple[float, float, float, float]
    area_px: float
    crowd: bool

    @property
    def labelled(self) -> int:
        """How many keypoints are labelled, hidden ones too."""
        return int(np.count_nonzero(self.keypoints_px[:, 2] > 0))

    @property
    def measurable(self) -> bool:
        """Large enough, and with enough labelled keypoints, that the joints can be right or wrong."""
        return not self.crowd and self.area_px > SMALL_AREA_PX and self.labelled >= FEWEST_LABELLED


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and everyone annotated in it. ``size_px``: width and height as the annotation gives them, if it does."""

    path: Path
    people: tuple[Annotation, ...]
    size_px: tuple[int, int] | None

    def read(self) -> Image:
        """The pixels, RGB, as they are stored: COCO's annotations know nothing of an orientation tag.

        Raises ``AnnotationError`` when the file is no picture, or not the one that was annotated.
        """
        image = read_image(self.path)
        height, width = image.shape[:2]
        if self.size_px is not None and self.size_px != (width, height):
            wanted = f"{self.size_px[0]} x {self.size_px[1]}"
            raise AnnotationError(f"{self.path}: is {width} x {height} pixels, but its annotation is for {wanted}")
        return image


@dataclass(frozen=True, slots=True)
class CocoSet:
    """Annotated pictures. ``missing``: file names that the annotation has and the folder has not."""

    pictures: tuple[Picture, ...]
    missing: tuple[str, ...]


def read_coco(folder: Path, annotations: Path | None = None) -> CocoSet:
    """The pictures under ``folder`` with their people.

    ``annotations`` is a COCO keypoint file; without one it is looked for where ``ANNOTATION_FILES`` says. Absent values are
    taken as COCO means them: ``iscrowd`` 0, ``num_keypoints`` counted, ``bbox`` around the labelled keypoints, ``area``
    that of the box; so are a box and an area of nothing. Keypoints that the category of people names in another order than COCO's are
    put into COCO's. Raises ``AnnotationError`` with one line when the file cannot be used or no picture is there.
    """
    if not is_folder(folder, AnnotationError):
        raise AnnotationError(f"{folder}: no such folder; expected one with images/ and {ANNOTATION_FILES[0]}")
    file = annotations or _find_annotations(folder)
    document = read_json(file)
    if not isinstance(document, dict):
        raise AnnotationError(f"{file}: not a COCO annotation: expected an object with images and annotations")
    people = _people(document, file)
    pictures, missing = [], []
    indices: dict[Id, int] = {}
    for index, entry in enumerate(_list_of(document, "images", file)):
        name = entry.get("file_name")
        if not isinstance(name, str) or "id" not in entry:
            raise AnnotationError(f"{file}: images[{index}]: needs id and file_name")
        number = _id(entry["id"], f"{file}: images[{index}].id")
        if indices.setdefault(number, index) != index:
            raise AnnotationError(f"{file}: images[{index}].id: {shown(number)} is also that of images[{indices[number]}]")
        path = _find_image(folder, name)
        if path is None:
            missing.append(name)
        else:
            pictures.append(Picture(path, tuple(people.get(number, ())), _size(entry)))
    _refuse_ids_of_another_type(people, indices, file)
    if not pictures:
        what = (
            f"none of its {len(missing)} pictures is under {folder} or {folder / IMAGE_FOLDERS[0]}" if missing else "it names no pictures"
        )
        raise AnnotationError(f"{file}: {what}")
    return CocoSet(tuple(pictures), tuple(missing))


def read_image(path: Path) -> Image:
    """The pixels of a picture, RGB, as they are stored: its orientation tag is left aside. Raises ``AnnotationError``."""
    image = read_picture(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if is_file(path, AnnotationError) else None
    if image is None:
        raise AnnotationError(f"{path}: not a readable picture")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _find_annotations(folder: Path) -> Path:
    for name in ANNOTATION_FILES:
        if is_file(folder / name, AnnotationError):
            return folder / name
    raise AnnotationError(f"{folder}: no {' or '.join(ANNOTATION_FILES[:3:2])} in it; name the file with --annotations")


def read_json(file: Path, otherwise: str = "") -> Any:
    """What is in a file of JSON. Raises ``AnnotationError``; ``otherwise`` is what might have been meant where there is no file."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise AnnotationError(f"{file}: no such file{otherwise}") from None
    except OSError as error:
        raise AnnotationError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise AnnotationError(f"{file}: not valid JSON: {error}") from None
    except RecursionError:
        raise AnnotationError(f"{file}: nested too deeply") from None


def _list_of(document: dict[str, Any], key: str, file: Path) -> list[dict[str, Any]]:
    value = document.get(key)
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise AnnotationError(f"{file}: not a COCO annotation: {key} should be a list of objects")
    return value


def _people(document: dict[str, Any], file: Path) -> dict[Id, list[Annotation]]:
    """Everyone annotated, by the id of their picture."""
    person, order = _person_category(document, file)
    people: dict[Id, list[Annotation]] = defaultdict(list)
    others = []
    for index, entry in enumerate(_list_of(document, "annotations", file)):
        where = f"{file}: annotations[{index}]"
        if entry.get("category_id", person) == person:
            people[_id(entry.get("image_id"), f"{where}.image_id")].append(_annotation(entry, order, where))
        elif entry.get("keypoints"):
            others.append(f"{where}.category_id: {shown(entry['category_id'])}")
    if others and not people:
        raise AnnotationError(
            f"{others[0]} is not that of people, {shown(person)}, nor is any other; the category of people should be named person"
        )
    return people


def _person_category(document: dict[str, Any], file: Path) -> tuple[Any, list[int]]:
    """The id of the category of people, and where in its keypoints each of COCO's stands: the one named person, else number 1."""
    categories = document.get("categories")
    known = [(i, c) for i, c in enumerate(categories if isinstance(categories, list) else []) if isinstance(c, dict)]
    named = [(i, c) for i, c in known if str(c.get("name")).casefold() == "person"]
    for index, category in named or [(i, c) for i, c in known if c.get("id") == 1]:
        return category.get("id"), _order(category.get("keypoints"), f"{file}: categories[{index}].keypoints")
    return 1, list(range(KEYPOINTS))


def _order(names: Any, where: str) -> list[int]:
    if not names:
        return list(range(KEYPOINTS))
    plain = [str(name).casefold().replace(" ", "_") for name in names] if isinstance(names, list) else []
    if sorted(plain) != sorted(INDEX):
        strange = next((name for name in plain if name not in INDEX), None)
        found = f"{len(plain)}" if strange is None else f"{shown(strange)} among them"
        raise AnnotationError(f"{where}: expected the names of COCO's {KEYPOINTS}, nose to right_ankle, in any order; found {found}")
    return [plain.index(name) for name in INDEX]


def _refuse_ids_of_another_type(people: Iterable[Id], indices: dict[Id, int], file: Path) -> None:
    """7 is not "7": whoever has ids of both types would miss these people without a word."""
    as_text = {str(number): number for number in indices}
    for number in people:
        image = as_text.get(str(number), number)
        if number not in indices and image in indices:
            raise AnnotationError(f"{file}: annotations have image_id {shown(number)}, but images[{indices[image]}].id is {shown(image)}")


def _find_image(folder: Path, name: str) -> Path | None:
    for place in IMAGE_FOLDERS:
        path = folder / place / name
        if is_file(path, AnnotationError):
            return path
    return None


def _size(entry: dict[str, Any]) -> tuple[int, int] | None:
    width, height = entry.get("width"), entry.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _annotation(entry: dict[str, Any], order: list[int], where: str) -> Annotation:
    """``order``: where in the entry's keypoints each of COCO's stands."""
    values = _numbers(entry.get("keypoints") or [0] * (3 * KEYPOINTS), 3 * KEYPOINTS, f"{where}.keypoints")
    keypoints = values.reshape(KEYPOINTS, 3)[order]
    bbox = entry.get("bbox")
    if bbox is None:
        box = box_around(keypoints)
    else:
        x, y, width, height = (float(v) for v in _numbers(bbox, 4, f"{where}.bbox"))
        if width < 0 or height < 0:
            raise AnnotationError(f"{where}.bbox: expected x, y, width, height; found a width or height below 0")
        box = (x, y, x + width, y + height)
    if box[0] == box[2] and box[1] == box[3]:
        box = box_around(keypoints)
    area = entry.get("area")
    if area is None or area == 0:  # tools that know keypoints only write 0; nothing would be like somebody of that size
        area = (box[2] - box[0]) * (box[3] - box[1])
    if not isinstance(area, int | float):
        raise AnnotationError(f"{where}.area: expected a number, found {shown(area)}")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise AnnotationError(f"{where}.iscrowd: expected 0 or 1, found {shown(crowd)}")
    area_px = float(_numbers([area], 1, f"{where}.area")[0])
    if area_px < 0:
        raise AnnotationError(f"{where}.area: expected 0 or more, found {shown(area)}")
    return Annotation(keypoints, box, area_px, bool(crowd))


def _id(value: Any, where: str) -> Id:
    if not isinstance(value, int | float | str):
        raise AnnotationError(f"{where}: expected a number or text, found {shown(value)}")
    return value


def _numbers(values: Any, count: int, where: str) -> KeypointArray:
    if not isinstance(values, list) or len(values) != count:
        found = f"{len(values)} values" if isinstance(values, list) else shown(values)
        raise AnnotationError(f"{where}: expected {count} numbers, found {found}")
    strange = [value for value in values if not isinstance(value, int | float)]
    if strange:
        raise AnnotationError(f"{where}: expected {count} numbers, found {shown(strange[0])} among them")
    try:
        array = np.asarray(values, dtype=np.float64)
    except OverflowError:
        raise AnnotationError(f"{where}: has a number that is too large") from None
    if not np.isfinite(array).all():
        raise AnnotationError(f"{where}: has a value that is not finite")
    if np.abs(array).max() > LARGEST:
        raise AnnotationError(f"{where}: has a number that is too large")
    return array.astype(np.float32)
