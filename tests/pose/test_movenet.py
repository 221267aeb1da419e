import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.engine import Heads, Quantised, StockPoses
from edge_node.pose.movenet import decode
from edge_node.pose.region import placed, sampler, to_frame, whole_frame

from .conftest import read_image

CELLS = 48
HALF_STEP = 0.2 / 2 / CELLS
"""What the offset's int8 step allows."""


class Drawing:
    """Heads in which people were drawn at exact places."""

    def __init__(self):
        self.centre = np.full((CELLS, CELLS, 1), -128, np.int8)
        self.heatmap = np.full((CELLS, CELLS, 17), -128, np.int8)
        self.offset = np.full((CELLS, CELLS, 34), -9, np.int8)
        self.regression = np.full((CELLS, CELLS, 34), -21, np.int8)

    def person(self, joints, centre, value=0.8):
        """``joints`` [17, 2] and ``centre``: x, y in cells."""
        cx, cy = (int(v) for v in centre)
        self.centre[cy, cx] = round(value * 256) - 128
        for joint, (x, y) in enumerate(joints):
            self.regression[cy, cx, 2 * joint] = np.clip(round((y - cy) / 0.68844) - 21, -128, 127)
            self.regression[cy, cx, 2 * joint + 1] = np.clip(round((x - cx) / 0.68844) - 21, -128, 127)
            row, column = round(y), round(x)
            self.heatmap[row, column, joint] = round(0.9 * 256) - 128
            for r in range(max(row - 2, 0), min(row + 3, CELLS)):
                for c in range(max(column - 2, 0), min(column + 3, CELLS)):
                    self.offset[r, c, 2 * joint] = round((y - r) / 0.19978) - 9
                    self.offset[r, c, 2 * joint + 1] = round((x - c) / 0.19978) - 9

    def heads(self, closeness=None):
        centre = Quantised(self.centre, 1 / 256, -128)
        if closeness is not None:
            real = (self.centre[..., 0].astype(np.float32) + 128) / 256 * closeness
            centre = Quantised((np.round(real / 0.002044) - 128).astype(np.int8)[..., None], 0.002044, -128)
        rest = (Quantised(self.heatmap, 1 / 256, -128), Quantised(self.offset, 0.19978, -9), Quantised(self.regression, 0.68844, -21))
        return Heads(centre, *rest, centre_weighted=closeness is not None, closeness=closeness)


def figure(x, y, size):
    """17 joints in an upright shape around x, y."""
    rng = np.random.default_rng(3)
    return np.column_stack([x + size * rng.uniform(-0.3, 0.3, 17), y + size * np.linspace(-0.5, 0.5, 17)])


places = st.floats(16, 31)


@settings(deadline=None, max_examples=40)
@given(places, places, st.floats(6, 28))
def test_a_drawn_person_is_found_where_they_were_drawn(x, y, size):
    drawing = Drawing()
    drawing.person(figure(x, y, size), (x, y))
    finds = decode(drawing.heads(), 0.1, 5)
    assert len(finds.centre) == 1
    np.testing.assert_allclose(finds.keypoints[0, :, :2], figure(x, y, size) / CELLS, atol=HALF_STEP + 1e-3)
    np.testing.assert_allclose(finds.keypoints[0, :, 2], 0.9, atol=0.01)


@pytest.mark.parametrize("corner", [(3.2, 24), (44.4, 24), (24, 3.7), (24, 44.1)])
def test_a_person_at_the_border_of_the_square_is_found(corner):
    drawing = Drawing()
    joints = np.clip(figure(*corner, 10), 0, CELLS - 1)
    drawing.person(joints, corner)
    finds = decode(drawing.heads(), 0.1, 5)
    np.testing.assert_allclose(finds.keypoints[0, :, :2], joints / CELLS, atol=HALF_STEP + 1e-3)


def test_a_centre_in_the_outermost_cell_counts():
    drawing = Drawing()
    drawing.person(np.clip(figure(0, 20, 10), 0, CELLS - 1), (0, 20))
    assert len(decode(drawing.heads(), 0.1, 5).centre) == 1


def two_people():
    drawing = Drawing()
    drawing.person(figure(14, 20, 16), (14, 20), 0.5)
    drawing.person(figure(33, 25, 16), (33, 25), 0.9)
    return drawing


def test_everyone_is_found_the_surest_first():
    finds = decode(two_people().heads(), 0.1, 5)
    np.testing.assert_allclose(finds.centre, [0.9, 0.5], atol=0.01)
    np.testing.assert_allclose(finds.keypoints[0, :, :2], figure(33, 25, 16) / CELLS, atol=HALF_STEP + 1e-3)
    np.testing.assert_allclose(finds.keypoints[1, :, :2], figure(14, 20, 16) / CELLS, atol=HALF_STEP + 1e-3)


def test_a_centre_weighted_by_closeness_gives_the_same_people():
    row, column = np.mgrid[:CELLS, :CELLS]
    closeness = (1 / (1 + np.hypot(row - 23.5, column - 23.5) / 8)).astype(np.float32) * 0.555
    plain, weighted = decode(two_people().heads(), 0.1, 5), decode(two_people().heads(closeness), 0.1, 5)
    np.testing.assert_array_equal(plain.keypoints, weighted.keypoints)
    np.testing.assert_allclose(plain.centre, weighted.centre, atol=0.02)


def test_no_more_people_than_asked_for():
    assert len(decode(two_people().heads(), 0.1, 1).centre) == 1


def test_nobody_is_found_in_empty_heads():
    finds = decode(Drawing().heads(), 0.1, 5)
    assert finds.keypoints.shape == (0, 17, 3)


AFTER = [[(0, 1)], [(1, -1)], [(1, 0)], [(1, 1)], [(0, 1), (1, 0), (1, 1)]]
BEFORE = [[(0, -1)], [(-1, 1)], [(-1, 0)], [(-1, -1)]]


@pytest.mark.parametrize(("beside", "lower"), [*((cells, 0.0) for cells in AFTER), *((cells, 0.1) for cells in AFTER + BEFORE)])
def test_a_centre_that_spreads_over_several_cells_is_one_person(beside, lower):
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24), 0.8)
    for row, column in beside:
        drawing.centre[24 + row, 24 + column] = round((0.8 - lower) * 256) - 128
    finds = decode(drawing.heads(), 0.1, 5)
    assert len(finds.centre) == 1
    np.testing.assert_allclose(finds.keypoints[0, :, :2], figure(24, 24, 16) / CELLS, atol=HALF_STEP + 1e-3)


@pytest.mark.parametrize(("steps", "found"), [(25, 0), (26, 1)])
def test_a_centre_counts_from_the_threshold_on(steps, found):
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24), steps / 256)
    assert len(decode(drawing.heads(), 0.1, 5).centre) == found


@pytest.mark.parametrize("joint", [0, 9, 16])
def test_a_joint_without_any_heat_stays_at_its_rough_place_with_no_score(joint):
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24))
    drawing.heatmap[..., joint] = -128
    finds = decode(drawing.heads(), 0.1, 5)
    np.testing.assert_allclose(finds.keypoints[0, joint, :2], figure(24, 24, 16)[joint] / CELLS, atol=1.5 / CELLS)
    assert finds.keypoints[0, joint, 2] == 0


@pytest.mark.parametrize(("step", "least", "most"), [(-128, 0, 2.5), (127, CELLS - 3.5, CELLS - 1)])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_rough_place_beyond_the_square_is_taken_to_its_border(step, least, most, axis):
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24))
    drawing.heatmap[..., 9] = -128
    drawing.regression[24, 24, 2 * 9 + axis] = step
    place = decode(drawing.heads(), 0.1, 5).keypoints[0, 9, 1 - axis] * CELLS
    assert least <= place <= most


@pytest.mark.parametrize(("heat", "stays"), [(0.2, False), (0.4, True)])
def test_a_joint_is_where_heat_and_nearness_to_its_rough_place_weigh_most(heat, stays):
    """0.9 four cells away weighs 0.9 / (4 + 1.8) = 0.16; at the rough place 0.2 weighs 0.11 and 0.4 weighs 0.22."""
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24))
    column, row = np.rint(figure(24, 24, 16)[9]).astype(int)
    drawing.heatmap[row, column, 9] = round(heat * 256) - 128
    drawing.heatmap[row + 4, column, 9] = round(0.9 * 256) - 128
    y = decode(drawing.heads(), 0.1, 5).keypoints[0, 9, 1] * CELLS
    assert bool(y < row + 2) == stays


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize(("value", "moved"), [(0.03, False), (0.08, True)])
def test_heat_below_the_floor_is_no_candidate_for_a_joint(value, moved, logistic):
    """A faint peak four cells below the rough place, in a heatmap that is empty otherwise; as the file has it or before its logistic."""
    drawing = Drawing()
    drawing.person(figure(24, 24, 16), (24, 24))
    column, row = np.rint(figure(24, 24, 16)[9]).astype(int)
    drawing.heatmap[..., 9] = -128
    drawing.heatmap[row + 4, column, 9] = round(value * 256) - 128
    heads = drawing.heads()
    if logistic:
        stored = np.clip(np.rint(np.log((heads.heatmap.values + 128.5) / (127.5 - heads.heatmap.values)) / 0.05), -128, 127)
        heads = replace(heads, heatmap=Quantised(stored.astype(np.int8), 0.05, 0, logistic=True))
    y = decode(heads, 0.1, 5).keypoints[0, 9, 1] * CELLS
    assert bool(y > row + 2) == moved


def test_the_stock_output_is_turned_to_x_y_score():
    stock = np.random.default_rng(0).random((2, 17, 3)).astype(np.float32)
    finds = decode(StockPoses(stock), 0.1, 5)
    np.testing.assert_array_equal(finds.keypoints[..., 0], stock[..., 1])
    np.testing.assert_array_equal(finds.keypoints[..., 1], stock[..., 0])


@pytest.fixture(scope="module")
def reference(shared):
    """Google's own keypoints of the squatting man, float [17, 3]: x, y, score, 0..1 of the picture."""
    with (shared.stills / "squat_lightning_cpu_reference.csv").open() as file:
        return np.array([[float(r["keypoint_x"]), float(r["keypoint_y"]), float(r["keypoint_score"])] for r in csv.DictReader(file)])


def stretched(image):
    def fill(target):
        target[:] = cv2.resize(image, target.shape[:2], interpolation=cv2.INTER_LINEAR)

    return fill


def error(keypoints, reference):
    """Distance in shares of the picture: the largest and the mean."""
    away = np.hypot(*(keypoints[:, :2] - reference[:, :2]).T)
    return away.max(), away.mean()


def test_stock_output_and_heads_agree_with_googles_reference(shared, engine, reference):
    """Two runtimes differ by up to 7 pixels of 192 (0.036); the heads are at least as close as the stock output."""
    from edge_node.config.models import Model
    from edge_node.engine.cpu import open_cpu_engine

    path = str(shared.models / "movenet_single_pose_lightning_ptq.tflite")
    stock_engine = open_cpu_engine(Model(name=path, heads="stock", threads=1))
    fill = stretched(read_image(shared.stills / "squat.bmp"))
    try:
        stock = stock_engine.infer([fill], lambda output: decode(output, 0.1, 1))[0].result
    finally:
        stock_engine.close()
    heads = engine.infer([fill], lambda output: decode(output, 0.1, 1))[0].result
    stock_max, stock_mean = error(stock.keypoints[0], reference)
    heads_max, heads_mean = error(heads.keypoints[0], reference)
    assert stock_max < 0.037
    assert heads_max <= stock_max
    assert heads_mean <= stock_mean


def test_both_people_of_a_picture_are_found_also_from_a_weighted_centre(shared, engine):
    image = read_image(shared.stills / "two_people.bmp")
    height, width = image.shape[:2]
    square = placed(whole_frame(width, height), width, height, engine.input_size_px)

    def both(heads):
        weight = heads.centre.real(heads.centre.values[..., 0]) * engine.closeness
        weighted = Quantised((np.round(weight / 0.002044) - 128).astype(np.int8)[..., None], 0.002044, -128)
        as_edgetpu = Heads(weighted, heads.heatmap, heads.offset, heads.regression, centre_weighted=True, closeness=engine.closeness)
        return decode(heads, 0.3, 5), decode(as_edgetpu, 0.3, 5)

    plain, weighted = engine.infer([sampler(image, square)], both)[0].result
    with (shared.stills / "two_people_posenet_reference.csv").open() as file:
        rows = [(int(r["pose_id"]), float(r["keypoint_x"]), float(r["keypoint_y"])) for r in csv.DictReader(file)]
    for finds in (plain, weighted):
        found = to_frame(finds.keypoints, square)[..., :2] / (width, height)
        for person in (0, 1):
            truth = np.array([[x, y] for p, x, y in rows if p == person])
            assert min(np.median(np.hypot(*(f - truth).T)) for f in found) < 0.03
