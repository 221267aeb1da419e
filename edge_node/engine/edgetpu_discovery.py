"""What the kernel knows of Coral Edge TPUs on this machine: USB sticks and PCIe modules, from sysfs and /dev.

libedgetpu gives no reason when it cannot open a device, so the reason is read here. Nothing here opens a device or loads a
library. ``root`` is the machine's root directory; tests give a folder of their own.

USB ids: 1a6e:089a until libedgetpu has loaded the stick's firmware at its first use, 18d1:9302 from then on.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from edge_node import paths

ROOT = Path("/")
USB_BEFORE_FIRMWARE = ("1a6e", "089a")
USB_READY = ("18d1", "9302")
PCI_ID = ("0x1ac1", "0x089a")
USB3_MBPS = 5000.0
TRIP_POINTS = 3

UDEV_ADVICE = "sudo usermod -aG plugdev $USER (then log in again), with the udev rule of docs/edge-tpu.md"
APEX_ADVICE = "sudo groupadd -f apex && sudo usermod -aG apex $USER (then log in again), with the udev rule of docs/edge-tpu.md"
SERVICE_ADVICE = (
    "sudo systemd-sysusers edge-node.conf && sudo udevadm control --reload && sudo udevadm trigger && sudo systemctl restart edge-node"
)
"""The service's groups and the udev rules are those of the package, or of systemd/install.sh."""
DRIVER_ADVICE = "install gasket-dkms as docs/edge-tpu.md has it, then restart"
PCI_ADVICE = "look whether it sits well in its slot and PCIe is switched on (lspci -d 1ac1:089a shows it), then restart"
REPLUG_ADVICE = "unplug the stick, wait 5 s, plug it in again"
USB_FAULT_ADVICE = f"another port and cable, its own power; or {REPLUG_ADVICE}"
PCI_FAULT_ADVICE = "switch the machine off and on; look whether the module sits well in its slot and stays cool"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something does not work, and what to do about it."""

    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.what}: {self.advice}"


@dataclass(frozen=True, slots=True)
class UsbStick:
    """``name`` is the kernel's (``2-1``). ``node``: the device file, such as /dev/bus/usb/002/003."""

    name: str
    firmware_loaded: bool
    speed_mbps: float
    power_ma: int | None
    node: Path
    accessible: bool

    @property
    def ids(self) -> str:
        return ":".join(USB_READY if self.firmware_loaded else USB_BEFORE_FIRMWARE)

    @property
    def description(self) -> str:
        power = f", asks for {self.power_ma} mA" if self.power_ma is not None else ""
        return f"USB {self.name} ({self.ids}, {self.speed_mbps:g} Mbit/s{power})"


@dataclass(frozen=True, slots=True)
class PciModule:
    """``node`` is /dev/apex_N, or ``None`` while no driver has taken the module. Temperatures in °C; ``None``: cannot be read."""

    name: str
    node: Path | None
    accessible: bool
    temperature_c: float | None
    trip_points_c: tuple[float | None, ...]

    @property
    def description(self) -> str:
        return f"PCIe {self.name}"


@dataclass(frozen=True, slots=True)
class Hardware:
    """Every Edge TPU that the kernel sees."""

    usb: tuple[UsbStick, ...]
    pci: tuple[PciModule, ...]

    def wanted(self, device: str) -> tuple[UsbStick | PciModule, ...]:
        """Those that ``model.device`` (``usb``, ``pci:1`` …) admits, whatever its index."""
        kind = _kind(device)
        return (self.usb if kind != "pci" else ()) + (self.pci if kind != "usb" else ())

    def chosen(self, device: str) -> UsbStick | PciModule | None:
        """The one that ``device`` means, the first where it has no index; ``None`` when there are not as many."""
        return next(iter(self.wanted(device)[_index(device) :]), None)

    def module(self, device: str) -> PciModule | None:
        """The PCIe module that ``device`` means, or may mean beside USB sticks."""
        return next((found for found in self.wanted(device)[_index(device) :] if isinstance(found, PciModule)), None)


def find_hardware(root: Path = ROOT) -> Hardware:
    """Look at sysfs. What vanishes while it is read, or cannot be read, is left out."""
    return Hardware(_usb_sticks(root), _pci_modules(root))


def why_absent(hardware: Hardware, device: str = "") -> Reason:
    """Why libedgetpu lists no device, or none that fits ``device``."""
    wanted, chosen = hardware.wanted(device), hardware.chosen(device)
    if chosen is not None:
        return _why(chosen)
    if wanted:
        asked = f"model.device {device} means Edge TPU number {_index(device) + 1} {_place(device)}, but there is only {len(wanted)}"
        return Reason(asked, f"set model.device accordingly; the first is {_kind(device)}:0")
    other = hardware.wanted("")
    if other:
        return Reason(f"model.device asks for {device}, but there is only {other[0].description}", "set model.device accordingly")
    advice = PCI_ADVICE if _kind(device) == "pci" else "plug it in, use its own cable and a port that gives 900 mA"
    return Reason(f"no Edge TPU {_place(device)}", advice)


def why_not_opened(hardware: Hardware, device: str = "") -> Reason:
    """Why opening a device failed, although one may be there."""
    found = hardware.chosen(device)
    if isinstance(found, UsbStick) and found.accessible and not found.firmware_loaded:
        return Reason(f"{found.description} is stuck before its firmware", f"{REPLUG_ADVICE}; a Raspberry Pi 5 needs its 5 A supply")
    return why_absent(hardware, device)


def fault_advice(hardware: Hardware, device: str = "") -> str:
    """What to do about a device that opens and then fails."""
    return PCI_FAULT_ADVICE if isinstance(hardware.chosen(device), PciModule) else USB_FAULT_ADVICE


def heat_advice(hardware: Hardware) -> Reason | None:
    """What to do about a PCIe module that is near or beyond its first trip point, where it slows down; else ``None``."""
    for module in hardware.pci:
        first_c = next(iter(module.trip_points_c), None)
        if module.temperature_c is None or first_c is None or module.temperature_c < first_c - 5:
            continue
        return Reason(
            f"{module.name} is at {module.temperature_c:.0f} °C and slows down at {first_c:.0f} °C",
            "give it a heat sink or air, or set model.edgetpu_options Performance: Low",
        )
    return None


def _kind(device: str) -> str:
    return device.partition(":")[0]


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _place(device: str) -> str:
    return {"usb": "on USB", "pci": "on PCIe"}.get(_kind(device), "on USB or PCIe")


def _why(found: UsbStick | PciModule) -> Reason:
    if isinstance(found, PciModule) and found.node is None:
        return Reason(f"{found.description} has no driver", DRIVER_ADVICE)
    if not found.accessible:
        return Reason(f"no permission to use {found.description} at {found.node}", _permission_advice(found))
    again = REPLUG_ADVICE if isinstance(found, UsbStick) else "switch the machine off and on"
    return Reason(f"{found.description} is there but does not answer, or another program has it", f"stop that, or {again}")


def _permission_advice(found: UsbStick | PciModule) -> str:
    if paths.files_are_the_services():  # whoever reads it is another user
        return SERVICE_ADVICE
    return UDEV_ADVICE if isinstance(found, UsbStick) else APEX_ADVICE


def _usb_sticks(root: Path) -> tuple[UsbStick, ...]:
    sticks = []
    for directory in _entries(root / "sys/bus/usb/devices"):
        ids = (_text(directory / "idVendor"), _text(directory / "idProduct"))
        if ids not in (USB_BEFORE_FIRMWARE, USB_READY):
            continue
        bus, number = _number(directory / "busnum"), _number(directory / "devnum")
        node = Path(f"/dev/bus/usb/{int(bus or 0):03d}/{int(number or 0):03d}")
        power = _number(directory / "bMaxPower")
        sticks.append(
            UsbStick(
                name=directory.name,
                firmware_loaded=ids == USB_READY,
                speed_mbps=_number(directory / "speed") or 0.0,
                power_ma=None if power is None else int(power),
                node=node,
                accessible=_accessible(root / node.relative_to("/")),
            )
        )
    return tuple(sticks)


def _pci_modules(root: Path) -> tuple[PciModule, ...]:
    modules = []
    for node in _entries(root / "dev"):
        if not node.name.startswith("apex_"):
            continue
        sysfs = root / "sys/class/apex" / node.name
        modules.append(
            PciModule(
                node.name,
                Path("/dev") / node.name,
                _accessible(node),
                _millidegrees(sysfs / "temp"),
                tuple(_millidegrees(sysfs / f"trip_point{i}_temp") for i in range(TRIP_POINTS)),
            )
        )
    if not modules:
        modules.extend(
            PciModule(directory.name, None, False, None, ())
            for directory in _entries(root / "sys/bus/pci/devices")
            if (_text(directory / "vendor"), _text(directory / "device")) == PCI_ID
        )
    return tuple(modules)


def _accessible(node: Path) -> bool:
    return os.access(node, os.R_OK | os.W_OK, effective_ids=True)


def _entries(directory: Path) -> list[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:  # not there, or this process has no descriptor left to look
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # gone meanwhile, or an attribute that this device does not have
        return ""


def _number(file: Path) -> float | None:
    digits = _text(file).removesuffix("mA")
    try:
        value = float(digits)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _millidegrees(file: Path) -> float | None:
    value = _number(file)
    return None if value is None else value / 1000
