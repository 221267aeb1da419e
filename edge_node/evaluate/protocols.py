"""The three ways to measure on annotated pictures: box given, one person, everyone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_node.config.models import PoseSettings
from edge_node.data import Image, Pose
from edge_node.engine import Engine
from edge_node.evaluate.coco import Annotation, AnnotationError, Picture
from edge_node.evaluate.precision import Precision, average_precision
from edge_node.pose.still import MAX_INFERENCES, find_people, pose_in_box

DEFAULT_INFERENCES = {"boxes": 1, "single": MAX_INFERENCES, "people": MAX_INFERENCES}
"""Inferences a picture at most (boxes: a person), where the caller gives none."""
AS_SHIPPED = PoseSettings()


@dataclass(frozen=True, slots=True)
class StillsResult:
    """What one protocol measured. ``images`` were looked at; ``skipped``: one line for each that could not be.

    ``whole_frame`` (``single`` only): the same people by one look at the whole frame, next to ``precision``, as the node
    would on a still.
    """

    protocol: str
    images: int
    precision: Precision
    inferences_per_image: float
    whole_frame: Precision | None
    skipped: tuple[str, ...]


def run_protocol(
    protocol: str,
    pictures: Sequence[Picture],
    engine: Engine,
    max_inferences: int,
    progress: Callable[[int, int], None],
    *,
    pose: PoseSettings = AS_SHIPPED,
) -> StillsResult:
    """Measure ``engine`` on ``pictures`` by ``boxes``, ``single`` or ``people``.

    ``boxes``: each measurable person's annotated box is given, one crop each. ``single``: pictures with exactly one
    annotated person, who is measurable; only the best pose counts. ``people``: everyone. In each, everyone annotated is
    demanded, as COCO does. ``progress`` is told how many of how many are done. Of ``pose`` the score threshold and the NMS
    count. Raises ``AnnotationError`` when no picture fits the protocol.
    """
    if protocol == "single":
        pictures = [p for p in pictures if len(p.people) == 1 and p.people[0].measurable]
        if not pictures:
            raise AnnotationError(
                "single: no picture has exactly one annotated person (area > 32 x 32 pixels, 3 or more labelled keypoints)"
            )
    truth: list[Sequence[Annotation]] = []
    found: list[Sequence[Pose]] = []
    at_once: list[Sequence[Pose]] = []
    skipped: list[str] = []
    inferences = 0
    for done, picture in enumerate(pictures):
        progress(done, len(pictures))
        try:
            image = picture.read()
        except AnnotationError as error:
            skipped.append(str(error))
            continue
        poses, used = _look(protocol, picture, image, engine, max_inferences, pose=pose)
        truth.append(picture.people)
        found.append(poses)
        inferences += used
        if protocol == "single":
            at_once.append(_look(protocol, picture, image, engine, 1, pose=pose)[0][:1])
    if not truth:
        raise AnnotationError(f"no picture could be read; the first: {skipped[0]}")
    whole_frame = average_precision(truth, at_once) if protocol == "single" else None
    return StillsResult(protocol, len(truth), average_precision(truth, found), inferences / len(truth), whole_frame, tuple(skipped))


def _look(
    protocol: str, picture: Picture, image: Image, engine: Engine, max_inferences: int, *, pose: PoseSettings
) -> tuple[Sequence[Pose], int]:
    """What the protocol finds, and with how many inferences."""
    threshold, nms = pose.score_threshold, pose.nms
    if protocol == "boxes":
        given = [person.box_px for person in picture.people if person.measurable]
        return [pose_in_box(image, engine, box, threshold=threshold, nms=nms) for box in given], len(given)
    still = find_people(image, engine, max_inferences, 1 if protocol == "single" else None, threshold=threshold, nms=nms)
    return still.poses, len(still.looks)
