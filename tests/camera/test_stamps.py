"""Times and numbers of frames."""

import itertools
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_node.camera.stamps import FileStamper, LiveStamper, StreamClock, plausible_monotonic_ns

IMAGE = np.zeros((2, 2, 3), np.uint8)
MS = 1_000_000


def test_a_files_frames_are_apart_by_its_own_times():
    stamper = FileStamper(first_seq=0, interval_ns=100 * MS)
    frames = [stamper.stamp(IMAGE, position_ms, captured_ns=1) for position_ms in (0.0, 40.0, 200.0)]
    assert [b.media_ns - a.media_ns for a, b in itertools.pairwise(frames)] == [40 * MS, 160 * MS]
    assert [round(b.ts - a.ts, 6) for a, b in itertools.pairwise(frames)] == [0.04, 0.16]
    assert [frame.captured_ns for frame in frames] == [1, 1, 1]


@given(st.lists(st.none() | st.floats(0, 1e6), min_size=2, max_size=30))
def test_a_files_time_never_goes_back_whatever_it_says(positions_ms):
    stamper = FileStamper(first_seq=0, interval_ns=100 * MS)
    frames = [stamper.stamp(IMAGE, position_ms, captured_ns=1) for position_ms in positions_ms]
    assert all(b.media_ns > a.media_ns for a, b in itertools.pairwise(frames))
    assert [frame.seq for frame in frames] == list(range(len(frames)))


def test_a_looped_files_time_goes_on():
    stamper = FileStamper(first_seq=0, interval_ns=100 * MS)
    first = [stamper.stamp(IMAGE, position_ms, captured_ns=1) for position_ms in (0.0, 100.0)]
    stamper.start_over()
    again = [stamper.stamp(IMAGE, position_ms, captured_ns=1) for position_ms in (0.0, 100.0)]
    assert [b.media_ns - a.media_ns for a, b in itertools.pairwise(first + again)] == [100 * MS] * 3


def test_a_live_frames_time_never_goes_back_though_a_delayed_frame_is_stamped_by_its_arrival_and_the_next_by_the_driver():
    stamper = LiveStamper(first_seq=0)
    taken_ms, read_ms = (0, 100, 1120), (1050, 1051, 1130)
    frames = [stamper.stamp(IMAGE, plausible_monotonic_ns(taken, read * MS)) for taken, read in zip(taken_ms, read_ms, strict=True)]
    assert [frame.media_ns for frame in frames] == [1050 * MS, 1050 * MS, 1120 * MS]


def test_a_live_frames_time_line_is_the_clock():
    now_ns = time.monotonic_ns()
    frame = LiveStamper(first_seq=5).stamp(IMAGE, now_ns)
    assert (frame.seq, frame.captured_ns, frame.media_ns) == (5, now_ns, now_ns)
    assert abs(frame.ts - time.time()) < 1


def test_a_stream_clock_takes_the_networks_jitter_out():
    clock = StreamClock()
    jitter_ms = [5, 0, 30, 12, 0, 80]
    captured = [clock.captured_ns(i * 40.0, (1000 + i * 40 + late) * MS) for i, late in enumerate(jitter_ms)]
    assert captured[1:] == [(1000 + i * 40) * MS for i in range(1, 6)]


@given(st.lists(st.tuples(st.floats(0, 1e9), st.integers(1, 500)), min_size=1, max_size=50))
def test_a_stream_clock_never_goes_back_nor_ahead_of_arrival(stamps):
    clock = StreamClock()
    arrived_ns, last_ns = 10**12, 0
    for stamp_ms, wait_ms in stamps:
        arrived_ns += wait_ms * MS
        captured_ns = clock.captured_ns(stamp_ms, arrived_ns)
        assert last_ns < captured_ns <= arrived_ns
        assert arrived_ns - captured_ns <= 2_000 * MS
        last_ns = captured_ns


def test_a_drivers_stamp_counts_only_when_it_is_of_the_same_clock():
    arrived_ns = 50_000 * MS
    assert plausible_monotonic_ns(49_990.0, arrived_ns) == 49_990 * MS
    assert plausible_monotonic_ns(0.0, arrived_ns) == arrived_ns
    assert plausible_monotonic_ns(1.7e12, arrived_ns) == arrived_ns
