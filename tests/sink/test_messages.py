import json
import math
from dataclasses import replace

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import TypeAdapter

from edge_node.data import People, Person
from edge_node.pose.skeleton import KEYPOINTS
from edge_node.sink import messages


def people_of(*persons, captured_ns=1_000_000_000):
    return People(7, captured_ns, captured_ns, 1_700_000_000.25, 640, 480, "cpu", persons)


def person_of(keypoints):
    return Person(3, 0.87654, (0.1, 0.2, 0.33333, 1.0), np.asarray(keypoints, np.float32))


def test_a_pose_message_is_what_the_documentation_says():
    keypoints = np.tile(np.float32([0.123456, 0.5, 0.9]), (17, 1))
    text = messages.encode_pose(people_of(person_of(keypoints)), now_ns=1_012_340_000)
    assert json.loads(text) == {
        "v": 1,
        "seq": 7,
        "ts": 1_700_000_000.25,
        "age_ms": 12.3,
        "accelerator": "cpu",
        "width": 640,
        "height": 480,
        "people": [{"id": 3, "score": 0.8765, "box": [0.1, 0.2, 0.3333, 1.0], "keypoints": [0.1235, 0.5, 0.9] * 17}],
    }


def test_whoever_is_carried_on_by_their_motion_is_marked_and_nothing_else_changes():
    seen = person_of(np.full((17, 3), 0.5))
    marked = messages.pose(people_of(replace(seen, predicted=True)), now_ns=0)["people"][0]
    assert marked.pop("predicted") is True
    assert marked == messages.pose(people_of(seen), now_ns=0)["people"][0]


def test_a_frame_without_anyone_has_an_empty_list():
    assert orjson.loads(messages.encode_pose(people_of()))["people"] == []


def test_one_person_takes_about_400_bytes():
    rng = np.random.default_rng(1)
    one = len(messages.encode_pose(people_of(person_of(rng.random((17, 3))))))
    none = len(messages.encode_pose(people_of()))
    assert one - none < 450


def test_named_keypoints_carry_the_same_numbers():
    keypoints = np.random.default_rng(2).random((17, 3))
    flat = messages.pose(people_of(person_of(keypoints)), "flat", 0)["people"][0]["keypoints"]
    named = messages.pose(people_of(person_of(keypoints)), "named", 0)["people"][0]["keypoints"]
    assert [k["name"] for k in named] == list(KEYPOINTS)
    assert [k[c] for k in named for c in ("x", "y", "score")] == flat


@given(hnp.arrays(np.float32, (17, 3), elements=st.floats(-2, 3, width=32)))
def test_every_number_has_at_most_four_decimals_and_stays_within_half_of_the_last(keypoints):
    text = messages.encode_pose(people_of(person_of(keypoints)))
    numbers = json.loads(text, parse_float=str)["people"][0]["keypoints"]
    assert all("e" in n or len(n.partition(".")[2]) <= 4 for n in numbers)
    assert all(math.isclose(float(n), k, abs_tol=5.1e-5) for n, k in zip(numbers, keypoints.ravel(), strict=True))


def test_both_layouts_conform_to_the_declared_type():
    keypoints = np.random.default_rng(3).random((17, 3))
    for layout in ("flat", "named"):
        TypeAdapter(messages.Pose).validate_json(messages.encode_pose(people_of(person_of(keypoints)), layout), strict=True)


def test_every_payload_has_a_json_schema():
    for name, kind in messages.PAYLOADS.items():
        assert TypeAdapter(kind).json_schema(), name
