import numpy as np
import pytest

from tests.simtpu.fixtures import compiled_model, cpu_model, device, tpu

__all__ = ["compiled_model", "cpu_model", "device", "tpu"]


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """The stand-in computes on this machine's processor: where other programs keep that busy, it is slower than any device."""
    monkeypatch.setattr("edge_node.engine.edgetpu.SHORTEST_DEADLINE_S", 1.0)
    monkeypatch.setattr("edge_node.engine.create.FIRST_ATTEMPT_S", 30.0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_240_601)
