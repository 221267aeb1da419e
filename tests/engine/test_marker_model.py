"""The built-in model finds the marked joints of drawn figures to a fraction of a pixel, by heads and by stock output."""

import os
from pathlib import Path

import numpy as np
import pytest

import edge_node.engine
from edge_node.camera.figures import Scene
from edge_node.config.models import Model
from edge_node.data import Region
from edge_node.engine.cpu import open_cpu_engine
from edge_node.pose.movenet import decode
from edge_node.pose.region import placed, sampler, to_frame
from edge_node.pose.still import find_people

RUNTIME = os.environ.get("EDGE_NODE_TEST_RUNTIME", "auto")
"""scripts/test runs these tests once more with tflite-runtime."""

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def engine():
    engine = open_cpu_engine(Model(name="marker", runtime=RUNTIME, threads=1))
    yield engine
    engine.close()


def pictures(people, times):
    scene = Scene(WIDTH, HEIGHT, people=people)
    for t_s in times:
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        scene.render(t_s, image)
        yield image, scene.truth(t_s)


def wholly_visible(figures):
    return [figure for figure in figures if figure.keypoints_px[:, 2].all()]


def square_around(figure) -> Region:
    x0, y0, x1, y1 = figure.box_px
    side = 1.25 * max(x1 - x0, y1 - y0)
    return Region((x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side)


def errors_px(keypoints_px, figure, region: Region):
    """Distance of each joint from the truth, in pixels of the 192 square."""
    return np.linalg.norm(keypoints_px[:, :2] - figure.keypoints_px[:, :2], axis=1) / region.side_px * 192


@pytest.mark.parametrize("heads", ["auto", "stock"])
def test_every_joint_of_a_figure_is_within_a_pixel_of_the_truth(heads):
    engine = open_cpu_engine(Model(name="marker", runtime=RUNTIME, threads=1, heads=heads))
    worst, seen = 0.0, 0
    for image, truth in pictures(1, np.arange(0, 30, 0.4)):
        for figure in wholly_visible(truth):
            region = square_around(figure)
            place = placed(region, WIDTH, HEIGHT, engine.input_size_px)
            (inference,) = engine.infer([sampler(image, place)], lambda output: decode(output, 0.15, 3))
            keypoints = inference.result.keypoints[0]
            worst = max(worst, errors_px(to_frame(keypoints, place), figure, region).max())
            seen += 1
            assert keypoints[:, 2].min() > 0.5
    engine.close()
    assert seen > 10
    assert worst < 1.0


def test_several_figures_are_told_apart_unless_they_cross(engine):
    found = 0
    figures = 0
    for image, truth in pictures(3, np.arange(0, 60, 1.5)):
        poses = find_people(image, engine, max_inferences=6).poses
        for figure in wholly_visible(truth):
            figures += 1
            distances = [np.abs(pose.keypoints_px[:, :2] - figure.keypoints_px[:, :2]).max() for pose in poses]
            found += min(distances, default=np.inf) < 3
    assert figures > 15
    assert found >= 0.85 * figures  # the marks of figures that overlap belong to either


def test_an_empty_scene_shows_nobody(engine):
    backdrop = Scene(WIDTH, HEIGHT, people=1)
    empty = next(t for t in np.arange(0, 60, 0.5) if not backdrop.truth(t))
    ((image, _),) = pictures(1, [empty])
    assert find_people(image, engine, max_inferences=1).poses == ()


def test_the_file_is_what_its_source_builds():
    marker_model = pytest.importorskip(
        "edge_node.engine.marker_model", reason="LiteRT's schema is needed to build it", exc_type=ImportError
    )
    committed = Path(edge_node.engine.__file__).with_name("marker.tflite").read_bytes()
    assert marker_model.build() == committed, "run: python -m edge_node.engine.marker_model"


def test_it_needs_no_file_and_runs_on_the_cpu_only():
    from edge_node.errors import ModelError
    from edge_node.models import find_model

    found = find_model("marker", None)
    assert found.path is None
    with pytest.raises(ModelError, match="CPU only"):
        find_model("marker", None, "edgetpu")
