"""OKS average precision and recall, computed by pycocotools, the reference implementation."""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from edge_node.data import Pose
from edge_node.errors import EdgeNodeError
from edge_node.evaluate.coco import Annotation


class MissingExtraError(EdgeNodeError):
    """A package that only measuring needs is not installed."""


@dataclass(frozen=True, slots=True)
class Precision:
    """COCO's keypoint figures over all areas, and ``ap`` alone for medium and large people. ``people`` were to be found."""

    people: int
    ap: float
    ap50: float
    ap75: float
    ap_medium: float
    ap_large: float
    ar: float


def require(package: str, module: str) -> ModuleType:
    """``module``, or ``MissingExtraError`` that says what to install."""
    import importlib  # noqa: PLC0415 - beside its only use

    try:
        return importlib.import_module(module)
    except ImportError:
        raise MissingExtraError(f"{package} is not installed; install it with: pip install 'edge-node[evaluate]'") from None


def average_precision(truth: Sequence[Sequence[Annotation]], found: Sequence[Sequence[Pose]]) -> Precision:
    """AP and AR of ``found``, the poses of each picture in any order, against ``truth``, the same pictures' annotations.

    As COCO evaluates: OKS thresholds 0.50:0.05:0.95, at most 20 poses a picture, people without labelled keypoints and
    crowds neither demanded nor counted against a pose that lies on them. A figure that cannot be had (nobody of that size)
    is NaN.
    """
    coco = _coco_of(truth)
    results = _results(found)
    evaluator = require("pycocotools", "pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        evaluation = evaluator.COCOeval(coco, _loaded(coco, results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) if value >= 0 else float("nan") for value in evaluation.stats]
    people = sum(1 for picture in truth for person in picture if person.labelled and not person.crowd)
    return Precision(people, stats[0], stats[1], stats[2], stats[3], stats[4], stats[5])


def _coco_of(truth: Sequence[Sequence[Annotation]]) -> Any:
    """pycocotools' index. Ids are given anew from 1: it takes an annotation with id 0 for none at all."""
    annotations: list[dict[str, Any]] = []
    for image_id, people in enumerate(truth, start=1):
        for person in people:
            x0, y0, x1, y1 = person.box_px
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": person.keypoints_px.astype(float).ravel().tolist(),
                    "num_keypoints": person.labelled,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": person.area_px,
                    "iscrowd": int(person.crowd),
                }
            )
    coco = require("pycocotools", "pycocotools.coco").COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(1, len(truth) + 1)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _results(found: Sequence[Sequence[Pose]]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": np.column_stack([pose.keypoints_px[:, :2].astype(float), np.ones(len(pose.keypoints_px))]).ravel().tolist(),
            "score": float(pose.score),
        }
        for image_id, poses in enumerate(found, start=1)
        for pose in poses
    ]


def _loaded(coco: Any, results: list[dict[str, Any]]) -> Any:
    """``results`` as pycocotools wants them; its own ``loadRes`` fails on none at all."""
    if results:
        return coco.loadRes(results)
    empty = require("pycocotools", "pycocotools.coco").COCO()
    empty.dataset = {**coco.dataset, "annotations": []}
    empty.createIndex()
    return empty
