"""Folders that look like the root of a machine with Edge TPUs in it: /sys and /dev as far as discovery reads them."""

from pathlib import Path


def usb_stick(
    root: Path, port: int = 1, *, ready: bool = True, speed_mbps: int = 5000, power_ma: int = 896, mode: int | None = 0o660
) -> Path:
    """A stick, before or behind its firmware. ``mode``: of its device file; ``None`` leaves that out. Returns the device file."""
    directory = root / f"sys/bus/usb/devices/2-{port}"
    vendor, product = ("18d1", "9302") if ready else ("1a6e", "089a")
    values = {"idVendor": vendor, "idProduct": product, "busnum": 2, "devnum": 6 + port, "speed": speed_mbps, "bMaxPower": f"{power_ma}mA"}
    _write(directory, values)
    node = root / f"dev/bus/usb/002/{6 + port:03d}"
    node.parent.mkdir(parents=True, exist_ok=True)
    if mode is not None:
        node.touch()
        node.chmod(mode)
    return node


def pci_module(root: Path, number: int = 0, *, temperature_c: float = 52.3, driver: bool = True) -> Path:
    """A PCIe module with its driver, or without one. Returns the device file."""
    node = root / f"dev/apex_{number}"
    _write(root / f"sys/bus/pci/devices/0000:0{1 + number}:00.0", {"vendor": "0x1ac1", "device": "0x089a"})
    if driver:
        node.parent.mkdir(parents=True, exist_ok=True)
        node.touch()
        trips = {f"trip_point{i}_temp": 85_000 + 5_000 * i for i in range(3)}
        _write(root / "sys/class/apex" / node.name, {"temp": int(temperature_c * 1000), **trips})
    return node


def empty_machine(root: Path) -> None:
    """One with USB and PCI, and nothing on them that matters here."""
    _write(root / "sys/bus/usb/devices/usb1", {"idVendor": "1d6b", "idProduct": "0002", "speed": 480})
    (root / "sys/bus/usb/devices/1-0:1.0").mkdir(parents=True)
    _write(root / "sys/bus/pci/devices/0000:00:00.0", {"vendor": "0x8086", "device": "0x1237"})


def _write(directory: Path, values: dict[str, object]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (directory / name).write_text(f"{value}\n")


def udev_rule(root: Path) -> None:
    """The rule that lets a group open a stick."""
    rule = root / "lib/udev/rules.d/60-libedgetpu1-std.rules"
    rule.parent.mkdir(parents=True)
    rule.write_text('SUBSYSTEM=="usb", ATTRS{idVendor}=="1a6e", GROUP="plugdev"\n')
