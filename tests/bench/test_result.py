"""What the benchmark makes of its runs."""

from types import SimpleNamespace

import pytest

from edge_node.bench.loop import Alternated, Block
from edge_node.bench.process import Usage
from edge_node.bench.result import STAGES, Measured, _run, result_of
from edge_node.config.load import load
from edge_node.data import People
from edge_node.health import Health

FRAMES = 150
BARE_MS, LOOP_MS = 4.0, 5.5
PAUSE_MS = 300.0
WHOLE_SQUARE = object()


def people(first_seq, invoke_ms=BARE_MS, squares=1):
    return tuple(
        People(
            seq, seq * 10**9, 0, 0.0, 640, 480, "cpu", (), (WHOLE_SQUARE,) * squares, {**dict.fromkeys(STAGES, 0.1), "invoke": invoke_ms}
        )
        for seq in range(first_seq, first_seq + FRAMES)
    )


def block(each_ms, cpu_s):
    return Block(len(each_ms), sum(each_ms) / 1e3, Usage(cpu_s, {}, 0), tuple(each_ms))


def alternated(first_seq=0, bare_ms=(BARE_MS,) * FRAMES, cpu_s=1.0, **frames):
    return Alternated(people(first_seq, **frames), Block(FRAMES, 5.0, Usage(cpu_s, {}, 0)), block(bare_ms, 1.0), None)


def arrivals(run, late_ms):
    """When each pose of a run arrived: ``LOOP_MS`` after its capture, and those that ``late_ms`` names so much later."""
    return {p.seq: p.captured_ns + round((LOOP_MS + late_ms.get(index, 0.0)) * 1e6) for index, p in enumerate(run.people)}


def result(runs, arrivals_ns):
    config = load(None, {}, ["camera.source=synthetic", "model.name=marker"])
    engine = SimpleNamespace(description="litert 2, cpu")
    return result_of(config, engine, Measured(runs, Health(), arrivals_ns, 100.0, 1.0, 0.5))


def test_one_run_that_the_machine_disturbed_is_one_of_five():
    runs = [alternated(FRAMES * number, cpu_s=9.0 if number == 3 else 1.1) for number in range(5)]
    late = [dict.fromkeys(range(20), PAUSE_MS) if number == 3 else {} for number in range(5)]
    arrived = {seq: at for run, late_ms in zip(runs, late, strict=True) for seq, at in arrivals(run, late_ms).items()}
    measured = result(runs, arrived)
    assert measured.end_to_end_ms.p99 == pytest.approx(LOOP_MS)
    assert measured.beyond_bare_ms.p99 == pytest.approx(LOOP_MS - BARE_MS)
    assert measured.cpu_ratio == pytest.approx(1.1)
    assert measured.runs[3].end_to_end_ms.p99 == pytest.approx(LOOP_MS + PAUSE_MS)  # each run's own figures stay


def test_what_disturbs_most_runs_is_told():
    runs = [alternated(FRAMES * number) for number in range(5)]
    arrived = {
        seq: at for number, run in enumerate(runs) for seq, at in arrivals(run, {0: PAUSE_MS, 1: PAUSE_MS} if number else {}).items()
    }
    assert result(runs, arrived).beyond_bare_ms.p99 > 100


def test_pauses_that_the_bare_model_has_as_well_are_not_the_loops():
    paused = [BARE_MS + (PAUSE_MS if index < 5 else 0.0) for index in range(FRAMES)]
    run = alternated(bare_ms=paused)
    told = _run(run, arrivals(run, dict.fromkeys(range(5), PAUSE_MS)))
    assert told.bare_invoke_ms.p99 == pytest.approx(BARE_MS + PAUSE_MS)
    assert told.beyond_bare_ms.p99 == pytest.approx(LOOP_MS - BARE_MS)
    assert told.beyond_invoke_ms.p99 == pytest.approx(LOOP_MS - BARE_MS + PAUSE_MS)  # the frames' own invokes had none


def test_the_bare_model_counts_for_each_square_of_a_frame():
    run = alternated(squares=3, invoke_ms=12.0)
    told = _run(run, arrivals(run, dict.fromkeys(range(FRAMES), 10.0)))
    assert told.beyond_bare_ms.p50 == pytest.approx(LOOP_MS + 10.0 - 3 * BARE_MS)
    assert told.bare_invoke_fps == pytest.approx(1e3 / BARE_MS / 3, abs=0.1)
    assert told.cpu_ratio == pytest.approx(1 / 3, abs=0.001)


def test_without_a_broker_there_is_no_latency():
    measured = result([alternated()], {})
    assert (measured.end_to_end_ms, measured.beyond_invoke_ms, measured.beyond_bare_ms) == (None, None, None)
    assert measured.bare_invoke_ms.p50 == pytest.approx(BARE_MS)
