"""Who is who, from finds put where a test wants them. Times and limits are those of docs/pose.md."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.data import Pose, Region
from edge_node.pose.attention import Attention
from edge_node.pose.similarity import areas_px, oks
from edge_node.pose.tracking import Sighting, Tracker

from .bodies import THRESHOLD, standing

FRAME_S = 1 / 30


class Room:
    """A tracker and its clock. Finds are those of a scanning square unless they are given as sightings."""

    def __init__(self, max_people: int = 6) -> None:
        self.tracker = Tracker()
        self.max_people = max_people
        self.now_s = 0.0

    def see(self, *finds: Pose | Sighting, after_s: float = FRAME_S, looked: set[int] | None = None) -> dict[int, tuple[float, float]]:
        """A frame in which everyone (or ``looked``) is looked at; identities told of, and where they are expected."""
        self.now_s += after_s
        now_ns = round(self.now_s * 1e9)
        sightings = [find if isinstance(find, Sighting) else Sighting(find, None) for find in finds]
        keys = {track.key for track in self.tracker.tracks} if looked is None else looked
        told = self.tracker.update(sightings, keys, now_ns, self.max_people, THRESHOLD)
        assert len({track.id for track in told}) == len(told) <= self.max_people
        return {track.id: track.expected_middle_px(now_ns) for track in told}

    def key(self, identity: int) -> int:
        return next(track.key for track in self.tracker.tracks if track.id == identity)


def likeness(find: Pose, other: Pose, looseness: float = 2.0) -> float:
    return float(oks(find.keypoints_px[None], other.keypoints_px[None], areas_px([other.extent_px]), THRESHOLD, looseness)[0, 0])


def beside(other: Pose, alike: float, score: float, looseness: float = 2.0) -> Pose:
    """A find to the right of ``other``, as much alike."""
    near, far = 0.0, 500.0
    while far - near > 0.01:
        middle = (near + far) / 2
        pose = standing(300 + middle)
        near, far = (middle, far) if likeness(pose, other, looseness) > alike else (near, middle)
    return standing(300 + near, score=score)


# Appearance


@pytest.mark.parametrize(("score", "told"), [(0.3, True), (0.299, False), (0.22, False)])
def test_somebody_new_is_believed_at_first_sight_with_score_three_tenths(score, told):
    room = Room()
    assert bool(room.see(standing(score=score))) is told
    assert len(room.tracker.tracks) == 1


@pytest.mark.parametrize(("score", "at_first_sight"), [(0.33, True), (0.329, False), (0.3, False)])
def test_beside_somebody_in_view_a_weak_newcomer_is_believed_at_the_closer_look_only(score, at_first_sight):
    room, newcomer = Room(), standing(700, score=score)
    room.see(standing())
    assert (2 in room.see(standing(), newcomer)) is at_first_sight
    assert 2 in room.see(standing(), newcomer)


def test_a_weak_newcomer_whom_the_closer_look_does_not_find_beside_somebody_is_never_told_of():
    room = Room()
    room.see(standing())
    for _ in range(5):
        assert set(room.see(standing(), standing(700, score=0.32))) == {1}
        assert set(room.see(standing())) == {1}


def test_when_who_was_in_view_is_out_of_sight_a_weak_newcomer_is_believed_at_once():
    room = Room()
    room.see(standing())
    missing(0.5, room)
    assert set(room.see(standing(700, score=0.3))) == {2}


def test_below_the_score_of_notice_nobody_is_looked_at_more_closely():
    room = Room()
    room.see(standing(score=0.219))
    assert not room.tracker.tracks


@pytest.mark.parametrize(("score", "told"), [(0.3, [1]), (0.299, [])])
def test_somebody_noticed_is_believed_or_dropped_by_the_closer_look(score, told):
    room = Room()
    room.see(standing(score=0.25))
    (noticed,) = room.tracker.tracks
    assert list(room.see(Sighting(standing(score=score), noticed.key))) == told
    assert bool(room.tracker.tracks) is bool(told)


def test_somebody_noticed_is_dropped_when_the_closer_look_does_not_find_them():
    room = Room()
    room.see(standing(score=0.25))
    assert not room.see()
    assert not room.tracker.tracks


def test_somebody_noticed_waits_for_the_closer_look_but_not_for_ever():
    room = Room()
    room.see(standing(score=0.25))
    room.see(looked=set(), after_s=1.5)
    assert len(room.tracker.tracks) == 1
    room.see(looked=set(), after_s=0.001)
    assert not room.tracker.tracks


@given(st.lists(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 0.299)), max_size=4), max_size=12), st.booleans())
def test_weak_finds_alone_are_never_told_of(frames, own):
    room = Room()
    for finds in frames:
        tracks = room.tracker.tracks
        keys = [tracks[i % len(tracks)].key if own and tracks else None for i in range(len(finds))]
        assert not room.see(*(Sighting(standing(x, score=score), key) for (x, score), key in zip(finds, keys, strict=True)))


def test_two_finds_of_one_newcomer_are_one_person():
    room = Room()
    assert list(room.see(standing(300), beside(standing(), 0.32, 0.5, looseness=1))) == [1]
    room = Room()
    assert list(room.see(standing(300), beside(standing(), 0.28, 0.5, looseness=1))) == [1, 2]


@pytest.mark.parametrize(("alike", "people"), [(0.32, 1), (0.28, 2)])
def test_a_second_find_like_somebody_in_view_is_no_newcomer(alike, people):
    room = Room()
    room.see(standing())
    assert len(room.see(standing(), beside(standing(), alike, 0.6))) == people


@pytest.mark.parametrize(("alike", "people"), [(0.32, 1), (0.28, 2)])
def test_a_find_too_weak_for_somebody_in_view_is_no_newcomer_either(alike, people):
    room = Room()
    room.see(standing())
    room.see(beside(standing(), alike, 0.23))
    assert len(room.tracker.tracks) == people


def test_in_the_square_of_somebody_nobody_else_appears():
    room = Room()
    room.see(standing())
    key = room.key(1)
    assert list(room.see(Sighting(standing(), key), Sighting(standing(500, score=0.9), key))) == [1]
    assert list(room.see(Sighting(standing(), key), standing(500))) == [1, 2]


# Staying, missing, coming back


@pytest.mark.parametrize(("score", "seen"), [(0.24, True), (0.239, False)])
def test_somebody_followed_stays_with_less_than_they_appeared_with(score, seen):
    room = Room()
    room.see(standing())
    room.see(standing(score=score))
    (track,) = room.tracker.tracks
    assert (track.seen_now, track.misses) == (seen, 0 if seen else 1)


@pytest.mark.parametrize(("alike", "seen"), [(0.16, True), (0.14, False)])
def test_a_find_is_somebodys_when_it_is_like_them_where_they_are_expected(alike, seen):
    """With a score too low for a return, which is a matter of distance."""
    room = Room()
    room.see(standing())
    room.see(beside(standing(), alike, 0.25))
    assert room.tracker.tracks[0].seen_now is seen


def test_a_missed_look_is_bridged_and_a_second_one_soon_after_but_no_third():
    room = Room()
    room.see(standing())
    assert [list(room.see()) for _ in range(4)] == [[1], [1], [], []]


def test_at_ten_frames_a_second_only_one_missed_look_is_bridged():
    room = Room()
    room.see(standing())
    assert [list(room.see(after_s=0.1)) for _ in range(2)] == [[1], []]


def test_who_is_bridged_moves_on_as_they_went():
    room = Room()
    for number in range(30):
        room.see(standing(300 + 3 * number))
    place = room.see()[1]
    assert place == pytest.approx((300 + 3 * 30 - 0.6, 300), abs=0.2)  # the look that missed them took a fifth of a step


def missing(seconds: float, room: Room) -> None:
    """Nobody is found for so long."""
    frames = math.floor(seconds / FRAME_S)
    for _ in range(frames):
        room.see()
    if seconds > frames * FRAME_S:
        room.see(after_s=seconds - frames * FRAME_S)


@pytest.mark.parametrize(("gone_s", "identity"), [(0.2, 1), (1.0, 1), (1.45, 1), (1.52, 2)])
def test_somebody_out_of_sight_keeps_their_identity_for_a_second_and_a_half(gone_s, identity):
    room = Room()
    room.see(standing())
    missing(gone_s, room)
    assert list(room.see(standing(), after_s=0.01)) == [identity]


def test_identities_are_forgotten_just_after_a_second_and_a_half():
    room = Room()
    room.see(standing())
    room.see(after_s=1.5)
    assert len(room.tracker.tracks) == 1
    room.see(after_s=0.001)
    assert not room.tracker.tracks


@pytest.mark.parametrize("gone_s", [0.3, 1.0])
@pytest.mark.parametrize(("more", "identity"), [(-0.02, 1), (0.02, 2)])
def test_who_comes_back_must_be_near_by_their_size_and_by_how_long_they_were_gone(gone_s, more, identity):
    room = Room()
    room.see(standing())
    missing(gone_s - 0.1, room)
    away_sizes = 0.4 + 1.2 * gone_s + more
    assert list(room.see(standing(300 + 98 * away_sizes), after_s=0.1)) == [identity]


@pytest.mark.parametrize(("height_px", "identity"), [(98 * 1.78, 1), (98 * 1.82, 2), (98 / 1.78, 1), (98 / 1.82, 2)])
def test_who_comes_back_must_be_of_about_the_same_size(height_px, identity):
    room = Room()
    room.see(standing())
    missing(0.5, room)
    assert list(room.see(standing(380, height_px=height_px))) == [identity]


def test_who_comes_back_needs_the_score_of_a_newcomer_and_may_have_the_closer_look_too():
    room = Room()
    room.see(standing())
    missing(0.5, room)
    assert not room.see(standing(360, score=0.299))
    noticed = room.tracker.tracks[-1]
    assert list(room.see(Sighting(standing(360, score=0.3), noticed.key))) == [1]
    assert len(room.tracker.tracks) == 1
    room = Room()
    room.see(standing())
    missing(0.5, room)
    assert list(room.see(standing(360, score=0.3))) == [1]


def test_of_two_who_were_lost_the_nearer_comes_back():
    room = Room()
    places = room.see(standing(300), standing(500))
    missing(0.8, room)
    (identity,) = room.see(standing(420))
    assert places[identity] == pytest.approx((500, 300), abs=1)


def test_who_is_lost_does_not_come_back_in_the_square_of_another():
    room = Room()
    room.see(standing(300), standing(500, score=0.5))
    other = Sighting(standing(500), room.key(2))
    for _ in range(10):
        room.see(other)
    assert list(room.see(other, Sighting(standing(360), room.key(2)))) == [2]
    assert set(room.see(other, Sighting(standing(360), room.key(1)))) == {1, 2}


def test_somebody_in_view_does_not_jump_to_a_newcomer_near_by():
    room = Room()
    room.see(standing(300))
    assert room.see(standing(300), standing(400))[1] == pytest.approx((300, 300), abs=1)


@given(st.lists(st.lists(st.floats(0, 2000), max_size=4), max_size=25), st.sampled_from([FRAME_S, 0.4, 1.6]))
def test_identities_are_never_given_twice(frames, after_s):
    """A new one is always higher than all before, and belongs to one track as long as that is remembered."""
    room = Room(max_people=3)
    highest, keys = 0, {}
    for places in frames:
        room.see(*map(standing, places), after_s=after_s)
        for track in room.tracker.tracks:
            assert keys.setdefault(track.id, track.key) == track.key
        new = [identity for identity in keys if identity > highest]
        assert all(identity in range(highest + 1, highest + 1 + len(new)) for identity in new)
        highest = max(keys, default=0)


# Several people


@pytest.mark.parametrize("apart_px", [0, 10, 30])
def test_two_who_cross_keep_their_identities_by_their_motion(apart_px):
    room = Room()
    first = room.see(standing(100, 300), standing(500, 300 + apart_px))
    to_the_right, to_the_left = sorted(first, key=lambda identity: first[identity])
    for step in range(1, 61):
        x = 400 * step / 60
        places = room.see(standing(100 + x, 300), standing(500 - x, 300 + apart_px))
    assert places[to_the_right] == pytest.approx((500, 300), abs=2)
    assert places[to_the_left] == pytest.approx((100, 300 + apart_px), abs=2)
    assert len(places) == 2


def test_a_find_in_somebodys_own_square_is_theirs_before_anybody_elses():
    """It lies a little nearer to the other one, whom it would go to if it were of a scanning square."""
    for own in (True, False):
        room = Room()
        places = room.see(standing(300), standing(350))
        left, right = sorted(places, key=lambda identity: places[identity])
        room.see(Sighting(standing(330), room.key(left) if own else None))
        seen = {track.id for track in room.tracker.tracks if track.seen_now}
        assert seen == {left if own else right}


@pytest.mark.parametrize(("alike", "seen"), [(0.86, 1), (0.84, 2)])
def test_one_body_seen_in_two_squares_is_not_two_people(alike, seen):
    room = Room()
    places = room.see(standing(300), standing(330))
    left, right = (room.key(identity) for identity in sorted(places, key=lambda identity: places[identity]))
    room.see(Sighting(standing(300), left), Sighting(beside(standing(), alike, 0.5), right))
    assert sum(track.seen_now for track in room.tracker.tracks) == seen


def numbers(most: float) -> st.SearchStrategy[list[float]]:
    return st.lists(st.floats(0, most), min_size=4, max_size=4)


@given(st.lists(numbers(25), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_finds_is_of_no_account(frames, random):
    """Four people 80 px apart, whose squares overlap, each shifted in each frame."""
    straight, shuffled = Room(), Room()
    for shifts in frames:
        finds = [standing(300 + 80 * n + shift, score=0.5 + 0.05 * n) for n, shift in enumerate(shifts)]
        mixed = random.sample(finds, len(finds))
        assert straight.see(*finds) == shuffled.see(*mixed)


@given(st.lists(st.lists(st.tuples(st.floats(0, 900), st.floats(0.1, 1)), max_size=6), max_size=12), st.integers(1, 4))
def test_never_more_people_than_asked_for_and_each_once(frames, max_people):
    room = Room(max_people)
    for finds in frames:
        room.see(*(standing(x, score=score) for x, score in finds))  # which asserts it
        assert len(room.tracker.tracks) <= max_people


def test_of_too_many_newcomers_the_most_prominent_are_followed():
    """By score times size: 0.5 x 98, 0.4 x 196, 0.9 x 40."""
    room = Room(max_people=2)
    places = room.see(standing(100, score=0.5), standing(400, height_px=196, score=0.4), standing(700, height_px=40, score=0.9))
    assert sorted(x for x, _ in places.values()) == pytest.approx([100, 400])


@pytest.mark.parametrize("lost", [False, True])
def test_when_fewer_are_asked_for_those_in_view_stay_and_of_these_the_first(lost):
    room = Room()
    room.see(standing(100, score=0.9), standing(300, score=0.8), standing(500, score=0.7))
    if lost:
        for _ in range(5):
            room.see(standing(300), standing(500))
    room.max_people = 1
    assert list(room.see(*([] if lost else [standing(100)]), standing(300), standing(500))) == [2 if lost else 1]


# One person


def test_one_person_is_held_on_to_though_a_bigger_one_appears():
    room = Room(max_people=1)
    room.see(standing(100))
    for _ in range(10):
        assert list(room.see(standing(100), standing(400, height_px=300, score=0.95))) == [1]


def test_the_one_person_is_waited_for_and_then_the_most_prominent_is_next():
    room = Room(max_people=1)
    room.see(standing(100))
    others = (standing(500, score=0.9), standing(800, height_px=300, score=0.8))
    first_told = None
    while first_told is None:
        told = [identity for identity in room.see(*others) if identity != 1]
        first_told = (room.now_s - FRAME_S, told[0]) if told else None
    assert first_told == (pytest.approx(1.5, abs=1.5 * FRAME_S), 2)
    assert room.see(*others)[2] == pytest.approx((800, 300), abs=1)


def test_the_one_person_comes_back_as_themselves_beside_a_bigger_one():
    room = Room(max_people=1)
    room.see(standing(100))
    for _ in range(30):
        room.see(standing(500, height_px=200))
    places = room.see(standing(130), standing(500, height_px=200))
    assert places == {1: pytest.approx((130, 300), abs=1)}


# Turns


def test_who_is_not_looked_at_is_told_of_and_moves_on():
    room = Room()
    for number in range(30):
        room.see(standing(300 + 3 * number))
    for number in range(30, 36):
        assert room.see(looked=set())[1] == pytest.approx((300 + 3 * number, 300), abs=0.2)
    assert room.tracker.wanted(round(room.now_s * 1e9))[0].waited == 6


def test_what_attention_is_told_is_where_somebody_will_be_how_large_they_are_and_how_they_were_missed():
    room = Room()
    for number in range(30):
        room.see(standing(300 + 3 * number))
    room.see()
    (wanted,) = room.tracker.wanted(round((room.now_s + FRAME_S) * 1e9))
    assert wanted.track == room.key(1)
    assert wanted.centre_px == pytest.approx((300 + 3 * 29 + 2 * 3 * 0.8, 300), abs=0.2)
    assert wanted.size_px == pytest.approx(98)
    assert (wanted.misses, wanted.waited) == (1, 0)


def inside(body: Pose, square: Region) -> bool:
    away = body.keypoints_px[:, :2] - (square.left_px, square.top_px)
    return bool(((away >= 0) & (away <= square.side_px)).all())


def turns(people: int, budget: int, frames: int, place: Callable[[int, float], float], frame_s: float = FRAME_S) -> list[dict[int, bool]]:
    """Who was told of in each frame, and whether they were looked at then, as attention plans it; the frame's width is 2000 px."""
    tracker, attention = Tracker(), Attention()
    told = []
    for number in range(frames):
        now_s = number * frame_s
        now_ns = round(now_s * 1e9)
        bodies = [standing(place(who, now_s)) for who in range(people)]
        looks = attention.plan(tracker.wanted(now_ns), 2000, 600, budget=budget, full=len(tracker.tracks) >= people)
        sightings = [Sighting(body, x.track) for x in looks for body in bodies if inside(body, x.region)]
        looked = {x.track for x in looks if x.track is not None}
        told.append({track.id: track.seen_now for track in tracker.update(sightings, looked, now_ns, people, THRESHOLD)})
    return told


@pytest.mark.parametrize("budget", [1, 2, 4])
def test_with_fewer_looks_than_people_they_take_turns_and_all_are_told_of_all_the_time(budget):
    people = 4
    told = turns(people, budget, 60, lambda who, now_s: 200 + 450 * who + 120 * math.sin(2 * now_s + who))
    for frame in told[20:]:
        assert set(frame) == {1, 2, 3, 4}
    for identity in range(1, 5):
        looks = [number for number, frame in enumerate(told[20:]) if frame[identity]]
        assert np.diff(looks).max() <= people // budget


def test_with_few_frames_a_second_nobody_is_forgotten_while_they_wait_for_their_turn():
    told = turns(4, 1, 60, lambda who, _: 200 + 450 * who, frame_s=1.0)
    for frame in told[20:]:
        assert set(frame) == {1, 2, 3, 4}


def test_after_a_pause_whoever_is_not_seen_is_forgotten():
    room = Room()
    room.see(standing(300), standing(1200))
    assert set(room.see(standing(300), after_s=1.6, looked={room.key(1)})) == {1}
    assert len(room.tracker.tracks) == 1


# Closer looks


def test_a_closer_look_shows_somebody_as_they_are():
    room = Room()
    room.see(standing())
    (track,) = room.tracker.tracks
    assert track.rough
    closer = standing(304, score=0.6)
    room.tracker.correct(track, [standing(700, score=0.9), closer], THRESHOLD)
    assert track.pose is closer
    assert not track.rough


@pytest.mark.parametrize("finds", [[], [standing(700)], [standing(score=0.23)]])
def test_a_closer_look_that_shows_nobody_like_them_changes_nothing(finds):
    room = Room()
    room.see(standing())
    (track,) = room.tracker.tracks
    before = track.pose
    room.tracker.correct(track, finds, THRESHOLD)
    assert track.pose is before
    assert track.rough


def test_whoever_was_found_in_a_square_of_their_own_is_rough_again_only_once_they_come_back():
    room = Room()
    room.see(standing())
    (track,) = room.tracker.tracks
    room.see(Sighting(standing(), track.key))
    assert not track.rough
    room.see(standing())
    assert not track.rough
    room.see()
    room.see()
    room.see(standing())
    assert track.seen_now
    assert track.rough
