"""What the node knows of itself."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.health import WINDOW, Health


def test_percentiles_are_of_the_latest_samples() -> None:
    health = Health()
    for ms in [1000.0] * WINDOW + [float(ms) for ms in range(1, 101)] * (WINDOW // 100 + 1):
        health.stage("invoke", ms)
    invoke = health.report().stages["invoke"]
    assert invoke.p50_ms == pytest.approx(50, abs=3)
    assert invoke.p99_ms == pytest.approx(99, abs=1)
    assert invoke.max_ms == 100


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=WINDOW))
def test_percentiles_lie_between_the_samples_as_numpy_has_them(samples: list[float]) -> None:
    health = Health()
    for ms in samples:
        health.stage("invoke", ms)
    invoke = health.report().stages["invoke"]
    expected = (*np.percentile(samples, (50, 99)), max(samples))
    assert (invoke.p50_ms, invoke.p99_ms, invoke.max_ms) == pytest.approx(expected, abs=1e-3)


def test_a_problem_is_news_once_and_its_end_is_news_again() -> None:
    health = Health()
    assert health.problem("camera", "no frame for 5 s")
    assert not health.problem("camera", "no frame for 5 s")
    assert health.report().problems == {"camera": "no frame for 5 s"}
    assert health.problem("camera", None)
    assert not health.problem("camera", None)
    assert health.problems() == {}


def test_the_rate_and_the_last_frames_people_are_told_without_a_whole_report(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("edge_node.health.time.monotonic_ns", lambda: round(now_s * 1e9))
    health = Health()
    assert (health.fps(), health.people, health.accelerator) == (0.0, 0, "")
    for people in range(31):
        now_s += 0.05
        health.frame(people, "cpu", {})
    report = health.report()
    assert health.fps() == report.fps == pytest.approx(20)
    assert (health.people, health.accelerator) == (report.people, report.accelerator) == (30, "cpu")


def test_a_fact_is_forgotten_with_none() -> None:
    health = Health()
    health.fact("soc_temperature_c", 48.5)
    assert health.report().facts == {"soc_temperature_c": 48.5}
    health.fact("soc_temperature_c", None)
    assert health.report().facts == {}


def test_counts_from_many_threads_are_all_there() -> None:
    health = Health()

    def count() -> None:
        for _ in range(1000):
            health.count("mqtt_dropped")
            health.frame(1, "cpu", {"invoke": 1.0})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report = health.report()
    assert (report.counters["mqtt_dropped"], report.frames, report.people, report.accelerator) == (4000, 4000, 1, "cpu")


def test_a_report_does_not_change_afterwards() -> None:
    health = Health()
    health.count("x")
    report = health.report()
    health.count("x")
    health.problem("camera", "away")
    assert report.counters == {"x": 1}
    assert report.problems == {}
