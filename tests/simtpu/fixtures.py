"""Fixtures for every folder of tests that needs the stand-in Edge TPU; a conftest imports them."""

import pytest

from tests.simtpu.simtpu import simulated_tpu


@pytest.fixture(scope="session")
def cpu_model(shared):
    return shared.models / "movenet_single_pose_lightning_ptq.tflite"


@pytest.fixture(scope="session")
def compiled_model(shared):
    return shared.models / "movenet_single_pose_lightning_ptq_edgetpu.tflite"


@pytest.fixture(scope="module")
def device(cpu_model, compiled_model):
    with simulated_tpu(cpu_model, compiled_model) as device:
        yield device


@pytest.fixture
def tpu(device):
    """The stand-in Edge TPU, plugged in and healthy."""
    device.reset()
    return device
