"""benchmarks/ablation.py: every decision can still be taken back, and doing so changes what is found."""

import importlib.util
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_node.config.load import override
from edge_node.config.models import Config, Model
from edge_node.config.settings import Settings
from edge_node.data import Frame
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import read_image
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.pose.still import find_people, pose_in_box


def load() -> ModuleType:
    path = Path(__file__).parents[1] / "benchmarks" / "ablation.py"
    spec = importlib.util.spec_from_file_location("ablation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ablation = load()


@pytest.fixture(scope="module")
def engine(shared):
    engine = open_cpu_engine(Model(name=str(shared.models / "movenet_single_pose_lightning_ptq.tflite"), threads=1))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def picture(shared):
    return read_image(shared.stills / "two_people.bmp")


@pytest.mark.parametrize("name", ablation.BOXES)
def test_each_decision_about_a_given_box_changes_its_person_and_is_taken_again(picture, engine, name):
    height_px, width_px = picture.shape[:2]
    box_px = (0.0, 0.0, width_px / 2, float(height_px))
    shipped = pose_in_box(picture, engine, box_px)
    with ablation.BOXES[name]():
        other = pose_in_box(picture, engine, box_px)
    assert shipped.score > 0.2
    assert other.score > 0.2
    same = np.array_equal(other.keypoints_px, shipped.keypoints_px) and other.score == shipped.score
    assert same == (name == "as shipped")
    assert np.array_equal(pose_in_box(picture, engine, box_px).keypoints_px, shipped.keypoints_px)


@pytest.mark.parametrize("name", ablation.PEOPLE)
def test_both_people_are_found_with_each_decision_about_squares_taken_back(picture, engine, name):
    with ablation.PEOPLE[name]():
        assert sum(pose.score > 0.2 for pose in find_people(picture, engine, 4).poses) >= 2


@pytest.mark.parametrize("name", ablation.SEQUENCE)
def test_somebody_is_followed_with_each_decision_about_following_taken_back(picture, engine, name):
    settings = Settings(partial(override, Config(), {"pose.max_people": 1}))
    with ablation.SEQUENCE[name]():
        estimator = Estimator(engine, settings, Health())
        frames = [Frame(picture, number, number * 33_000_000, number * 33_000_000, number / 30) for number in range(1, 6)]
        assert [len(estimator.process(frame).people) for frame in frames] == [1] * 5
