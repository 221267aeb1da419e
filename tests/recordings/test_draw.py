"""Drawn skeletons are where the poses say."""

import numpy as np

from edge_node.data import Person
from edge_node.pose.skeleton import INDEX
from edge_node.recordings.draw import black, colour_of, draw_people


def person(identity=1, score=0.9):
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[INDEX["left_shoulder"]] = (0.25, 0.25, score)
    keypoints[INDEX["left_elbow"]] = (0.75, 0.25, score)
    keypoints[INDEX["left_wrist"]] = (0.75, 0.75, 0.1)
    return Person(identity, 0.9, (0.25, 0.25, 0.75, 0.75), keypoints)


def drawn(*people, **options):
    image = black(400, 400)
    draw_people(image, people, labels=False, **options)
    return image


def test_a_limb_has_the_persons_colour_and_joints_are_white():
    image = drawn(person())
    assert tuple(image[99, 200]) == colour_of(1)
    assert tuple(image[99, 99]) == tuple(image[99, 299]) == (255, 255, 255)


def test_a_joint_below_the_threshold_and_its_limb_are_left_out():
    image = drawn(person())
    assert not image[150:, :].any()
    assert drawn(person(), score_threshold=0.05)[150:, :].any()
    assert not drawn(person(score=0.15)).any()


def test_identities_have_colours_that_differ():
    colours = np.array([colour_of(identity) for identity in range(1, 9)], int)
    apart = np.abs(colours[:, None] - colours[None]).sum(axis=2) + 1000 * np.eye(8, dtype=int)
    assert apart.min() > 60


def test_what_lies_outside_the_picture_does_no_harm():
    far = person()
    far.keypoints[:, :2] = (1e6, -1e6)
    assert not drawn(far).any()
