import threading
import time
from dataclasses import replace

import pytest

from edge_node.config.models import Mqtt
from edge_node.data import People
from edge_node.health import Health
from edge_node.sink import mqtt_poses
from edge_node.sink.mqtt_poses import WINDOW, EveryPose, NewestPose, PosePolicy
from tests.sink.parts import person

FPS = 30


def frame(seq, *persons):
    media_ns = round(seq * 1e9 / FPS)
    return People(seq, time.monotonic_ns(), media_ns, media_ns / 1e9, 640, 480, "cpu", persons)


class Line:
    """Stands where a ``Session`` stands: notes probes, and what was sent."""

    def __init__(self):
        self.probes = 0
        self.sent = []

    def probe(self):
        self.probes += 1

    def publish(self, message):
        self.sent.append(message)


def numbered(people):
    """Stands for making the message: it is its number."""
    return people.seq


def published(config, frames):
    policy = PosePolicy()
    return [people.seq for people in frames if policy.wants(people, config)]


# ---- which frames


def test_by_default_every_frame_is_published_also_empty_ones():
    assert published(Mqtt(), [frame(n) for n in range(30)]) == list(range(30))


@pytest.mark.parametrize("rate_hz", [5, 10, 12, 20, 30, 60])
def test_the_mean_rate_is_the_one_asked_for_whatever_the_frame_rate(rate_hz):
    frames = [frame(n, person(1)) for n in range(30 * FPS)]
    assert len(published(Mqtt(max_rate_hz=rate_hz), frames)) == pytest.approx(30 * min(rate_hz, FPS), rel=0.02)


def test_an_empty_scene_is_published_less_often_and_a_newcomer_at_once():
    frames = [frame(n, *([person(1)] if n >= 45 else [])) for n in range(60)]
    assert published(Mqtt(empty_rate_hz=1), frames) == [0, 30, *range(45, 60)]


def test_the_first_empty_frame_is_published_at_once():
    frames = [frame(n, *([person(1)] if n < 10 else [])) for n in range(20)]
    assert published(Mqtt(empty_rate_hz=0.5), frames) == list(range(11))


def test_on_change_only_what_moves_comes_or_goes_is_published():
    still, moved = person(1), person(1, shift=0.02)
    frames = [frame(0), frame(1), frame(2, still), frame(3, still), frame(4, moved), frame(5, moved), frame(6)]
    assert published(Mqtt(on_change=True), frames) == [0, 2, 4, 6]


def test_on_change_slow_motion_adds_up():
    frames = [frame(n, person(1, shift=0.001 * n)) for n in range(30)]
    assert 3 <= len(published(Mqtt(on_change=True), frames)) <= 7


def test_on_change_what_may_not_have_arrived_is_followed_by_one_message_more_within_the_rate():
    policy, config = PosePolicy(), Mqtt(on_change=True, max_rate_hz=10)
    assert [policy.wants(frame(n), config) for n in range(2)] == [True, False]
    policy.missed()
    assert [policy.wants(frame(n), config) for n in range(2, 9)] == [False, True, *[False] * 5]


def test_without_poses_nothing_is_published():
    assert published(Mqtt(pose=False), [frame(n) for n in range(5)]) == []


# ---- newest wins


def test_a_pose_goes_out_only_when_the_broker_has_just_answered():
    line, health = Line(), Health()
    lane = NewestPose(numbered, health, expiry_s=5)
    lane.attach(line)
    lane.offer(frame(0), 0)
    assert (line.sent, line.probes) == ([], 1)
    lane.answered(line)
    assert line.sent == [0]


def test_while_the_broker_is_silent_the_newest_replaces_the_held_one_and_the_loss_is_counted():
    line, health = Line(), Health()
    lane = NewestPose(numbered, health, expiry_s=5)
    lane.attach(line)
    for seq in range(100):
        lane.offer(frame(seq), 0)
    assert (line.sent, line.probes) == ([], 1)
    lane.answered(line)
    assert line.sent == [99]
    assert health.report().counters == {"mqtt_dropped": 99}


def test_the_message_is_made_while_the_broker_answers_and_only_once():
    line, made = Line(), []
    lane = NewestPose(lambda people: made.append(people.seq) or people.seq, Health(), expiry_s=5)
    lane.attach(line)
    for seq in (1, 2):
        lane.offer(frame(seq), 0)
        lane.settle(0)
    assert (made, line.sent) == ([1, 2], [])
    lane.answered(line)
    assert (made, line.sent) == ([1, 2], [2])


def test_an_answer_grows_stale(monkeypatch):
    monkeypatch.setattr(mqtt_poses, "FRESH_NS", 0)
    line = Line()
    lane = NewestPose(numbered, Health(), expiry_s=5)
    lane.attach(line)
    lane.offer(frame(0), 0)
    time.sleep(0.05)
    lane.answered(line)  # a round trip of 50 ms: good for 100 ms, and the next question is under way
    assert (line.sent, line.probes) == ([0], 2)
    lane.offer(frame(1), 0)
    assert line.sent == [0, 1]
    time.sleep(0.2)
    lane.offer(frame(2), 0)
    assert line.sent == [0, 1]


def test_an_answer_of_a_former_connection_does_not_count():
    old, new = Line(), Line()
    lane = NewestPose(numbered, Health(), expiry_s=5)
    lane.attach(old)
    lane.offer(frame(0), 0)
    lane.attach(new)
    lane.answered(old)
    assert new.sent == []
    lane.answered(new)
    assert new.sent == [0]


def test_a_held_pose_that_is_too_old_is_thrown_away_and_told():
    line, health, expired = Line(), Health(), []
    lane = NewestPose(numbered, health, 5, lambda: expired.append(True))
    lane.attach(line)
    lane.offer(replace(frame(0), captured_ns=time.monotonic_ns() - 6_000_000_000), 0)
    lane.answered(line)
    assert line.sent == []
    assert expired == [True]
    assert health.report().counters == {"mqtt_dropped": 1}


def test_other_work_waits_for_a_pose_whose_answer_is_under_way_but_not_for_a_broker_that_is_away_or_silent():
    def waited_s(at_most_s, answer_after_s=None, attached=True):
        line = Line()
        lane = NewestPose(numbered, Health(), expiry_s=5)
        if attached:
            lane.attach(line)
        lane.offer(frame(0), 0)
        answer = threading.Timer(answer_after_s or 0, lambda: (lane.answered(line), lane.wake()))
        if answer_after_s is not None:
            answer.start()
        begun = time.monotonic()
        lane.settle(at_most_s)
        return time.monotonic() - begun

    assert waited_s(5, attached=False) < 2
    assert 0.05 < waited_s(5, answer_after_s=0.1) < 2
    assert 0.4 < waited_s(0.5) < 2


# ---- every pose


def test_poses_offered_together_go_out_together_with_one_question_behind_them():
    line = Line()
    lane = EveryPose(numbered)
    lane.attach(line)
    for seq in range(5):
        lane.offer(frame(seq), 0)
    assert (line.sent, line.probes) == ([], 0)
    lane.pump()
    assert (line.sent, line.probes) == ([0, 1, 2, 3, 4], 1)
    lane.answered(line)
    assert lane.drained()
    assert line.probes == 1


def test_no_more_than_the_window_is_under_way_and_room_comes_with_the_answer():
    line = Line()
    lane = EveryPose(numbered)
    lane.attach(line)
    lane.offer(frame(0), 0.0)
    lane.pump()
    assert all(lane.offer(frame(seq), 0.0) for seq in range(1, WINDOW))
    lane.pump()
    assert not lane.offer(frame(WINDOW), 0.0)
    lane.answered(line)  # covers the first, which was alone when the question was asked
    assert lane.offer(frame(WINDOW), 0.0)
    lane.pump()
    assert not lane.drained()
    lane.answered(line)  # covers the rest of the first window
    lane.answered(line)
    assert lane.drained()
    assert line.sent == list(range(WINDOW + 1))


def test_what_was_not_confirmed_is_sent_again_in_order_over_the_next_connection():
    first, second = Line(), Line()
    lane = EveryPose(numbered)
    lane.attach(first)
    lane.offer(frame(0), 0)
    lane.pump()
    lane.answered(first)
    lane.offer(frame(1), 0)
    lane.offer(frame(2), 0)
    lane.pump()
    lane.attach(None)
    lane.offer(frame(3), 0)
    lane.attach(second)
    assert second.sent == [1, 2, 3]
    lane.answered(second)
    assert lane.drained()
