from tests.simtpu.fixtures import compiled_model, cpu_model, device, tpu

__all__ = ["compiled_model", "cpu_model", "device", "tpu"]
