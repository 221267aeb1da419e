import json

import numpy as np
import pytest

from edge_node.pose.still import find_people, pose_in_box

from .conftest import read_image


@pytest.mark.parametrize("budget", [1, 4])
def test_both_people_of_a_picture_are_found_within_the_budget(shared, engine, budget):
    still = find_people(read_image(shared.stills / "two_people.bmp"), engine, budget)
    assert len(still.looks) <= budget
    assert still.poses[0].score >= still.poses[1].score > 0.3
    assert abs(still.poses[0].keypoints_px[0, 0] - still.poses[1].keypoints_px[0, 0]) > 20


def test_one_person_asked_for_is_one_person_given(shared, engine):
    still = find_people(read_image(shared.stills / "two_people.bmp"), engine, 2, max_people=1)
    assert len(still.poses) == 1


def test_looks_that_are_left_give_further_opinions_on_whoever_was_found(shared, engine):
    image = read_image(shared.stills / "squat.bmp")
    hurried, thorough = (find_people(image, engine, most, max_people=1) for most in (2, 9))
    assert len(thorough.looks) == len(hurried.looks) + 2
    sides = [look.region.side_px for look in thorough.looks[-3:]]
    assert sides == sorted(sides)
    away_px = np.hypot(*(thorough.poses[0].keypoints_px - hurried.poses[0].keypoints_px)[:, :2].T)
    assert 0 < np.median(away_px) < 0.05 * sides[0]


def test_a_given_box_gives_the_person_in_it(shared, engine):
    coco = json.loads((shared.coco / "person_keypoints.json").read_text())
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    large = sorted((a for a in coco["annotations"] if not a["iscrowd"] and a["num_keypoints"] >= 15), key=lambda a: -a["area"])[:6]
    away = []
    for person in large:
        x, y, width, height = person["bbox"]
        pose = pose_in_box(read_image(shared.coco / "images" / names[person["image_id"]]), engine, (x, y, x + width, y + height))
        truth = np.array(person["keypoints"]).reshape(17, 3)
        known = truth[:, 2] > 0
        away.append(np.median(np.hypot(*(pose.keypoints_px[known, :2] - truth[known, :2]).T)) / max(width, height))
    assert np.median(away) < 0.05


def test_an_empty_picture_holds_nobody_sure(engine):
    still = find_people(np.full((200, 300, 3), 128, np.uint8), engine, 4)
    assert all(pose.score < 0.2 for pose in still.poses)
    assert pose_in_box(np.zeros((50, 50, 3), np.uint8), engine, (10, 10, 10, 10)).score < 0.2
