"""Checks of the running node: what a cupboard, a cable, a broker and a power socket do to it in two years."""

import json
import re
import time

import wire
from ear import Heard
from scene import CONFIGURATION, NODE, Scene, expect

LONG_AGO = "2021-02-03T04:05:06"
DROP_IN = "/run/systemd/system/edge-node.service.d"


def boots(scene: Scene) -> str:
    scene.machine.power_on()
    shell_s = scene.machine.wait_for_shell()
    expect("/dev/video0" in scene.machine.run("ls /dev/video*"), "no camera")
    kernel = scene.machine.run("uname -sr")
    scene.figures["kernel"] = kernel
    scene.figures["systemd"] = scene.machine.run("systemctl --version | head -1")
    return f"{kernel}, a shell after {shell_s:.0f} s"


def first_contact(scene: Scene) -> str:
    scene.machine.run("mkdir -p /srv/models")
    scene.machine.copy_in(*scene.models.glob("*lightning*.tflite"), to="/srv/models/")
    scene.machine.copy_in(scene.clip, to="/srv/clip.mp4")
    scene.machine.run("chmod -R a+rX /srv")
    slow_down(scene)
    begun = time.monotonic()
    told = scene.machine.run(
        f"edge-node setup --yes --name {NODE} --camera /dev/video0 --broker {scene.broker_address} --accelerator cpu --models /srv/models",
        timeout_s=900,
    )
    expect("edge-node is enabled and running" in told, told)
    expect(scene.machine.succeeds("systemctl is-enabled -q edge-node && systemctl is-active -q edge-node"), "not enabled and active")
    pose = scene.ear.wait("pose", 300, begun)[0]
    scene.figures["setup"] = told
    return f"enabled and running after {time.monotonic() - begun:.0f} s; first pose message: {_shape(pose)}"


def slow_down(scene: Scene) -> None:
    """An emulated processor has a hundredth of a real one's speed: one look a frame, few frames. setup keeps what it finds."""
    scene.machine.run(
        f"sed -i 's/^  # max_inferences: .*/  max_inferences: 1/; s/^  # fps: .*/  fps: 5.0/' {CONFIGURATION};"
        f" sed -i 's/^  # threads: .*/  threads: 1/' {CONFIGURATION};"
        " mkdir -p /etc/systemd/system/edge-node.service.d; cd /etc/systemd/system/edge-node.service.d;"
        " printf '[Service]\\nTimeoutStartSec=600s\\n' > emulation.conf; systemctl daemon-reload"
    )


def status_answers(scene: Scene) -> str:
    scene.ear.wait_pose()
    answer = json.loads(scene.machine.run("runuser -u nobody -- edge-node status --json"))[0]
    expect(answer["node"] == NODE and answer["frames"] > 0 and not answer["problems"], str(answer)[:500])
    scene.figures["status"] = scene.machine.run("edge-node status")
    rss_kb = int(scene.machine.run(f"awk '/VmRSS/ {{print $2}}' /proc/{scene.main_pid()}/status"))
    scene.figures["memory"] = f"{rss_kb / 1024:.0f} MB resident"
    return f"{answer['fps']:.1f} fps on the {answer['accelerator']}, {rss_kb / 1024:.0f} MB resident, asked by another user"


def is_confined(scene: Scene) -> str:
    line = scene.machine.run("systemd-analyze security --no-pager edge-node | tail -1")
    score = float(re.findall(r"\d+\.\d+", line)[0])
    expect(score <= 1.7, line)
    user = scene.machine.run(f"ps -o user= -p {scene.main_pid()}").strip()
    expect(user == "edge-node", f"runs as {user}")
    doubts = scene.machine.run("systemd-analyze verify --man=no edge-node.service 2>&1 | grep -i edge-node", check=False)
    expect(not doubts, f"systemd-analyze verify: {doubts}")
    scene.figures["security"] = line.strip("→ ")
    return f"security score {score}, runs as {user}"


def plays_a_clip(scene: Scene) -> str:
    """The service on a clip: every frame becomes a pose message outside, in order, with somebody in it, and it ends with 0."""
    frames = int(scene.figures["clip frames"])
    begun = time.monotonic()
    environment = 'Environment="EDGE_NODE__CAMERA__SOURCE=/srv/clip.mp4" "EDGE_NODE__POSE__MAX_PEOPLE=1"'
    scene.machine.run(
        f"systemctl stop edge-node; mkdir -p {DROP_IN}; printf '[Service]\\n%s\\n' '{environment}' > {DROP_IN}/clip.conf;"
        " systemctl daemon-reload; systemctl start edge-node"
    )
    try:
        poses = [m.json for m in scene.ear.wait("pose", 600, begun, lambda m: bool(m["people"]), count=frames)]
    finally:
        time.sleep(5)
        state = scene.machine.run("systemctl show -P ExecMainStatus -P ActiveState edge-node | tr '\\n' ' '")
        scene.machine.run(f"rm -r {DROP_IN}; systemctl daemon-reload; systemctl restart edge-node")
    scene.ear.wait_pose()
    numbers = [pose["seq"] for pose in poses]
    expect(numbers == list(range(numbers[0], numbers[0] + frames)), f"not in order: {numbers}")
    score = sum(pose["people"][0]["score"] for pose in poses) / frames
    return f"{frames} of {frames} frames arrived in order, one person each, mean score {score:.2f}; then `{state.strip()}`"


def hung_is_killed(scene: Scene) -> str:
    scene.ear.wait_pose()
    process, before, cursor = scene.main_pid(), scene.restarts(), scene.journal_cursor()
    stopped = time.monotonic()
    scene.machine.run(f"kill -STOP {process}")
    time.sleep(2)
    back = scene.ear.wait_pose(300, time.monotonic())
    expect(scene.main_pid() != process and scene.restarts() == before + 1, "it was not restarted")
    line = scene.wait_for_journal(cursor, "atchdog timeout")
    return f"SIGSTOP to next pose: {back - stopped:.0f} s ({line.strip()})"


def killed_comes_back(scene: Scene) -> str:
    scene.ear.wait("pose", 300, fits=lambda m: m["seq"] >= 50)  # so that a small number tells the new process
    process = scene.main_pid()
    begun = time.monotonic()
    scene.machine.run(f"kill -KILL {process}")
    gone = time.monotonic()
    back = scene.ear.wait("pose", 300, begun, lambda m: m["seq"] < 50)[0].at_s
    expect(scene.main_pid() != process, "it was not restarted")
    expect(any(m.json.get("state") == "offline" for m in scene.ear.since(begun, "status")), "nobody was told that it was away")
    scene.figures["kill -9 to next pose"] = f"{back - gone:.0f} s"
    return f"kill -9 to next pose: {back - gone:.1f} s; the last will was heard"


def reloads(scene: Scene) -> str:
    process, cursor = scene.main_pid(), scene.journal_cursor()
    scene.machine.run(
        f"cp {CONFIGURATION} /root/good.yaml;"
        f" sed -i 's/^  # max_people: .*/  max_people: 2/; s/^  # width: .*/  width: 320/' {CONFIGURATION};"
        " systemctl reload edge-node"
    )
    applied = scene.wait_for_journal(cursor, "configuration reloaded: pose.max_people")
    waits = scene.wait_for_journal(cursor, "wait for a restart: camera.width")
    cursor = scene.journal_cursor()
    scene.machine.run(f"printf 'camera:\\n  widht: 640\\n' > {CONFIGURATION}; systemctl reload edge-node")
    refused = scene.wait_for_journal(cursor, "widht")
    scene.ear.wait_pose()
    scene.machine.run(f"cp /root/good.yaml {CONFIGURATION}; systemctl reload edge-node")
    scene.ear.wait_pose()
    expect(scene.main_pid() == process, "it was restarted")
    return f"`{applied.strip()}`, `{waits.strip()}`, `{refused.strip()}`; the same process throughout"


def camera_goes_and_comes(scene: Scene) -> str:
    """Unplugged in use (the driver unbound), then its module removed; away for longer than the watchdog's patience."""
    scene.ear.wait_pose()
    process, cursor = scene.main_pid(), scene.journal_cursor()
    scene.machine.run("cd /sys/bus/platform/drivers/vivid && for d in vivid*; do echo $d > unbind; done")
    lost = scene.wait_for_journal(cursor, "camera: ")
    removed = scene.machine.succeeds("for i in $(seq 30); do modprobe -r vivid && exit 0; sleep 1; done; exit 1")
    told = scene.machine.run("edge-node status 2>&1", check=False)
    time.sleep(45)
    expect("camera" in told and "!" in told, f"status does not say it: {told}")
    expect(scene.main_pid() == process, "the watchdog killed a node that only waits for its camera")
    scene.machine.run("modprobe vivid")
    begun = time.monotonic()
    back = scene.ear.wait_pose(120, begun)
    scene.wait_for_journal(cursor, "gives pictures again")
    expect(scene.main_pid() == process, "it was restarted")
    return f"`{lost.strip()}`; module {'removed' if removed else 'still held'}; pose {back - begun:.1f} s after it came back, same process"


def broker_goes_and_comes(scene: Scene) -> str:
    scene.ear.wait_pose()
    process, cursor = scene.main_pid(), scene.journal_cursor()
    scene.broker.stop()
    scene.wait_for_journal(cursor, "broker")
    time.sleep(20)
    scene.broker.start()
    begun = time.monotonic()
    back = scene.ear.wait_pose(120, begun)
    expect(scene.main_pid() == process, "it was restarted")
    return f"pose {back - begun:.1f} s after the broker came back, same process"


def no_writes(scene: Scene) -> str:
    """What the service and the whole machine wrote to the disk while nothing happened."""
    scene.machine.run("systemctl set-property --runtime edge-node IOAccounting=yes; sync")
    scene.ear.wait_pose()
    time.sleep(30)  # what settings and reloads before this left in the page cache is on the disk then
    scene.machine.run("sync")
    before, begun = _written(scene), time.monotonic()
    time.sleep(60 * scene.steady_minutes)
    after, minutes = _written(scene), (time.monotonic() - begun) / 60
    poses = len(scene.ear.since(begun, "pose"))
    service, disk = after["service"] - before["service"], after["disk"] - before["disk"]
    expect(poses > 0, "no poses")
    scene.figures["writes"] = f"{service} bytes by the service, {disk} bytes by the whole machine, in {minutes:.1f} min and {poses} poses"
    expect(service == 0, scene.figures["writes"])
    return scene.figures["writes"]


def no_pictures_leave(scene: Scene) -> str:
    traffic = wire.read(scene.machine.captures)
    sent = {where: size for where, size in traffic.sent_bytes.items() if where != "UDP 255.255.255.255:67" and not where.endswith(":67")}
    broker = f"TCP {scene.broker_address}"
    others = {where: size for where, size in sent.items() if where != broker}
    expect(not others, f"the node's network card spoke to others than the broker: {others}")
    expect(not any(traffic.pictures.values()), f"marks of pictures: {dict(traffic.pictures)}")
    heard = [m for m in scene.ear.since(0) if m.payload]
    unreadable = [m.topic for m in heard if not _is_json(m)]
    expect(not unreadable, f"not JSON: {unreadable[:5]}")
    largest = max(len(m.payload) for m in heard)
    poses = len([m for m in heard if m.kind == "pose"])
    return (
        f"{sent[broker]:,} bytes to the broker and none to anybody else over {len(heard):,} messages ({poses:,} poses), all of them JSON,"
        f" the largest {largest:,} bytes; no mark of a JPEG, PNG, WebP, MP4 or H.264"
    )


def survives_a_power_cut(scene: Scene) -> str:
    scene.ear.wait_pose()
    scene.machine.cut_power()
    begun = time.monotonic()
    scene.machine.power_on()
    back = scene.ear.wait_pose(900, begun)
    scene.machine.wait_for_shell()
    expect(scene.machine.succeeds("systemctl is-active -q edge-node"), "not active")
    expect(scene.restarts() == 0, "it failed on the way")
    own = float(scene.machine.run("awk '{print $1}' /proc/uptime")) - (time.monotonic() - back)
    scene.figures["power to first pose"] = f"{back - begun:.0f} s"
    scene.figures["power to first pose, machine's clock"] = f"{own:.0f} s"
    return f"power to first pose: {back - begun:.0f} s ({own:.0f} s after the kernel's start)"


def boots_without_camera(scene: Scene) -> str:
    """Also without a battery clock, as a Pi: it wakes up in the past."""
    scene.machine.power_off()
    begun = time.monotonic()
    scene.machine.power_on(clock=LONG_AGO, kernel_words="modprobe.blacklist=vivid")
    scene.machine.wait_for_shell()
    scene.ear.wait("status", 600, begun, lambda m: m.get("state") != "offline")
    told = scene.machine.run("edge-node status 2>&1", check=False)
    expect("! camera" in told, told)
    expect(scene.restarts() == 0, "it was restarted")
    begun = time.monotonic()
    scene.machine.run("modprobe vivid")
    back = scene.ear.wait_pose(300, begun)
    return f"up without one and saying so; pose {back - begun:.1f} s after the camera was plugged in"


def has_no_clock(scene: Scene) -> str:
    """The clock leaps when the network gives the time. (systemd itself never wakes up before its own release.)"""
    if _behind_days(scene) < 1:
        scene.machine.power_off()
        scene.machine.power_on(clock=LONG_AGO)
        scene.machine.wait_for_shell()
    scene.ear.wait_pose(600)
    process, behind_days = scene.main_pid(), _behind_days(scene)
    expect(behind_days > 1, f"the machine is only {behind_days:.1f} days behind")
    leapt = time.monotonic()
    scene.machine.run(f"date -u -s @{int(time.time())}")
    after = scene.ear.wait("pose", 300, time.monotonic(), count=5)
    late = [m.json["age_ms"] for m in after]
    expect(all(0 <= age < 60_000 for age in late), f"ages after the step: {late}")
    expect(scene.main_pid() == process, "it was restarted")
    expect(abs(after[-1].json["ts"] - time.time()) < 120, "capture times did not follow the clock")
    return (
        f"poses {behind_days:.0f} days in the past, and {after[0].at_s - leapt:.1f} s after the leap to today;"
        f" ages at most {max(late):.0f} ms, same process"
    )


def _behind_days(scene: Scene) -> float:
    return (time.time() - int(scene.machine.run("date +%s"))) / 86_400


def _shape(pose: Heard) -> str:
    message = pose.json
    return f"{message['width']} x {message['height']}, {len(message['people'])} people, on the {message['accelerator']}"


def _written(scene: Scene) -> dict[str, int]:
    group = scene.machine.run("systemctl show -P ControlGroup edge-node")
    service = scene.machine.run(
        f"sync; cd /proc; for p in $(cat /sys/fs/cgroup{group}/cgroup.procs); do cat $p/io; done"
        " | awk '/^write_bytes/ {s += $2} END {print s + 0}'"
    )
    accounted = scene.machine.run("systemctl show -P IOWriteBytes edge-node")
    disk = scene.machine.run("awk '{print $7 * 512}' /sys/block/vda/stat")
    return {"service": max(int(service), int(accounted) if accounted.isdecimal() else 0), "disk": int(disk)}


def _is_json(message: Heard) -> bool:
    try:
        json.loads(message.payload)
    except ValueError:
        return False
    return True
