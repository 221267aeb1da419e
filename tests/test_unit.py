"""The files that make the node a service: how confined it is, and what its package is pinned to."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.errors import EXIT_CONFIG

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "systemd" / "edge-node.service"


def settings():
    """Key to values of the unit."""
    found = {}
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def test_security_score_is_at_most_1_7():
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on this machine; scripts/device-test asks it in the emulated one")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=17", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-600:] + done.stderr
    assert float(re.search(r"Overall exposure level for \S+: (\d+\.\d+)", done.stdout)[1]) <= 1.7


def test_unit_and_program_agree():
    unit = settings()
    assert unit["RestartPreventExitStatus"] == [str(EXIT_CONFIG)]
    assert unit["Type"] == ["notify"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert unit["ExecStart"] == ["/opt/edge-node/bin/edge-node run -c /etc/edge-node/edge-node.yaml"]
    assert unit["RuntimeDirectory"] == unit["StateDirectory"] == unit["User"] == ["edge-node"]


def test_every_secret_may_come_as_a_credential_and_none_has_to():
    assert "edge-node.mqtt-password" in settings()["LoadCredential"]
    assert not [c for c in settings()["LoadCredential"] if ":" in c]


def test_newer_systemd_takes_the_same_credentials_without_a_line_about_each_that_is_missing():
    lines = (ROOT / "systemd" / "credentials.conf").read_text().splitlines()
    assert "LoadCredential=" in lines
    assert "ImportCredential=edge-node.*" in lines
    assert all(c.startswith("edge-node.") for c in settings()["LoadCredential"])


@pytest.mark.parametrize("suite", ["trixie", "bookworm"])
def test_lock_pins_every_dependency_with_hashes_and_names_no_place(suite):
    text = (ROOT / "config" / f"requirements-{suite}.txt").read_text()
    pinned = re.findall(r"^([a-z0-9-]+)==\S+ \\\n(?:    --hash=sha256:[0-9a-f]{64}(?: \\\n|\n))+", text, re.MULTILINE)
    assert {"ai-edge-litert", "numpy", "opencv-python-headless", "orjson", "paho-mqtt", "pydantic", "pyyaml", "websockets"} <= set(pinned)
    assert len(pinned) == text.count("==")
    assert "://" not in text
    assert "--index" not in text


def test_bookworm_keeps_to_what_its_picamera2_can_bear():
    text = (ROOT / "config" / "requirements-bookworm.txt").read_text()
    assert re.search(r"^numpy==1\.2[4-6]\.", text, re.MULTILINE)
    assert "opencv-python-headless==4.11.0.86" in text


@pytest.mark.parametrize(("option", "command"), [("--uninstall", "apt remove edge-node"), ("--purge", "apt purge edge-node")])
@pytest.mark.parametrize("state", ["ii ", "iF "])
def test_installer_takes_nothing_of_the_package_away(tmp_path, option, command, state):
    harmless = dict.fromkeys(("rm", "rmdir", "userdel", "systemctl", "udevadm"), "echo $0")
    for name, body in {"id": "echo 0", "dpkg-query": f"echo '{state}'", **harmless}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    installer = [ROOT / "systemd/install.sh", option]
    done = subprocess.run(installer, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"remove it with: {command}\n")


def test_package_does_not_go_over_what_the_installer_installed(tmp_path):
    text = (ROOT / "scripts/debian/preinst").read_text().replace("@NEEDED_KB@", "0").replace("/usr/local/bin", str(tmp_path))

    def preinst():
        return subprocess.run(["sh", "-c", text, "preinst", "install"], capture_output=True, text=True, check=False)

    assert preinst().returncode == 0
    (tmp_path / "edge-node").symlink_to("/opt/edge-node/bin/edge-node")
    refused = preinst()
    assert refused.returncode == 1
    assert "sudo systemd/install.sh --uninstall" in refused.stderr


def test_altered_wheel_stops_the_building_of_the_package(tmp_path):
    wheels, out = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    version = re.search(r"^ai-edge-litert==(\S+)", (ROOT / "config" / "requirements-trixie.txt").read_text(), re.MULTILINE)[1]
    (wheels / f"ai_edge_litert-{version}-cp313-cp313-manylinux_2_27_aarch64.whl").write_bytes(b"not what was published")
    build = [sys.executable, str(ROOT / "scripts/debian/build.py"), "--arch", "arm64", "--wheels", str(wheels), "--output", str(out)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "build-deb: the wheels do not fit config/requirements-trixie.txt; nothing was built" in done.stderr
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
