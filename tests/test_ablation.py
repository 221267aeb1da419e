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
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import read_image
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.pose.still import find_people, pose_in_box
from tests.pose.conftest import clip


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


@pytest.fixture(scope="module")
def pictures(shared):
    return [read_image(path) for path in sorted((shared.coco / "images").glob("*.jpg"))[:3]]


@pytest.fixture(scope="module")
def frames(shared):
    return list(clip(shared.clips / "people_one_by_one.mp4", first=140, last=185))


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


def found(pictures, engine):
    """Everything that tells one way of looking at stills from another."""
    stills = [find_people(picture, engine, 9) for picture in pictures]
    return [(look.region, [(pose.score, pose.keypoints_px.tolist()) for pose in still.poses]) for still in stills for look in still.looks]


@pytest.mark.parametrize("name", ablation.PEOPLE)
def test_each_decision_about_squares_changes_who_is_found_and_is_taken_again(pictures, engine, name):
    shipped = found(pictures, engine)
    with ablation.PEOPLE[name]():
        other = found(pictures, engine)
    assert (other == shipped) == (name == "as shipped")
    assert found(pictures, engine) == shipped


def followed(frames, engine, **keys):
    estimator = Estimator(engine, Settings(partial(override, Config(), {"pose.max_people": 1, **keys})), Health())
    return [[person.keypoints.tolist() for person in estimator.process(frame).people] for frame in frames]


@pytest.mark.parametrize("name", ablation.SEQUENCE)
def test_each_decision_about_following_changes_the_joints_and_is_taken_again(frames, engine, name):
    shipped = followed(frames, engine)
    assert all(len(people) == 1 for people in shipped)
    with ablation.SEQUENCE[name]():
        other = followed(frames, engine, **{"smoothing.enabled": name != "smoothing off"})
    assert (other == shipped) == (name == "as shipped")
    assert followed(frames, engine) == shipped
