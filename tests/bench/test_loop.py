"""Blocks of the benchmark: what counts as the model's time."""

from types import SimpleNamespace

import pytest

from edge_node.bench import loop as bench_loop
from edge_node.bench.loop import BLOCK, Loop
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.health import Health

INVOKE_S, INTERVAL_S = 0.002, 0.033


class Clock:
    """Goes on only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, s: float) -> None:
        self.now_s += s


@pytest.mark.parametrize("interval_s", [0.0, INTERVAL_S])
def test_beside_a_live_source_the_bare_models_rests_are_no_part_of_its_time(monkeypatch, interval_s):
    clock = Clock()
    monkeypatch.setattr(bench_loop, "time", clock)
    engine = SimpleNamespace(infer=lambda fills, _read: clock.sleep(INVOKE_S * len(fills)))
    settings = Settings(lambda: load(None, {}, ["camera.source=synthetic"]), None)
    loop = Loop(settings, engine, Health(), lambda _lossless: [])
    loop._interval_s = interval_s
    block = loop.bare_block(squares=1)
    assert (block.count, block.took_s) == (BLOCK, pytest.approx(BLOCK * INVOKE_S))
    assert clock.now_s - 100.0 == pytest.approx(BLOCK * max(INVOKE_S, interval_s), abs=INTERVAL_S)
