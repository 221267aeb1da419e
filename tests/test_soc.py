"""The processor's temperature and throttling, read from a made-up /sys."""

from pathlib import Path

import pytest

from edge_node.soc import Throttling, temperature_c, throttling


def put(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_the_temperature_is_told_in_degrees(tmp_path: Path) -> None:
    put(tmp_path, "class/thermal/thermal_zone0/temp", "48312\n")
    assert temperature_c(tmp_path) == pytest.approx(48.312)


def test_a_machine_that_does_not_tell_has_neither(tmp_path: Path) -> None:
    assert temperature_c(tmp_path) is None
    assert throttling(tmp_path) is None


@pytest.mark.parametrize(("alarm", "expected"), [("1\n", True), ("0\n", False)])
def test_a_kernel_without_the_firmwares_bits_tells_of_under_voltage_alone(tmp_path: Path, alarm: str, expected: bool) -> None:
    put(tmp_path, "bus/platform/devices/raspberrypi-hwmon/hwmon/hwmon2/in0_lcrit_alarm", alarm)
    assert throttling(tmp_path) == Throttling(under_voltage=expected, slowed=None)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", Throttling(False, False, False, False)),
        ("50005", Throttling(True, True, True, True)),
        ("10001", Throttling(True, False, True, False)),
        ("40000", Throttling(False, False, False, True)),
    ],
)
def test_the_firmwares_bits_are_named(tmp_path: Path, bits: str, expected: Throttling) -> None:
    put(tmp_path, "devices/platform/soc/soc:firmware/get_throttled", bits)
    assert throttling(tmp_path) == expected
