from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest

from edge_node.config.load import override
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import Frame
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.pose.still import MAX_INFERENCES, find_people
from edge_node.pose.tracking import APPEAR_SCORE

from .conftest import clip, estimator, followed, identities, read_image


def test_one_person_keeps_one_identity_through_a_dance(shared, engine):
    people = followed(engine, clip(shared.clips / "dance.mp4", step=2), **{"pose.max_people": 1})
    assert identities(people) == {1}
    assert all(frame.people for frame in people)  # also in the very first frame


def test_one_person_costs_one_inference_a_frame_and_one_more_to_be_right_at_once(shared, engine):
    people = followed(engine, clip(shared.clips / "dance.mp4", last=30), **{"pose.max_people": 1})
    assert identities(people) == {1}
    assert [len(frame.regions) for frame in people] == [2] + 29 * [1]


def test_whoever_fills_the_picture_needs_no_closer_look(shared, engine):
    frames = [replace(f, image=np.ascontiguousarray(f.image[300:1080])) for f in clip(shared.clips / "squats.mp4", last=5)]
    people = followed(engine, iter(frames), **{"pose.max_people": 1})
    assert all(frame.people for frame in people)
    assert [len(frame.regions) for frame in people] == 5 * [1]


def test_whoever_is_followed_is_looked_at_once_beside_the_scan(shared, engine):
    people = followed(engine, clip(shared.clips / "dance.mp4", last=10), **{"pose.max_people": 3})
    assert [len(frame.regions) for frame in people] == 10 * [2]


@pytest.mark.parametrize("keys", [{"pose.max_people": 1}, {"pose.max_people": 3, "pose.max_inferences": 2}])
def test_the_first_pose_is_as_good_as_the_next(shared, engine, keys):
    """The same picture again and again: from the second time on it is looked at in a square around the joints."""
    frame = next(clip(shared.clips / "dance.mp4"))
    still = [replace(frame, seq=number, media_ns=number * 33_000_000) for number in range(4)]
    first, *_, last = followed(engine, iter(still), **keys)
    rough, *_ = followed(engine, iter(still), **{**keys, "pose.max_inferences": 1})
    size = np.ptp(last.people[0].keypoints[:, :2], axis=0).max()
    off, off_roughly = (np.abs(f.people[0].keypoints - last.people[0].keypoints)[:, :2].max() / size for f in (first, rough))
    assert off < 0.02
    assert off_roughly > 0.08


def test_everyone_who_comes_is_looked_at_closer_as_far_as_the_budget_goes(shared, engine):
    image = read_image(shared.stills / "two_people.bmp")
    frame = Frame(cv2.copyMakeBorder(image, 200, 200, 200, 200, cv2.BORDER_REPLICATE), 0, 0, 0, 0.0)
    for most, looks in ((0, 3), (1, 1), (2, 2), (9, 3)):
        (people,) = followed(engine, iter([frame]), **{"pose.max_people": 4, "pose.max_inferences": most})
        assert len(people.people) == 2
        assert len(people.regions) == looks


@pytest.mark.parametrize(("every_core", "order"), [(False, ["next", "sampled"]), (True, ["sampled", "next"])])
def test_the_next_frame_is_prepared_beside_the_model_or_once_it_has_run(shared, engine, every_core, order):
    happened = []

    class Recorded:
        takes_every_core = every_core

        def __getattr__(self, name):
            return getattr(engine, name)

        def infer(self, fills, decode):
            return engine.infer([lambda view, fill=fill: (happened.append("sampled"), fill(view)) for fill in fills], decode)

    node = Estimator(Recorded(), Settings(Config), Health(), prepare_next=lambda: happened.append("next"))
    node.process(next(clip(shared.clips / "squats.mp4")))
    assert happened[:2] == order


@pytest.mark.parametrize(
    ("step", "dark", "told"),
    [(1, (6,), [True]), (1, (6, 7, 8), [True, True, False]), (3, (6, 7), [True, False])],
)
def test_a_blink_of_the_model_is_bridged_and_marked_but_nothing_longer(shared, engine, step, dark, told):
    """The clip has 30 frames a second: two of them, or one of every third, are a blink."""
    frames = [
        replace(f, image=np.zeros_like(f.image)) if number in dark else f
        for number, f in enumerate(clip(shared.clips / "dance.mp4", last=13 * step, step=step))
    ]
    people = followed(engine, iter(frames), **{"pose.max_people": 1})
    assert [bool(people[number].people) for number in dark] == told
    assert people[6].people[0].predicted
    assert identities(people) == {1}
    assert people[12].people


def test_passers_by_get_one_identity_each_and_an_empty_room_gets_none(shared, engine):
    """Frames 180 to 260: one leaves to the right (197), nobody (to 229), another comes in from below."""
    people = followed(engine, clip(shared.clips / "people_one_by_one.mp4", first=180, last=260), **{"pose.max_people": 1})
    by_frame = [[p.id for p in frame.people] for frame in people]
    assert by_frame[5] == [1]
    assert by_frame[-1] == [2]
    assert not any(by_frame[205 - 180 : 229 - 180])


def test_two_people_keep_their_identities_and_their_places(shared, engine):
    """From frame 60 on: one jumps on the left, the other walks on the right."""
    people = followed(engine, clip(shared.clips / "two_people_jumping.mp4", first=60, last=84), **{"pose.max_people": 4})
    assert identities(people) == {1, 2}
    for frame in people[-10:]:
        assert len(frame.people) == 2
        left, right = sorted(frame.people, key=lambda p: p.box[0])
        assert left.box[2] < 0.5 < right.box[0]
    assert len({tuple(p.id for p in sorted(f.people, key=lambda p: p.box[0])) for f in people[-10:]}) == 1


def test_with_one_person_asked_for_the_other_is_left_alone(shared, engine):
    people = followed(engine, clip(shared.clips / "two_people_jumping.mp4", first=60, last=100, step=2), **{"pose.max_people": 1})
    assert identities(people) == {1}
    middles = [p.box[0] + p.box[2] for frame in people for p in frame.people]
    assert np.abs(np.diff(middles)).max() < 0.2


def test_with_fewer_inferences_than_people_they_take_turns_and_are_predicted_between(shared, engine):
    keys = {"pose.max_people": 4, "pose.max_inferences": 1}
    people = followed(engine, clip(shared.clips / "two_people_jumping.mp4", first=60, last=84), **keys)
    assert all(len(frame.regions) == 1 for frame in people)
    late = [frame for frame in people[-12:] if len(frame.people) == 2]
    assert len(late) >= 9
    for number in (1, 2):
        assert 0 < sum(p.predicted for frame in late for p in frame.people if p.id == number) < len(late)


def test_no_more_inferences_than_allowed(shared, engine):
    keys = {"pose.max_people": 6, "pose.max_inferences": 2}
    people = followed(engine, clip(shared.clips / "two_people_jumping.mp4", first=60, last=70), **keys)
    assert max(len(frame.regions) for frame in people) == 2


def test_the_same_frames_give_the_same_people(shared, engine):
    first, second = (followed(engine, clip(shared.clips / "squats.mp4", last=8)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.regions == b.regions
        for p, q in zip(a.people, b.people, strict=True):
            np.testing.assert_array_equal(p.keypoints, q.keypoints)


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (480, 640)])
def test_frames_without_anybody_and_of_odd_shapes_give_nobody(engine, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    people = followed(engine, (Frame(image, i, i * 10**8, i * 10**8, 0.0) for i in range(1, 6)))
    assert not identities(people)


def test_what_is_said_about_a_frame_is_the_frames_own(shared, engine):
    frame = next(clip(shared.clips / "squats.mp4", first=3))
    people = estimator(engine).process(frame)
    assert (people.seq, people.media_ns, people.width_px, people.height_px) == (3, frame.media_ns, 720, 1280)
    assert set(people.stage_ms) == {"sample", "invoke", "decode", "track", "smooth"}
    assert people.accelerator == "cpu"
    (person,) = people.people
    assert person.keypoints.shape == (17, 3)
    assert all(0 <= edge <= 1 for edge in person.box)
    assert 0 <= person.score <= 1


def test_everyone_in_a_still_is_told_of_at_once(shared, engine):
    """A picture of a group: with one look, as at a frame of a camera, nobody is sure yet."""
    image = read_image(shared.coco / "images" / "000000001000.jpg")
    (frame,) = followed(engine, iter([Frame(image, 0, 0, 0, 0.0, still=True)]), **{"pose.max_people": 8})
    sure = [pose for pose in find_people(image, engine, MAX_INFERENCES, 8).poses if pose.score >= APPEAR_SCORE]
    assert len(sure) >= 2
    assert [person.id for person in frame.people] == list(range(1, len(sure) + 1))
    for person, pose in zip(frame.people, sure, strict=True):
        assert person.keypoints[:, :2] * (frame.width_px, frame.height_px) == pytest.approx(pose.keypoints_px[:, :2], abs=1e-3)
        assert not person.predicted
    assert len(frame.regions) <= MAX_INFERENCES
    assert frame.stage_ms["invoke"] > 0


def test_of_a_still_no_more_people_and_inferences_than_asked_for(shared, engine):
    image = read_image(shared.coco / "images" / "000000001000.jpg")
    (frame,) = followed(engine, iter([Frame(image, 0, 0, 0, 0.0, still=True)]), **{"pose.max_people": 1, "pose.max_inferences": 2})
    assert len(frame.people) == 1
    assert len(frame.regions) <= 2


def test_when_fewer_people_are_asked_for_the_others_are_let_go(shared, engine):
    settings = Settings(lambda: override(Config(), {"pose.max_people": 4}))
    node = Estimator(engine, settings, Health())
    frames = clip(shared.clips / "two_people_jumping.mp4", first=60, last=90)
    before = [node.process(frame) for frame in islice(frames, 15)][-1]
    assert {person.id for person in before.people} == {1, 2}
    settings.set("pose.max_people", 1)
    after = [node.process(frame) for frame in frames]
    assert {person.id for frame in after for person in frame.people} == {1}
    assert all(len(frame.regions) == 1 for frame in after[1:])


def test_people_of_a_picture_of_another_size_are_not_looked_for_in_this_one(shared, engine):
    """A camera that came back in another mode, or a folder of pictures of all sizes."""
    frames = list(clip(shared.clips / "dance.mp4", last=20))
    grey = [replace(frame, image=np.full((60, 80, 3), 127, np.uint8)) for frame in frames[18:]]
    people = followed(engine, iter([*frames[:18], *grey]), **{"pose.max_people": 1})
    assert people[17].people
    assert not any(frame.people for frame in people[18:])
    again = followed(engine, iter([*frames[:10], *(replace(f, image=f.image[:-8]) for f in frames[10:])]), **{"pose.max_people": 1})
    assert identities(again) == {1, 2}


def test_in_a_still_as_in_a_frame_it_is_for_the_settings_to_say_which_joints_count(shared, engine):
    image = read_image(shared.coco / "images" / "000000001000.jpg")
    still = [Frame(image, 0, 0, 0, 0.0, still=True)]
    (usual,) = followed(engine, iter(still), **{"pose.max_people": 8})
    (strict,) = followed(engine, iter(still), **{"pose.max_people": 8, "pose.score_threshold": 0.5})
    assert [p.score for p in strict.people] != [p.score for p in usual.people]
