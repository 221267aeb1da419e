"""``edge-node doctor`` on stand-ins of machines: what it says, and its exit code."""

import importlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.cli import main
from edge_node.config.load import override
from edge_node.config.models import Config, Model
from edge_node.doctor.accelerator import examine_accelerator
from edge_node.doctor.broker import examine_broker
from edge_node.doctor.software import examine_software
from edge_node.health import Health
from edge_node.local_broker import local_broker
from edge_node.setup import service
from edge_node.status_socket import StatusSocket
from tests.simtpu.simtpu import Fault
from tests.simtpu.sysfs import empty_machine, pci_module, udev_rule, usb_stick


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    empty_machine(tmp_path)
    udev_rule(tmp_path)
    return tmp_path


@pytest.fixture
def doctor(tpu, root, shared, capsys):
    """Runs the command; gives its exit code and its findings by part."""

    def examine(*options, **settings):
        values = {"model.directory": shared.models, "camera.source": "synthetic", "mqtt.enabled": "false", "model.accelerator": "edgetpu"}
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        code = main(["doctor", "--json", "--root", str(root), *options, *words])
        findings = json.loads(capsys.readouterr().out)
        return code, {finding["part"]: finding for finding in findings}

    return examine


def test_all_is_well_with_a_stick_that_works(doctor, root):
    usb_stick(root)
    code, found = doctor()
    assert code == 0
    assert {finding["state"] for finding in found.values()} <= {"fine", "note"}
    assert "ms an invoke, by heads" in found["trial"]["text"]
    assert found["udev"]["text"] == "/lib/udev/rules.d/60-libedgetpu1-std.rules"
    assert "RuntimeVersion(14)" in found["libedgetpu"]["text"]


def test_a_udev_rule_that_cannot_be_read_is_passed_over(doctor, root):
    usb_stick(root)
    (root / "etc/udev/rules.d").mkdir(parents=True)
    (root / "etc/udev/rules.d/10-gone.rules").symlink_to("/nowhere")
    assert doctor()[1]["udev"]["text"] == "/lib/udev/rules.d/60-libedgetpu1-std.rules"


def test_a_udev_rule_that_is_missing_is_to_be_put_there(doctor, root):
    usb_stick(root)
    (root / "lib/udev/rules.d/60-libedgetpu1-std.rules").unlink()
    found = doctor()[1]["udev"]
    assert (found["state"], found["advice"]) == ("note", "put the one of docs/edge-tpu.md there")


@pytest.mark.parametrize(("accelerator", "code", "state"), [("edgetpu", 1, "wrong"), ("auto", 0, "note")])
def test_no_stick_is_wrong_only_where_one_is_asked_for(doctor, tpu, accelerator, code, state):
    tpu.control.present = 0
    found_code, found = doctor(model__accelerator=accelerator)
    assert (found_code, found["device"]["state"]) == (code, state)
    assert found["device"]["advice"].startswith("plug it in")
    assert "trial" not in found


def test_a_stick_without_permission_is_told_the_group(doctor, root):
    usb_stick(root, mode=None)
    code, found = doctor()
    assert (code, found["device"]["state"]) == (1, "wrong")
    assert "no permission to use USB 2-1" in found["device"]["text"]
    assert "usermod -aG plugdev" in found["device"]["advice"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root asks for the service's user")
@pytest.mark.parametrize(
    ("options", "state"),
    [([], "wrong"), (["-c", "edge-node.yaml"], "wrong"), ([], "fine")],
    ids=["installed file", "given file", "open to all"],
)
def test_a_stick_that_root_may_open_and_the_service_may_not_is_wrong(doctor, root, monkeypatch, options, state):
    usb_stick(root, mode=0o666 if state == "fine" else 0o660)
    configuration = root / "edge-node.yaml"
    configuration.touch()
    monkeypatch.setattr(service, "USER", "nobody")
    monkeypatch.setenv("STATE_DIRECTORY", str(root))
    monkeypatch.setattr("edge_node.commands.settings_arguments.SYSTEM_FILE", configuration)
    monkeypatch.chdir(root)
    code, found = doctor(*options)
    assert (code, found["device"]["state"]) == (int(state == "wrong"), state)
    if state == "wrong":
        assert found["device"]["text"].startswith("the service's user may not open USB 2-1")
        assert found["device"]["advice"].startswith("sudo systemd-sysusers edge-node.conf")


def test_a_stick_stuck_before_its_firmware_is_to_be_replugged(doctor, root, tpu):
    usb_stick(root, ready=False)
    tpu.control.open_failures = 5
    code, found = doctor()
    assert (code, found["trial"]["state"]) == (1, "wrong")
    assert "stuck before its firmware" in found["trial"]["text"]
    assert found["trial"]["advice"].startswith("unplug the stick")


def test_an_index_beyond_the_sticks_there_are_is_told_once(doctor, root):
    usb_stick(root)
    code, found = doctor(model__device="usb:9")
    assert code == 1
    assert found["device"]["text"] == "model.device usb:9 means Edge TPU number 10 on USB, but there is only 1"
    assert "trial" not in found


def test_a_library_of_another_layout_is_recognised_by_its_crash(doctor, root, tpu):
    usb_stick(root)
    tpu.control.old_layout = 1
    code, found = doctor()
    assert (code, found["trial"]["state"]) == (1, "wrong")
    assert "built for another TensorFlow Lite" in found["trial"]["text"]


@pytest.mark.parametrize("accelerator", ["edgetpu", "auto"])
def test_a_fault_in_the_trial_is_wrong_even_where_the_next_one_goes_well(doctor, root, tpu, accelerator):
    usb_stick(root)
    tpu.control.fault = Fault.ABORT
    code, found = doctor(model__accelerator=accelerator)
    assert (code, found["trial"]["state"]) == (1, "wrong")
    assert found["trial"]["text"].startswith("failed once, then ")
    assert "(abort) at: trial" in found["trial"]["text"]


def test_a_trial_without_a_runtime_comes_with_that_runtimes_advice(doctor, root):
    usb_stick(root)
    _, found = doctor(model__runtime="pycoral")
    assert found["trial"]["text"].startswith("not possible: ")
    assert found["trial"]["advice"] == found["TensorFlow Lite"]["advice"]


def test_a_refused_cut_is_worth_knowing(doctor, root, tpu):
    usb_stick(root)
    tpu.control.refuse_cut = 1
    code, found = doctor()
    assert (code, found["trial"]["state"]) == (0, "note")
    assert "its stock output is used" in found["trial"]["text"]


def test_a_missing_library_is_a_note_where_nothing_needs_it(doctor, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nowhere")
    assert doctor(model__accelerator="auto")[1]["libedgetpu"]["state"] == "note"
    code, found = doctor()
    assert (code, found["libedgetpu"]["state"]) == (1, "wrong")


def test_slow_usb_and_a_pi_5s_power_budget_are_told(doctor, root):
    usb_stick(root, speed_mbps=480)
    (root / "proc/device-tree/chosen/power").mkdir(parents=True)
    (root / "proc/device-tree/model").write_text("Raspberry Pi 5 Model B Rev 1.0\0")
    code, found = doctor()
    assert "480 Mbit/s" in found["USB speed"]["text"]
    assert (code, found["USB power"]["state"]) == (1, "wrong")
    (root / "proc/device-tree/chosen/power/usb_max_current_enable").write_bytes(bytes((0, 0, 0, 1)))
    assert doctor()[1]["USB power"]["state"] == "fine"


def test_a_hot_module_is_wrong(doctor, root):
    pci_module(root, temperature_c=91)
    code, found = doctor(model__device="pci")
    assert code == 1
    assert "slows down at 85 °C" in found["temperature"]["text"]


def test_the_trial_is_left_out_while_a_node_uses_the_device(doctor, root):
    usb_stick(root)
    health = Health()
    health.fact("edgetpu_output", "heads")
    health.frame(1, "edgetpu", {})
    with StatusSocket("hall", health):
        _, found = doctor()
    assert found["trial"]["text"] == "left out: the Edge TPU is at work for hall"


def test_the_trial_is_left_out_while_a_node_that_has_no_frame_yet_holds_the_device(doctor, root, tpu):
    usb_stick(root)
    health = Health()
    health.fact("edgetpu_output", "heads")
    with StatusSocket("hall", health):
        _, found = doctor()
    assert found["trial"]["text"] == "left out: the Edge TPU is at work for hall"
    assert tpu.control.opens == 0


def test_a_cpu_node_is_not_asked_about_edge_tpus(doctor):
    code, found = doctor(model__accelerator="cpu")
    assert code == 0
    assert found["Edge TPU"]["state"] == "note"
    assert "model (edgetpu)" not in found


@pytest.mark.parametrize("accelerator", ["auto", "edgetpu", "cpu"])
def test_a_compiled_model_under_the_cpu_ones_name_is_wrong(doctor, root, compiled_model, accelerator):
    (root / "own.tflite").symlink_to(compiled_model)
    code, found = doctor(model__name=root / "own.tflite", model__accelerator=accelerator)
    assert (code, found["model (cpu)"]["state"]) == (1, "wrong")
    assert found["model (cpu)"]["text"] == f"{root}/own.tflite: compiled for the Edge TPU, it cannot run on the CPU"
    assert found["model (cpu)"]["advice"].startswith("give the model it was compiled from")


def test_a_cpu_model_under_the_compiled_ones_name_is_told_without_a_stick_too(doctor, tpu, root, cpu_model):
    tpu.control.present = 0
    for name in ("own.tflite", "own_edgetpu.tflite"):
        (root / name).symlink_to(cpu_model)
    for accelerator, state in (("auto", "note"), ("edgetpu", "wrong")):
        _, found = doctor(model__name=root / "own.tflite", model__accelerator=accelerator)
        assert (found["model (cpu)"]["state"], found["model (edgetpu)"]["state"]) == ("fine", state)
        assert found["model (edgetpu)"]["text"] == f"{root}/own_edgetpu.tflite: not compiled for the Edge TPU"
        assert found["model (edgetpu)"]["advice"].startswith("run edgetpu_compiler on it")


@pytest.mark.parametrize(
    ("accelerator", "require", "code", "state"),
    [("edgetpu", "false", 1, "wrong"), ("auto", "true", 1, "wrong"), ("auto", "false", 0, "note")],
)
def test_a_model_for_the_cpu_only_is_wrong_where_an_edge_tpu_is_expected(doctor, accelerator, require, code, state):
    found_code, found = doctor(model__name="marker", model__accelerator=accelerator, model__require_edgetpu=require)
    assert (found_code, found["Edge TPU"]["state"]) == (code, state)


def test_a_root_that_is_not_there_is_told(tmp_path, capsys):
    assert main(["doctor", "--root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err


def test_missing_models_and_cameras_are_wrong(doctor, root):
    code, found = doctor(model__directory=root, camera__source="/dev/video97")
    assert code == 1
    assert found["model (cpu)"]["state"] == found["camera"]["state"] == "wrong"
    assert found["model (cpu)"]["advice"].startswith("edge-node models fetch movenet-lightning")
    assert "/dev/video97: no such camera" in found["camera"]["text"]


def test_a_broker_that_is_not_there_is_wrong(doctor):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        code, found = doctor(mqtt__enabled="true", mqtt__host="127.0.0.1", mqtt__port=port, model__accelerator="cpu")
    assert (code, found["broker"]["state"]) == (1, "wrong")
    assert f"no broker listens at 127.0.0.1:{port}" in found["broker"]["text"]


def test_a_broker_that_is_not_there_is_told_beside_the_fallback_that_is():
    with local_broker() as there, socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        mqtt = {"mqtt.host": "127.0.0.1", "mqtt.port": port, "mqtt.fallback_brokers": [{"host": "127.0.0.1", "port": there}]}
        found = [(one.state, one.text, one.advice) for one in examine_broker(override(Config(), mqtt))]
    assert found == [
        ("fine", f"127.0.0.1:{there} takes this node, MQTT 5", ""),
        ("note", f"that is a fallback: no broker listens at 127.0.0.1:{port}", "check mqtt.host and mqtt.port, or start the broker"),
    ]


def test_a_tls_file_that_is_not_there_is_wrong(doctor):
    code, found = doctor(mqtt__enabled="true", mqtt__tls__enabled="true", mqtt__tls__ca_file="/nowhere/ca.pem", model__accelerator="cpu")
    assert (code, found["broker"]["state"]) == (1, "wrong")
    assert found["broker"]["text"] == "mqtt.tls.ca_file: /nowhere/ca.pem: No such file or directory"
    assert found["broker"]["advice"].startswith("correct the section mqtt")


def test_a_password_that_cannot_be_read_is_wrong(doctor, monkeypatch):
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "\udcff")
    code, found = doctor(mqtt__enabled="true", model__accelerator="cpu")
    assert (code, found["broker"]["state"]) == (1, "wrong")
    assert found["broker"]["text"] == "environment variable EDGE_NODE_MQTT_PASSWORD: is not text in UTF-8"


def test_the_folder_of_the_models_is_told_as_configured(doctor, tmp_path):
    assert doctor(model__directory=tmp_path)[1]["files"]["text"].endswith(f", models in {tmp_path}")


@pytest.mark.parametrize(
    ("bits", "state", "text"),
    [("50005", "wrong", "under-voltage now"), ("50000", "note", "since the last start"), ("0", "fine", "no under")],
)
def test_a_raspberry_pis_power_is_told(doctor, root, bits, state, text):
    firmware = root / "sys/devices/platform/soc/soc:firmware"
    firmware.mkdir(parents=True)
    (firmware / "get_throttled").write_text(bits)
    found = doctor(model__accelerator="cpu")[1]
    assert found["power"]["state"] == state
    assert text in found["power"]["text"]


@pytest.mark.parametrize(("alarm", "state", "text"), [("1", "wrong", "under-voltage now"), ("0", "fine", "this kernel does not tell")])
def test_a_raspberry_pi_whose_kernel_tells_of_under_voltage_alone(doctor, root, alarm, state, text):
    monitor = root / "sys/bus/platform/devices/raspberrypi-hwmon/hwmon/hwmon2"
    monitor.mkdir(parents=True)
    (monitor / "in0_lcrit_alarm").write_text(alarm)
    found = doctor(model__accelerator="cpu")[1]
    assert found["power"]["state"] == state
    assert text in found["power"]["text"]


@pytest.mark.parametrize(("source", "state"), [("picamera2", "wrong"), ("synthetic", "note")])
def test_an_import_of_picamera2_that_never_ends_is_given_up(doctor, tmp_path, monkeypatch, source, state):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "picamera2.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    monkeypatch.setattr("edge_node.doctor.surroundings.IMPORT_S", 0.5)
    _, found = doctor(model__accelerator="cpu", camera__source=source)
    assert (found["picamera2"]["state"], found["picamera2"]["text"]) == (state, "installed, but its import does not end within 0.5 s")


@pytest.mark.skipif(importlib.util.find_spec("picamera2") is not None, reason="picamera2 is installed")
def test_a_clip_whose_name_begins_like_the_pi_cameras_needs_no_picamera2(doctor, tmp_path, monkeypatch):
    (tmp_path / "picamera-garden.mp4").touch()
    monkeypatch.chdir(tmp_path)
    code, found = doctor(model__accelerator="cpu", camera__source="picamera-garden.mp4")
    assert "picamera2" not in found
    assert code == 0


def test_what_a_part_says_gives_no_orders_to_the_terminal(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "picamera2.py").write_text("raise ImportError('\\x1b[2Jhere')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    values = ("model.accelerator=cpu", "mqtt.enabled=false", "camera.source=synthetic")
    main(["doctor", "--root", str(root), *(word for value in values for word in ("--set", value))])
    said = capsys.readouterr().out
    assert "does not import: ImportError: \ufffd[2Jhere" in said
    assert not [c for c in said if not c.isprintable() and c != "\n"]


def test_listing_devices_leaves_no_process_behind(root, tpu):
    def children():
        return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}

    tpu.control.present = 0
    before = children()
    assert "libedgetpu" in {finding.part for finding in examine_accelerator(Model(accelerator="edgetpu"), root)}
    assert children() <= before


def test_a_process_that_cannot_be_started_is_wrong(root, tpu, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    found = {finding.part: finding for finding in examine_accelerator(Model(accelerator="edgetpu"), root)}
    assert "the process for the Edge TPU cannot be started: No such file" in found["libedgetpu"].text


@pytest.mark.parametrize("content", ["raise ImportError('cannot import name sites')", "print 'for Python 2'", ""])
def test_the_pycoral_of_pypi_is_told_apart_whether_it_can_be_imported_or_not(tmp_path, monkeypatch, content):
    (tmp_path / "pycoral").mkdir()
    (tmp_path / "pycoral/__init__.py").write_text(content, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    found = {finding.part: finding for finding in examine_software(Model())}
    assert found["pycoral"].state == "wrong"
    assert "another program of that name" in found["pycoral"].text
    assert found["pycoral"].advice == "pip uninstall pycoral"


def test_text_for_people_has_a_line_for_each_and_a_last_word(root, shared):
    words = ["--set", "model.accelerator=cpu", "--set", f"model.directory={shared.models}", "--set", "camera.source=synthetic"]
    done = subprocess.run(
        [sys.executable, "-m", "edge_node", "doctor", "--root", root, *words, "--set", "mqtt.enabled=false"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "all is well"
    assert any("TensorFlow Lite" in line for line in done.stdout.splitlines())
