"""The processor the node runs on: how hot it is, and whether it slows itself down.

Linux thermal zones everywhere; on a Raspberry Pi also its firmware's throttling bits (documented with ``vcgencmd get_throttled``).
"""

from dataclasses import dataclass
from pathlib import Path

_SYS = Path("/sys")
_THERMAL = "class/thermal/thermal_zone0/temp"
_THROTTLED = "devices/platform/soc/soc:firmware/get_throttled"
_UNDER_VOLTAGE_NOW, _CAPPED_NOW, _THROTTLED_NOW, _SOFT_LIMIT_NOW = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_UNDER_VOLTAGE_SINCE_BOOT, _THROTTLED_SINCE_BOOT = 1 << 16, 1 << 18


@dataclass(frozen=True, slots=True)
class Throttling:
    """What a Raspberry Pi's firmware says of power and heat."""

    under_voltage: bool
    slowed: bool
    under_voltage_since_boot: bool
    slowed_since_boot: bool


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
        return None
    return Throttling(
        under_voltage=bool(bits & _UNDER_VOLTAGE_NOW),
        slowed=bool(bits & (_CAPPED_NOW | _THROTTLED_NOW | _SOFT_LIMIT_NOW)),
        under_voltage_since_boot=bool(bits & _UNDER_VOLTAGE_SINCE_BOOT),
        slowed_since_boot=bool(bits & _THROTTLED_SINCE_BOOT),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
