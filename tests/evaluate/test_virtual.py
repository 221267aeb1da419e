import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.evaluate.coco import Annotation, AnnotationError, Picture
from edge_node.evaluate.virtual import FRAME_SIZE_PX, MOTIONS, View, VirtualCamera, virtual_cameras
from edge_node.evaluate.warp import moved, warped

DOTS = [(150, 120), (400, 130), (180, 300), (420, 290), (300, 200)]


@pytest.fixture
def picture(tmp_path):
    """A gray picture whose annotated joints are bright dots."""
    image = np.full((400, 560, 3), 60, np.uint8)
    keypoints = np.zeros((17, 3), np.float32)
    for index, (x, y) in enumerate(DOTS):
        cv2.circle(image, (x, y), 7, (250, 250, 250), -1, cv2.LINE_AA)
        keypoints[index] = (x + 0.5, y + 0.5, 2)  # the middle of that pixel
    cv2.imwrite(str(tmp_path / "dots.png"), image)
    return Picture(tmp_path / "dots.png", (Annotation(keypoints, (140, 110, 430, 310), 50_000.0, crowd=False),), (560, 400))


def centre_of_light(image: np.ndarray, x: float, y: float) -> tuple[float, float]:
    reach = 24
    left, top = int(x) - reach, int(y) - reach
    part = image[top : top + 2 * reach, left : left + 2 * reach, 0].astype(float)
    light = np.clip(part - 110, 0, None)
    ys, xs = np.mgrid[0 : part.shape[0], 0 : part.shape[1]]
    return left + (light * (xs + 0.5)).sum() / light.sum(), top + (light * (ys + 0.5)).sum() / light.sum()


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_the_truth_is_where_the_pixels_are_in_every_frame(picture, motion):
    checked = 0
    for frame in VirtualCamera([picture], motion, 40).frames():
        for x, y, v in frame.people[0].keypoints_px[:5]:
            if v and 30 < x < FRAME_SIZE_PX[0] - 30 and 30 < y < FRAME_SIZE_PX[1] - 30:
                assert centre_of_light(frame.image, x, y) == pytest.approx((x, y), abs=0.25)
                checked += 1
    assert checked > 100


@settings(deadline=None, max_examples=100)
@given(
    x=st.floats(0, 640),
    y=st.floats(0, 480),
    width=st.floats(100, 2000),
    roll=st.floats(-0.5, 0.5),
    point=st.tuples(st.floats(0, 640), st.floats(0, 480)),
)
def test_a_view_keeps_its_middle_its_shape_and_its_scale(x, y, width, roll, point):
    matrix = View(x, y, width, roll).affine()
    assert matrix @ (x, y, 1) == pytest.approx((FRAME_SIZE_PX[0] / 2, FRAME_SIZE_PX[1] / 2), abs=1e-6)
    scale = FRAME_SIZE_PX[0] / width
    px, py = point
    assert np.linalg.norm(matrix @ (px, py, 1) - matrix @ (x, y, 1)) == pytest.approx(scale * np.hypot(px - x, py - y), abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(width=st.floats(200, 1200), x=st.floats(0, 560), y=st.floats(0, 400))
def test_areas_scale_and_joints_outside_are_not_known(width, x, y):
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:5, :2] = DOTS
    keypoints[:5, 2] = 2
    person = moved(Annotation(keypoints, (140, 110, 430, 310), 50_000.0, crowd=False), View(x, y, width).affine(), 1, FRAME_SIZE_PX)
    assert person.area_px == pytest.approx(50_000 * (FRAME_SIZE_PX[0] / width) ** 2, rel=1e-5)
    inside = ((person.keypoints_px[:, :2] >= 0) & (person.keypoints_px[:, :2] < FRAME_SIZE_PX)).all(axis=1)
    assert not (person.known & ~inside).any()
    assert (person.known[:5] == inside[:5]).all()


def test_an_image_at_its_own_scale_passes_unchanged():
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    assert (warped(image, View(320, 240, 640).affine(), FRAME_SIZE_PX, cv2.BORDER_CONSTANT) == image).all()


def test_frames_are_the_same_each_time(picture):
    camera = VirtualCamera([picture], "shake", 3)
    for a, b in zip(camera.frames(), camera.frames(), strict=True):
        assert (a.image == b.image).all()
        assert (a.people[0].keypoints_px == b.people[0].keypoints_px).all()


def test_a_camera_at_rest_gives_no_two_equal_frames(picture):
    first, second = list(VirtualCamera([picture], "pan", 2).frames())
    assert (first.image != second.image).any()


def test_after_a_cut_nobody_is_who_they_were(picture):
    frames = list(VirtualCamera([picture, picture], "cuts", 60).frames())
    assert [index for index, frame in enumerate(frames) if frame.cut] == [0, 30]
    assert frames[29].people[0].id != frames[30].people[0].id


def test_cuts_show_each_picture_for_a_second_whatever_the_number_of_frames(picture):
    (cuts,) = virtual_cameras([picture, picture], ["cuts"], 7, alone=True)
    assert len(list(cuts.frames())) == 60
    (pan,) = virtual_cameras([picture], ["pan"], 7, alone=True)
    assert len(list(pan.frames())) == 7


def test_alone_takes_pictures_of_one_person_only(picture):
    two = Picture(picture.path, picture.people * 2, picture.size_px)
    assert len(virtual_cameras([picture, two], ["pan"], 5, alone=True)) == 1
    assert len(virtual_cameras([picture, two], ["pan"], 5, alone=False)) == 2
    with pytest.raises(AnnotationError, match="no picture shows exactly one person"):
        virtual_cameras([two], ["pan"], 5, alone=True)
