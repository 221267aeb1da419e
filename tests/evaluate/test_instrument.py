"""The instrument measures what others measured: the model's stock output, sampled plainly, on the shared pictures."""

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from edge_node.config.models import Model
from edge_node.data import Image, Pose
from edge_node.engine import Engine, StockPoses
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import Picture, read_coco
from edge_node.evaluate.precision import average_precision
from edge_node.pose.similarity import pose_of


@pytest.fixture(scope="module")
def engine(shared):
    engine = open_cpu_engine(Model(name=str(shared.models / "movenet_single_pose_lightning_ptq.tflite"), heads="stock", threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def pictures(shared) -> Sequence[Picture]:
    return read_coco(shared.coco).pictures


def stock_pose(engine: Engine, square: Image, left_px: float, top_px: float) -> Pose:
    side = square.shape[0]
    size = engine.input_size_px
    small = square if side == size else cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)

    def fill(pixels):
        pixels[:] = small

    def decode(output):
        assert isinstance(output, StockPoses)
        return output.keypoints[0].copy()

    y, x, score = engine.infer([fill], decode)[0].result.T
    return pose_of(np.stack([x * side + left_px, y * side + top_px, score], axis=1), float(score.mean()), 0.2)


def whole_frame(engine: Engine, image: Image) -> Pose:
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = image
    return stock_pose(engine, square, -left, -top)


def given_box(engine: Engine, image: Image, box: tuple[float, float, float, float]) -> Pose:
    side = 1.25 * max(box[2] - box[0], box[3] - box[1])
    left, top = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2
    scale = engine.input_size_px / side
    matrix = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
    square = cv2.warpAffine(image, matrix, (engine.input_size_px,) * 2, flags=cv2.INTER_LINEAR)
    pose = stock_pose(engine, square, 0, 0)
    keypoints = pose.keypoints_px * (1 / scale, 1 / scale, 1) + (left, top, 0)
    return pose_of(keypoints.astype(np.float32), pose.score, 0.2)


def test_whole_frames_by_stock_output_measure_0_057(engine, pictures):
    measured = average_precision([p.people for p in pictures], [[whole_frame(engine, p.read())] for p in pictures])
    assert measured.people == 287
    assert measured.ap == pytest.approx(0.057, abs=0.004)


def test_given_boxes_by_stock_output_measure_0_328(engine, pictures):
    found = [[given_box(engine, image, a.box_px) for a in p.people if a.measurable] for p, image in ((p, p.read()) for p in pictures)]
    assert average_precision([p.people for p in pictures], found).ap == pytest.approx(0.328, abs=0.006)


def test_pictures_of_one_person_by_stock_output_measure_0_347(engine, pictures):
    alone = [p for p in pictures if len(p.people) == 1 and p.people[0].measurable]
    measured = average_precision([p.people for p in alone], [[whole_frame(engine, p.read())] for p in alone])
    assert measured.people == 26
    assert measured.ap == pytest.approx(0.347, abs=0.02)  # 26 people: one pose more or less is 0.01
