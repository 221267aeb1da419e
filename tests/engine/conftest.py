import numpy as np
import pytest

from tests.simtpu.fixtures import compiled_model, cpu_model, device, tpu

__all__ = ["compiled_model", "cpu_model", "device", "tpu"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20_240_601)
