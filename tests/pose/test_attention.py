import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_node.data import Region
from edge_node.pose.attention import Attention, Wanted, crop_of, scan_squares
from edge_node.pose.region import whole_frame
from edge_node.pose.similarity import extent_px


def person(key, x=100.0, *, waited=0, misses=0):
    return Wanted(key, (x, 100.0), 50.0, waited, misses)


def contains(square: Region, x: float, y: float) -> bool:
    return (
        square.left_px - 0.01 <= x <= square.left_px + square.side_px + 0.01
        and square.top_px - 0.01 <= y <= square.top_px + square.side_px + 0.01
    )


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(0, 1), st.floats(0, 1))
def test_every_place_of_a_frame_is_scanned_in_several_sizes(width, height, u, v):
    squares = scan_squares(width, height)
    assert whole_frame(width, height) in squares
    sides = {s.side_px for s in squares if contains(s, u * width, v * height)}
    assert len(sides) >= 2 or min(width, height) < 2


def test_the_scan_comes_back_to_the_whole_frame_every_second_time():
    squares = scan_squares(1280, 720)
    assert all(s == whole_frame(1280, 720) for s in squares[::2])


def test_everyone_followed_gets_a_square_and_one_is_for_the_rest():
    looks = Attention().plan([person(1), person(2, 300)], 640, 480, budget=6, full=False)
    assert [x.track for x in looks] == [1, 2, None]


def test_no_scan_when_nobody_more_is_wanted():
    looks = Attention().plan([person(1)], 640, 480, budget=1, full=True)
    assert [x.track for x in looks] == [1]


def test_with_nobody_in_view_the_scan_goes_round():
    attention = Attention()
    seen = [attention.plan([], 1280, 720, budget=1, full=False)[0].region for _ in range(len(scan_squares(1280, 720)))]
    assert seen == list(scan_squares(1280, 720))


def test_who_waited_longest_is_next():
    people = [person(1, waited=0), person(2, waited=3), person(3, waited=1)]
    looks = Attention().plan(people, 640, 480, budget=2, full=True)
    assert [x.track for x in looks] == [2, 3]


def test_who_is_in_view_goes_before_who_was_lost():
    looks = Attention().plan([person(1, misses=2, waited=5), person(2)], 640, 480, budget=1, full=True)
    assert [x.track for x in looks] == [2]


def test_somebody_lost_and_the_scan_take_turns():
    attention = Attention()
    tracks = [attention.plan([person(1, misses=1)], 640, 480, budget=1, full=False)[0].track for _ in range(6)]
    assert tracks.count(1) == tracks.count(None) == 3


def test_in_a_crowd_there_is_still_a_scan_now_and_then():
    attention = Attention()
    crowd = [person(k) for k in range(8)]
    scans = [any(x.track is None for x in attention.plan(crowd, 640, 480, budget=3, full=False)) for _ in range(18)]
    assert 1 <= sum(scans) <= 3


def test_a_missed_person_is_looked_for_in_a_wider_square():
    found, missed = (Attention().plan([person(1, misses=m)], 640, 480, budget=2, full=True)[0].region for m in (0, 3))
    assert missed.side_px > 1.3 * found.side_px


def test_a_person_at_a_desk_gets_a_square_without_hips():
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:, :2] = (300, 470)
    keypoints[:7, :2] = [(320, 200), (330, 190), (310, 190), (345, 200), (295, 200), (380, 290), (260, 290)]
    keypoints[:7, 2] = 0.8
    square = crop_of(extent_px(keypoints, 0.2), 1.4)
    assert contains(square, 260, 290)
    assert contains(square, 345, 190)
    assert square.side_px < 250
