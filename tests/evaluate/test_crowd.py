from dataclasses import replace

import numpy as np
import pytest

from edge_node.evaluate.coco import AnnotationError, read_coco
from edge_node.evaluate.crowd import SIZE_PX, Crowd
from edge_node.evaluate.drawn import DrawnScene


@pytest.fixture(scope="module")
def crowd(shared):
    return Crowd(read_coco(shared.coco).pictures, figures=4, frames=46, seed=0)


@pytest.fixture(scope="module")
def frames(crowd):
    return list(crowd.frames())


def test_everyone_is_in_every_frame_under_one_identity(frames):
    assert len(frames) == 46
    assert all([person.id for person in frame.people] == [1, 2, 3, 4] for frame in frames)
    assert all(frame.image.shape == (SIZE_PX[1], SIZE_PX[0], 3) for frame in frames)


def test_people_cross_and_hide_one_another(frames):
    hidden = [int((person.keypoints_px[:, 2] == 1).sum()) for frame in frames for person in frame.people]
    assert max(hidden) > min(hidden)
    orders = {tuple(np.argsort([person.box_px[0] for person in frame.people])) for frame in frames}
    assert len(orders) > 1


def test_the_nearest_is_hidden_by_nobody(crowd, frames):
    first = crowd._people[-1].person.keypoints_px[:, 2]
    for frame in frames:
        assert ((frame.people[-1].keypoints_px[:, 2] == 1) <= (first == 1)).all()


def test_a_crowd_larger_than_the_pictures_give_is_refused(shared):
    with pytest.raises(
        AnnotationError, match=r"a crowd of 6 needs as many people who stand alone, upright and whole; the pictures show [0-5]$"
    ):
        Crowd(read_coco(shared.coco).pictures[:8], figures=6, frames=5, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"box_px": (0.0, 0.0, 1e5, 1e9)},
        {"box_px": (100.0, 0.0, 100.0, 400.0)},
        {"keypoints_px": np.tile(np.array([1e9, 1e9, 2], np.float32), (17, 1))},
    ],
)
def test_people_annotated_elsewhere_than_in_their_picture_are_not_cut_out(shared, wrong):
    def spoilt(picture):
        return replace(picture, people=tuple(replace(person, **wrong) for person in picture.people))

    with pytest.raises(AnnotationError, match="the pictures show 0"):
        Crowd([spoilt(picture) for picture in read_coco(shared.coco).pictures[:8]], figures=1, frames=5, seed=0)


def test_the_drawn_scene_tells_hidden_joints_from_those_out_of_the_picture():
    seen = np.concatenate([person.keypoints_px for frame in DrawnScene(3, 120).frames() for person in frame.people])
    inside = ((seen[:, :2] >= 0) & (seen[:, :2] < (640, 480))).all(axis=1)
    assert (seen[~inside, 2] == 0).all()
    assert set(np.unique(seen[inside, 2])) == {1, 2}
