import math

import numpy as np
import pytest

from edge_node.data import Pose
from edge_node.evaluate.coco import Annotation
from edge_node.evaluate.precision import average_precision
from edge_node.pose.similarity import pose_of
from edge_node.pose.skeleton import SIGMAS


def person(x: float = 100, crowd: bool = False, labelled: bool = True) -> Annotation:
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:, 0] = x + 10 * (np.arange(17) % 4)
    keypoints[:, 1] = 50 + 10 * np.arange(17)
    keypoints[:, 2] = 2 if labelled else 0
    return Annotation(keypoints, (x, 50, x + 40, 220), 10_000.0, crowd)


def pose(truth: Annotation, score: float = 0.9, off_px: float = 0.0) -> Pose:
    keypoints = truth.keypoints_px.copy()
    keypoints[:, 0] += off_px
    return pose_of(keypoints, score, 0.2)


def test_the_truth_itself_is_perfect():
    measured = average_precision([[person(), person(300)]], [[pose(person()), pose(person(300))]])
    assert (measured.people, measured.ap, measured.ap50, measured.ar) == (2, 1.0, 1.0, 1.0)


def test_nothing_found_is_zero():
    measured = average_precision([[person()]], [[]])
    assert (measured.people, measured.ap, measured.ar) == (1, 0.0, 0.0)


def test_half_of_the_people_found_is_about_half():
    measured = average_precision([[person()], [person()]], [[pose(person())], []])
    assert measured.ar == 0.5
    assert math.isclose(measured.ap, 51 / 101)  # precision is 1 at the 51 of 101 recall points up to 0.5


def test_an_offset_counts_by_its_oks():
    off = math.sqrt(2 * (2 * 0.089) ** 2 * 10_000) * 0.4
    oks = np.exp(-(off**2) / (2 * (2 * SIGMAS) ** 2 * 10_000)).mean()
    assert 0.5 < oks < 0.75
    measured = average_precision([[person()]], [[pose(person(), off_px=off)]])
    passed = sum(oks >= threshold for threshold in np.linspace(0.5, 0.95, 10))
    assert math.isclose(measured.ap, passed / 10)
    assert (measured.ap50, measured.ap75) == pytest.approx((1.0, 0.0))


def test_a_pose_on_a_crowd_or_on_somebody_unlabelled_is_no_mistake():
    truth = [person(), person(300, crowd=True), person(500, labelled=False)]
    found = [pose(person(300), 0.95), pose(person(500), 0.94), pose(person(), 0.9)]
    measured = average_precision([truth], [found])
    assert (measured.people, measured.ap) == (1, pytest.approx(1.0))


def test_a_ghost_with_the_best_score_costs():
    measured = average_precision([[person()]], [[pose(person(), 0.8), pose(person(400), 0.9)]])
    assert math.isclose(measured.ap, 0.5)


def test_nobody_to_find_is_no_figure():
    assert math.isnan(average_precision([[]], [[pose(person())]]).ap)
