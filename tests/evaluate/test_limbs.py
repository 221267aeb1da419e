import cv2
import numpy as np
import pytest

from edge_node.evaluate.limbs import Limbs
from edge_node.pose.skeleton import INDEX

JOINTS = {
    "nose": (150, 40), "left_shoulder": (190, 90), "right_shoulder": (110, 90), "left_elbow": (215, 150), "right_elbow": (85, 150),
    "left_wrist": (225, 210), "right_wrist": (75, 210), "left_hip": (175, 220), "right_hip": (125, 220), "left_knee": (185, 300),
    "right_knee": (115, 300), "left_ankle": (185, 375), "right_ankle": (115, 375),
}  # fmt: skip
MOVING = ("left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_knee", "right_knee", "left_ankle", "right_ankle")


def keypoints() -> np.ndarray:
    placed = np.zeros((17, 3), np.float32)
    for name, (x, y) in JOINTS.items():
        placed[INDEX[name]] = (x + 0.5, y + 0.5, 2)  # the middle of that pixel
    return placed


def test_bones_keep_their_lengths():
    limbs = Limbs(keypoints(), (300, 420), 1.2)
    for t_s in (0.1, 0.3, 0.7):
        moved = limbs.keypoints(t_s)
        for a, b in (
            ("left_shoulder", "left_elbow"),
            ("left_elbow", "left_wrist"),
            ("right_hip", "right_knee"),
            ("right_knee", "right_ankle"),
        ):
            lengths = [np.linalg.norm(k[INDEX[a], :2] - k[INDEX[b], :2]) for k in (keypoints(), moved)]
            assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)


def test_the_trunk_stays_and_the_limbs_move():
    moved = Limbs(keypoints(), (300, 420), 1.2).keypoints(0.3)
    way = np.linalg.norm(moved[:, :2] - keypoints()[:, :2], axis=1)
    assert all(way[INDEX[name]] > 5 for name in MOVING)
    assert all(way[INDEX[name]] == 0 for name in ("nose", "left_hip", "right_shoulder"))


@pytest.mark.parametrize(("t_s", "names"), [(0.15, MOVING), (0.3, (*MOVING[:2], *MOVING[4:])), (0.9, MOVING[:6])])
def test_the_pixels_of_a_joint_go_where_its_truth_goes(t_s, names):
    """Where no limb lies over another: wrists reach the hips at 0.3 s, ankles each other at 0.9 s."""
    limbs = Limbs(keypoints(), (300, 420), 1.2)
    for name in names:
        image = np.zeros((420, 300, 3), np.uint8)
        x, y = JOINTS[name]
        cv2.circle(image, (x, y), 4, (255, 255, 255), -1, cv2.LINE_AA)
        drawn, _ = limbs.drawn(image, np.ones((420, 300), np.float32), t_s)
        light = drawn[:, :, 0].astype(float)
        ys, xs = np.mgrid[0:420, 0:300] + 0.5
        centre = ((light * xs).sum() / light.sum(), (light * ys).sum() / light.sum())
        assert np.hypot(*(limbs.keypoints(t_s)[INDEX[name], :2] - centre)) < 2


def test_at_rest_the_picture_is_as_it_was():
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (420, 300, 3), dtype=np.uint8), (0, 0), 3)
    drawn, opacity = Limbs(keypoints(), (300, 420), 1.2).drawn(image, np.ones((420, 300), np.float32), 0.0)
    assert np.abs(drawn.astype(int) - image).max() <= 1
    assert (opacity == 1).all()
