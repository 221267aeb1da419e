"""Checks of the package: installed, upgraded, refused, removed."""

import itertools
import time

from machine import Machine
from scene import CONFIGURATION, Scene, expect

INSTALL = (
    "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold"
)


def installs(scene: Scene) -> str:
    scene.machine.copy_in(scene.package)
    begun = time.monotonic()
    told = scene.machine.run(f"{INSTALL} /root/{scene.package.name}", timeout_s=1200)
    took_s = time.monotonic() - begun
    expect("Set it up and start it with: sudo edge-node setup" in told, told[-800:])
    expect(scene.machine.run("edge-node --version").startswith("edge-node "), "does not run")
    groups = scene.machine.run("id -Gn edge-node").split()
    expect({"video", "plugdev", "apex"} <= set(groups), f"groups: {groups}")
    # The image leaves manuals and documentation out, of every package.
    differs = scene.machine.run("dpkg --verify edge-node | grep -vE ' /usr/share/(doc|man)/' || true")
    expect(not differs, f"files differ from what was packed: {differs}")
    expect(not scene.machine.succeeds("systemctl is-active -q edge-node"), "runs before it was set up")
    size_mb = scene.package.stat().st_size / 1e6
    return f"{scene.package.name}, {size_mb:.0f} MB, in {took_s:.0f} s; user, groups and files as they should be"


def foreign_is_refused(scene: Scene) -> str:
    """Another architecture's package, and one whose content was altered on the way."""
    process = _running(scene)
    scene.machine.run(f"head -c 300000 /root/{scene.package.name} > /root/altered.deb; head -c 1000000 /dev/urandom >> /root/altered.deb")
    altered = scene.machine.run("dpkg -i /root/altered.deb", check=False)
    expect("error" in altered, altered)
    scene.machine.copy_in(scene.foreign, to="/root/foreign.deb")
    foreign = scene.machine.run("dpkg -i /root/foreign.deb; rm /root/foreign.deb /root/altered.deb", check=False)
    expect("does not match system" in foreign, foreign)
    _unharmed(scene, process)
    line = next(line for line in foreign.splitlines() if "does not match system" in line)
    why = next(line for line in altered.splitlines() if "error" in line)
    return f"`{line.strip()}`; an altered one: `{why.strip()}`; the installed one runs on"


def bad_configuration_stops_the_upgrade(scene: Scene) -> str:
    scene.machine.copy_in(scene.newer)
    process = _running(scene)
    scene.machine.run(f"cp {CONFIGURATION} /root/good.yaml; printf 'camera:\\n  widht: 640\\n' >> {CONFIGURATION}")
    told = scene.machine.run(f"{INSTALL} /root/{scene.newer.name}", check=False, timeout_s=1200)
    scene.machine.run(f"cp /root/good.yaml {CONFIGURATION}")
    expect("does not accept the configuration" in told and "nothing was changed" in told, told[-900:])
    _unharmed(scene, process)
    line = next(line for line in told.splitlines() if "edge-node.yaml:" in line)
    return f"`{line.strip()}`, nothing was changed, the same process runs on"


def full_disk_stops_the_upgrade(scene: Scene) -> str:
    process = _running(scene)
    scene.machine.run("fallocate -l $(( $(df --output=avail -B1 / | tail -1) - 60000000 )) /root/filler; sync")
    try:
        told = scene.machine.run(f"dpkg -i --force-confold /root/{scene.newer.name}", check=False, timeout_s=1200)
    finally:
        scene.machine.run("rm /root/filler; sync")
    expect("free for /opt" in told or "No space left" in told, told[-700:])
    _unharmed(scene, process)
    return f"`{next(line for line in told.splitlines() if 'free for' in line or 'No space' in line).strip()}`; the same process runs on"


def read_only_root_is_survived(scene: Scene) -> str:
    """An SD card that failed to read-only: the running node goes on, and a restarted one publishes too."""
    process = _running(scene)
    scene.machine.run("sync; echo u > /proc/sysrq-trigger; for i in $(seq 30); do touch /root/x || exit 0; sleep 1; done; exit 1")
    try:
        scene.ear.wait_pose()
        expect(scene.main_pid() == process, "it was restarted")
        begun = time.monotonic()
        scene.machine.run("systemctl restart edge-node")
        back = scene.ear.wait_pose(300, time.monotonic())
        expect(scene.main_pid() not in (0, process), "it was not restarted")
    finally:
        scene.machine.run("mount -o remount,rw /")
    scene.machine.run("systemctl restart edge-node")
    scene.ear.wait_pose()
    return f"poses went on; restarted on the read-only disk it gave poses after {back - begun:.0f} s"


def second_node_is_refused(scene: Scene) -> str:
    process = _running(scene)
    told = scene.machine.run(
        "systemd-run -q --wait --pipe -p User=edge-node -E RUNTIME_DIRECTORY=/run/edge-node edge-node run -c " + CONFIGURATION, check=False
    )
    expect("already running" in told, told)
    _unharmed(scene, process)
    return f"`{next(line for line in told.splitlines() if 'already running' in line).strip()}`"


def missing_groups_do_not_matter(scene: Scene) -> str:
    """plugdev and apex are there for Coral devices; without one of them the node still serves its camera."""
    scene.machine.run("groupdel apex; groupdel plugdev; systemctl restart edge-node")
    scene.ear.wait_pose()
    scene.machine.run("systemd-sysusers; systemctl restart edge-node")
    groups = scene.machine.run("id -Gn edge-node").split()
    expect({"plugdev", "apex"} <= set(groups), f"groups: {groups}")
    scene.ear.wait_pose()
    return "without plugdev and apex poses go on; systemd-sysusers makes them again"


def upgrades(scene: Scene) -> str:
    process = _running(scene)
    configuration, state = scene.machine.run(f"sha256sum {CONFIGURATION}"), scene.machine.run("ls /var/lib/edge-node/models")
    begun = time.monotonic()
    told = scene.machine.run(f"{INSTALL} /root/{scene.newer.name}", timeout_s=1200)
    took_s = time.monotonic() - begun
    back = scene.ear.wait_pose(300, time.monotonic())
    expect(scene.main_pid() not in (0, process), f"not restarted: {told[-500:]}")
    expect(scene.machine.run(f"sha256sum {CONFIGURATION}") == configuration, "the configuration changed")
    expect(scene.machine.run("ls /var/lib/edge-node/models") == state, "the state changed")
    times = [m.at_s for m in scene.ear.since(begun, "pose")] + [back]
    gap_s = max(b - a for a, b in itertools.pairwise(times))
    scene.figures["gap at upgrade"] = f"{gap_s:.0f} s"
    return f"in {took_s:.0f} s, poses missing for {gap_s:.0f} s of them; configuration and state as before"


def removed_and_purged(scene: Scene) -> str:
    machine = scene.machine
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get remove -y -q edge-node", timeout_s=600)
    expect(machine.succeeds(f"test -e {CONFIGURATION} && test -d /var/lib/edge-node/models"), "removal took configuration or state along")
    expect(not machine.succeeds("test -e /opt/edge-node || systemctl is-active -q edge-node"), "removal left the program")
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y -q edge-node", timeout_s=600)
    machine.run("rm -r /etc/systemd/system/edge-node.service.d")  # the test's own
    left = left_behind(machine)
    expect(not left, f"left behind: {left}")
    return "removal keeps configuration and state, purge leaves no file, no user and no unit"


def left_behind(machine: Machine) -> str:
    """What of the package is still in the machine; the test's own files do not count."""
    skipped = " -o ".join(
        f"-path '{place}'"
        for place in ("/root", "/srv", "/home", "/proc", "/sys", "/run/log", "/var/log", "/var/cache", "/var/tmp/systemd-private-*")
    )
    return machine.run(
        f"find / -xdev \\( {skipped} \\) -prune -o \\( -iname '*edge-node*' -o -iname '*edge_node*' \\) -print;"
        " getent passwd edge-node; systemctl list-units --all --no-legend 'edge-node*'",
        check=False,
    )


def _running(scene: Scene) -> int:
    scene.ear.wait_pose()
    return scene.main_pid()


def _unharmed(scene: Scene, process: int) -> None:
    expect(scene.main_pid() == process, "the running service was disturbed")
    state = scene.machine.run("dpkg-query -W -f '${db:Status-Abbrev}' edge-node").strip()
    expect(state == "ii", f"the package is now in the state {state}")
    expect(not scene.machine.run("dpkg --audit"), "half installed")
    expect(scene.machine.succeeds("edge-node --version"), "does not run any more")
    scene.ear.wait_pose()
