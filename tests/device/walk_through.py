"""docs/install.md followed to the letter: every command in it, in its order, typed by a user who may use sudo."""

import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from ear import LOGIN, PASSWORD
from life_checks import slow_down
from machine import HOST_SEEN_FROM_MACHINE
from package_checks import left_behind
from scene import CONFIGURATION, Scene, expect

ROOT = Path(__file__).resolve().parents[2]
PERSON = "newcomer"
HOME = f"/home/{PERSON}"
ENDLESS = ("journalctl -u edge-node -f", "mosquitto_sub")
"""Commands that show something until they are stopped."""
WATCHED_S = 30
MODELS = " --models /srv/models"
"""What the guide says to add where there is no network."""
CREDENTIAL = "/etc/credstore/edge-node.mqtt-password"


def documented(section: str) -> list[str]:
    """The commands in one section of the guide, without the remarks after them."""
    text = (ROOT / "docs/install.md").read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [re.split(r"\s+#\s", line.strip())[0] for line in text.splitlines() if line.startswith("    ")]


def install_it(scene: Scene) -> str:
    (install,) = documented("Install it")
    _settle_in(scene)
    begun = time.monotonic()
    told = _typed(scene, install)
    expect("Set it up and start it with: sudo edge-node setup" in told, told[-800:])
    expect(not scene.machine.succeeds("systemctl is-active -q edge-node"), "runs before it was set up")
    groups = scene.machine.run("id -Gn edge-node").split()
    expect({"video", "plugdev", "apex"} <= set(groups), f"groups: {groups}")
    return f"`{install}`, in {time.monotonic() - begun:.0f} s"


def set_it_up(scene: Scene) -> str:
    asking, flags, with_password = documented("Set it up")
    slow_down(scene)
    begun = time.monotonic()
    questions = {"Name of this node": "hall", "Camera [": "/dev/video0", "Run the model on": "cpu", "MQTT broker": scene.broker_address}
    told = scene.machine.converse(_as_person(asking + MODELS), questions)
    expect("edge-node is enabled and running" in told, told[-800:])
    scene.ear.wait("pose", 300, begun)
    _runs_after(scene, flags)
    scene.machine.run(f"printf 'not the password' > {HOME}/hall.password")
    refused = _typed(scene, with_password, check=False)
    expect("nothing was changed" in refused and not scene.machine.succeeds(f"test -e {CREDENTIAL}"), f"a wrong password: {refused[-500:]}")
    scene.machine.run(f"printf '{PASSWORD}\\n' > {HOME}/hall.password")
    _runs_after(scene, with_password)
    _runs_after(scene, "sudo edge-node setup --yes")  # what is not given stays as it is, the password too
    doctor = _typed(scene, "sudo edge-node doctor", check=False)
    expect("all is well" in doctor, doctor)
    modes = scene.machine.run(f"stat -c '%a %U' {CREDENTIAL}")
    expect(modes == "600 root", f"{CREDENTIAL}: {modes}")
    spilt = scene.machine.run(f"grep -rlFe '{PASSWORD}' /etc/edge-node /var/lib/edge-node /proc/{scene.main_pid()}/environ", check=False)
    expect(not spilt, f"the password is also in {spilt}")
    line = next(line for line in refused.splitlines() if "broker:" in line)
    return (
        f"asked four questions, then with flags, then with a password (a wrong one: `{line.strip()}`), then with nothing given;"
        " poses after each; then `sudo edge-node doctor`: all is well"
    )


def look_at_it(scene: Scene) -> str:
    status, journal, heard = (_typed(scene, command) for command in documented("Look at it"))
    expect(status.startswith("hall: ") and "! " not in status, status)
    expect("camera: /dev/video0" in journal, journal[-500:])
    expect("edge_node/v1/hall/pose {" in heard, heard[-500:])
    doubts = scene.machine.run("journalctl -b --no-pager | grep -ie 'edge-node.*credential' -e 'credential.*edge-node'", check=False)
    expect(not doubts, f"the journal complains of credentials: {doubts[-500:]}")
    poses = heard.count("/pose {")
    return f"status fine; {len(journal.splitlines())} lines of the journal; {poses} poses in {WATCHED_S} s by mosquitto_sub"


def change_it(scene: Scene) -> str:
    check, reload, restart = documented("Change it")
    cursor = scene.journal_cursor()
    scene.machine.run(
        f"sed -i -e 's/^  # max_people: .*/  max_people: 2/' -e '/^web:/,/^[a-z]/ s/^  # enabled: .*/  enabled: true/' {CONFIGURATION}"
    )
    expect("fine" in _typed(scene, check), "check-config does not say that it is fine")
    _typed(scene, reload)
    scene.wait_for_journal(cursor, "configuration reloaded: pose.max_people")
    waits = scene.wait_for_journal(cursor, "wait for a restart: web.enabled")
    _runs_after(scene, restart)
    page = scene.machine.run(
        "python3 -c 'import urllib.request as r; print(r.urlopen(\"http://127.0.0.1:8470/\").read().decode())'", timeout_s=60
    )
    expect("<html" in page, f"the live page: {page[:300]}")
    return f"`{waits.strip()}`; the live page answers; {_a_bad_file(scene, check, reload, restart)}"


def _a_bad_file(scene: Scene, check: str, reload: str, restart: str) -> str:
    process, cursor = scene.main_pid(), scene.journal_cursor()
    scene.machine.run(f"cp {CONFIGURATION} /root/good.yaml; printf 'camera:\\n  widht: 640\\n' > {CONFIGURATION}")
    told = _typed(scene, check + "; echo ended with $?")
    expect("2:3: camera.widht" in told and "ended with 78" in told, f"check-config of a bad file: {told}")
    _typed(scene, reload)
    scene.wait_for_journal(cursor, "2:3: camera.widht")
    scene.ear.wait_pose()
    expect(scene.main_pid() == process, "a bad file restarted it at reload")
    _typed(scene, restart, check=False)
    time.sleep(10)
    state = scene.machine.run("systemctl show -P ActiveState -P ExecMainStatus -P NRestarts edge-node").split()
    scene.machine.run(f"cp /root/good.yaml {CONFIGURATION}")
    expect(sorted(state) == sorted(["failed", "78", "0"]), f"started with a bad file: {state}")
    _runs_after(scene, restart)
    return "a bad file: refused at reload, exit code 78 at start and not tried again"


def update_it(scene: Scene) -> str:
    (install,) = documented("Update it")
    before = scene.machine.run(f"sha256sum {CONFIGURATION}")
    _runs_after(scene, install)
    expect(scene.machine.run(f"sha256sum {CONFIGURATION}") == before, "the configuration changed")
    version = scene.machine.run("dpkg-query -W -f '${Version}' edge-node")
    expect(version in scene.newer.name, f"{version} is installed")
    return f"{version} runs, with the configuration and the password as before"


def remove_it(scene: Scene) -> str:
    remove, purge = documented("Remove it")
    _typed(scene, remove)
    _program_is_gone(scene)
    _typed(scene, purge)
    _nothing_is_left(scene)
    return "first the program, then everything, the password too"


def without_the_package(scene: Scene) -> str:
    install, update, uninstall, purge = ("cd edge_node && " + command for command in documented("Without the package"))
    _bring_checkout(scene)
    begun = time.monotonic()
    told = _typed(scene, install)
    took_s = time.monotonic() - begun
    expect("is installed. Set it up and start it with: sudo edge-node setup" in told, told[-800:])
    slow_down(scene)
    _runs_after(scene, documented("Set it up")[1] + MODELS)
    score = scene.machine.run("systemd-analyze security --no-pager edge-node | tail -1")
    expect(float(re.findall(r"\d+\.\d+", score)[0]) <= 1.7, score)
    _runs_after(scene, update)
    foreign = scene.machine.run(f"find {HOME}/edge_node -user root", check=False)
    expect(not foreign, f"root's files in the user's checkout: {foreign[:300]}")
    _typed(scene, uninstall)
    _program_is_gone(scene)
    _typed(scene, purge)
    _nothing_is_left(scene)
    return f"installed in {took_s:.0f} s, set up, poses; updated, poses; taken away, configuration kept; purged, nothing left"


def _settle_in(scene: Scene) -> None:
    """What the reader of the guide has: a user who may use sudo and read the journal, as the first one of Raspberry Pi OS; the files."""
    scene.machine.run(
        f"id -u {PERSON} || useradd -m -s /bin/bash -G sudo,adm {PERSON};"
        f" echo '{PERSON} ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/{PERSON};"
        " echo 'APT::Get::Assume-Yes \"true\";' > /etc/apt/apt.conf.d/99answers-yes; mkdir -p /srv/models"
    )
    scene.machine.copy_in(scene.package, scene.newer, to=f"{HOME}/")
    scene.machine.copy_in(*scene.models.glob("*lightning*.tflite"), to="/srv/models/")


def _bring_checkout(scene: Scene) -> None:
    """The committed sources in the user's home, and the wheels in a folder, for the machine has no network."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "edge_node.tar"
        subprocess.run(["git", "-C", ROOT, "archive", "--prefix=edge_node/", "-o", archive, "HEAD"], check=True)
        scene.machine.copy_in(archive, to=f"{HOME}/")
    scene.machine.run(_as_person("tar xf edge_node.tar") + "; mkdir -p /srv/wheels")
    scene.machine.copy_in(*scene.wheels.glob("*.whl"), to="/srv/wheels/")
    scene.machine.run("printf '[global]\\nno-index = true\\nfind-links = /srv/wheels\\n' > /etc/pip.conf")


def _runs_after(scene: Scene, command: str) -> None:
    """The command gives a new process, and that one gives poses."""
    process = scene.main_pid()
    told = _typed(scene, command)
    expect(scene.main_pid() not in (0, process), f"`{command}` started nothing: {told[-600:]}")
    scene.ear.wait_pose()
    expect(scene.machine.succeeds("systemctl is-enabled -q edge-node"), "not enabled")


def _program_is_gone(scene: Scene) -> None:
    expect(scene.machine.succeeds(f"test -e {CONFIGURATION} && test -d /var/lib/edge-node/models"), "configuration or state went along")
    expect(not scene.machine.succeeds("test -e /opt/edge-node || systemctl is-active -q edge-node"), "the program is still there")


def _nothing_is_left(scene: Scene) -> None:
    scene.machine.run("rm -rf /etc/systemd/system/edge-node.service.d/emulation.conf; rmdir /etc/systemd/system/edge-node.service.d")
    left = left_behind(scene.machine)
    expect(not left, f"left behind: {left}")


def _typed(scene: Scene, command: str, check: bool = True) -> str:
    """What a command of the guide says, with the places of this machine for those that the guide names."""
    here = {
        f"{LOGIN}@10.0.0.2:1883": f"{LOGIN}@{HOST_SEEN_FROM_MACHINE}:{scene.broker.login_port}",
        "10.0.0.2:1883": scene.broker_address,
        "BROKER": f"{HOST_SEEN_FROM_MACHINE} -p {scene.broker.port}",
        "edge-node_<version>_arm64.deb": scene.package.name,
        "edge-node_<newer>_arm64.deb": scene.newer.name,
    }
    for written, meant in here.items():
        command = command.replace(written, meant)
    if command.startswith(ENDLESS):
        command = f"timeout {WATCHED_S} {command}; [ $? = 124 ]"
    return scene.machine.run(_as_person(command), check=check, timeout_s=1200)


def _as_person(command: str) -> str:
    return f"runuser -l {PERSON} -c {shlex.quote(command)}"
