"""The processor the node runs on: how hot it is, and whether it slows itself down.

Linux thermal zones everywhere; on a Raspberry Pi also its firmware's throttling bits (documented with ``vcgencmd get_throttled``), or what
is left of them: since March 2025 its kernels give only the alarm of under-voltage (raspberrypi/linux, pull request 6697).
"""

from dataclasses import dataclass
from pathlib import Path

_SYS = Path("/sys")
_THERMAL = "class/thermal/thermal_zone0/temp"
_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
_POWER_MONITOR = "bus/platform/devices/raspberrypi-hwmon/hwmon"
_UNDER_VOLTAGE_NOW, _CAPPED_NOW, _THROTTLED_NOW, _SOFT_LIMIT_NOW = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_UNDER_VOLTAGE_SINCE_BOOT, _THROTTLED_SINCE_BOOT = 1 << 16, 1 << 18


@dataclass(frozen=True, slots=True)
class Throttling:
    """What a Raspberry Pi says of power and heat; ``None``: its kernel does not tell."""

    under_voltage: bool
    slowed: bool | None = None
    under_voltage_since_boot: bool | None = None
    slowed_since_boot: bool | None = None


def temperature_c(sys: Path = _SYS) -> float | None:
    """Temperature of the processor in degrees Celsius; ``None`` where the machine does not tell."""
    text = _read(sys / _THERMAL)
    return int(text) / 1000 if text and text.lstrip("-").isdecimal() else None


def throttling(sys: Path = _SYS) -> Throttling | None:
    """The firmware's throttling state; ``None`` on a machine that is no Raspberry Pi."""
    text = _read(sys / _THROTTLED)
    try:
        bits = int(text, 16)
    except ValueError:
        return _under_voltage_alone(sys)
    return Throttling(
        under_voltage=bool(bits & _UNDER_VOLTAGE_NOW),
        slowed=bool(bits & (_CAPPED_NOW | _THROTTLED_NOW | _SOFT_LIMIT_NOW)),
        under_voltage_since_boot=bool(bits & _UNDER_VOLTAGE_SINCE_BOOT),
        slowed_since_boot=bool(bits & _THROTTLED_SINCE_BOOT),
    )


def _under_voltage_alone(sys: Path) -> Throttling | None:
    alarms = [_read(alarm) for alarm in (sys / _POWER_MONITOR).glob("hwmon*/in0_lcrit_alarm")]
    return Throttling(under_voltage="1" in alarms) if alarms else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
