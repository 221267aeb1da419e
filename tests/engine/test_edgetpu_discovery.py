"""Discovery against folders that look like sysfs, and the sentences it makes of what it finds."""

import os
import tempfile
from pathlib import Path

import pytest

from edge_node.engine.edgetpu_discovery import find_hardware, heat_advice, why_absent, why_not_opened
from tests.simtpu.sysfs import empty_machine, pci_module, usb_stick


@pytest.fixture
def root(tmp_path):
    empty_machine(tmp_path)
    return tmp_path


def test_a_machine_without_one_has_none(root):
    hardware = find_hardware(root)
    assert hardware.usb == hardware.pci == ()
    assert str(why_absent(hardware)).startswith("no Edge TPU on USB or PCIe: plug it in")
    assert str(why_absent(hardware, "pci:0")).startswith("no Edge TPU on PCIe")


def test_a_machine_without_sysfs_has_none(tmp_path):
    assert find_hardware(tmp_path).wanted("") == ()


def test_a_ready_stick_is_described(root):
    usb_stick(root)
    (stick,) = find_hardware(root).usb
    assert (stick.firmware_loaded, stick.speed_mbps, stick.power_ma, stick.accessible) == (True, 5000.0, 896, True)
    assert stick.description == "USB 2-1 (18d1:9302, 5000 Mbit/s, asks for 896 mA)"
    assert str(stick.node) == "/dev/bus/usb/002/007"


def test_one_that_never_gets_its_firmware_is_to_be_replugged(root):
    usb_stick(root, ready=False)
    assert "1a6e:089a" in str(why_not_opened(find_hardware(root)))
    assert "stuck before its firmware: unplug the stick" in str(why_not_opened(find_hardware(root)))


@pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights, so it needs them")
def test_a_stick_without_permission_names_group_and_rule():
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        usb_stick(root, mode=0o600)
        os.seteuid(65534)
        try:
            said = str(why_not_opened(find_hardware(root)))
        finally:
            os.seteuid(0)
    assert said.startswith("no permission to use USB 2-1 (18d1:9302, 5000 Mbit/s, asks for 896 mA) at /dev/bus/usb/002/007")
    assert "usermod -aG plugdev" in said
    assert said.endswith("with the udev rule of docs/edge-tpu.md")  # apt cannot reinstall what came as a file


def test_a_stick_whose_device_file_is_missing_is_not_accessible(root):
    usb_stick(root, mode=None)
    assert "no permission to use USB 2-1" in str(why_not_opened(find_hardware(root)))


def test_the_service_names_what_lets_its_own_user_in(root, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(root))
    usb_stick(root, mode=None)
    said = str(why_not_opened(find_hardware(root)))
    assert "sudo systemd-sysusers edge-node.conf" in said
    assert "$USER" not in said


def test_a_module_tells_temperature_and_trip_points(root):
    pci_module(root, temperature_c=52.3)
    (module,) = find_hardware(root).pci
    assert (module.temperature_c, module.trip_points_c) == (52.3, (85.0, 90.0, 95.0))
    assert heat_advice(find_hardware(root)) is None


def test_a_trip_point_that_cannot_be_read_moves_no_other(root):
    pci_module(root, temperature_c=83)
    (root / "sys/class/apex/apex_0/trip_point0_temp").write_text("none\n")
    (module,) = find_hardware(root).pci
    assert module.trip_points_c == (None, 90.0, 95.0)
    assert heat_advice(find_hardware(root)) is None


def test_a_hot_module_gets_advice(root):
    pci_module(root, temperature_c=83)
    assert "apex_0 is at 83 °C and slows down at 85 °C" in str(heat_advice(find_hardware(root)))


def test_a_module_without_driver_is_named(root):
    pci_module(root, driver=False)
    assert "no driver: install gasket-dkms as docs/edge-tpu.md has it" in str(why_absent(find_hardware(root), "pci"))


def test_the_wrong_kind_is_said(root):
    pci_module(root)
    assert str(why_absent(find_hardware(root), "usb")).startswith("model.device asks for usb, but there is only PCIe apex_0")


@pytest.mark.parametrize(("device", "place"), [("usb:9", "on USB"), (":9", "on USB or PCIe")])
def test_an_index_beyond_what_is_there_is_said(root, device, place):
    usb_stick(root)
    for why in (why_absent, why_not_opened):
        assert str(why(find_hardware(root), device)).startswith(
            f"model.device {device} means Edge TPU number 10 {place}, but there is only 1: set model.device accordingly"
        )


def test_the_reason_is_of_the_stick_that_the_index_means(root):
    usb_stick(root)
    usb_stick(root, port=2, mode=None)
    usb_stick(root, port=3, ready=False)
    said = [str(why_not_opened(find_hardware(root), device)) for device in ("usb", "usb:1", ":2")]
    assert said[0].startswith("USB 2-1 (18d1:9302, 5000 Mbit/s, asks for 896 mA) is there but does not answer")
    assert said[1].startswith("no permission to use USB 2-2")
    assert said[2].startswith("USB 2-3 (1a6e:089a, 5000 Mbit/s, asks for 896 mA) is stuck before its firmware")


@pytest.mark.parametrize("device", ["", "pci", "usb"])
def test_a_reason_does_not_change_with_the_temperature(root, device):
    pci_module(root, temperature_c=52)
    said = str(why_absent(find_hardware(root), device))
    pci_module(root, temperature_c=53)
    assert str(why_absent(find_hardware(root), device)) == said


def test_a_module_that_is_not_there_gets_no_advice_for_usb(root):
    reason = why_absent(find_hardware(root), "pci:9")
    assert reason.what == "no Edge TPU on PCIe"
    assert "cable" not in reason.advice


def test_one_that_is_there_and_does_not_open_may_be_in_use(root):
    usb_stick(root)
    assert "another program has it" in str(why_not_opened(find_hardware(root), "usb"))


@pytest.mark.parametrize("damaged", ["nan", "inf", "fast"])
def test_attributes_that_are_no_numbers_do_no_harm(root, damaged):
    usb_stick(root)
    for name in ("speed", "bMaxPower", "busnum"):
        (root / "sys/bus/usb/devices/2-1" / name).write_text(damaged)
    (stick,) = find_hardware(root).usb
    assert (stick.speed_mbps, stick.power_ma) == (0.0, None)


def test_attributes_that_vanish_while_read_do_no_harm(root):
    usb_stick(root)
    for name in ("speed", "bMaxPower", "busnum"):
        (root / "sys/bus/usb/devices/2-1" / name).unlink()
    (stick,) = find_hardware(root).usb
    assert (stick.speed_mbps, stick.power_ma) == (0.0, None)
