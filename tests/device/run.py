"""Runs every check in an emulated machine and writes what came of it to docs/device-test.md. Started by scripts/device-test."""

import argparse
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import life_checks as life
import package_checks as packaging
import walk_through as guide
from ear import Broker, Ear, SilenceError
from machine import Machine, MachineError
from report import Results, Row, Run, write
from scene import CheckError, Scene

CHECKS: list[tuple[str, Callable[[Scene], str]]] = [
    ("boots, with a camera", life.boots),
    ("package installs", packaging.installs),
    ("`edge-node setup` to the first pose outside", life.first_contact),
    ("`edge-node status`", life.status_answers),
    ("confined, as its own user", life.is_confined),
    ("clip: every frame's pose arrives outside", life.plays_a_clip),
    ("hung (SIGSTOP): the watchdog restarts it", life.hung_is_killed),
    ("`kill -9`", life.killed_comes_back),
    ("reload, with good and bad files", life.reloads),
    ("camera unplugged, its module removed, and back", life.camera_goes_and_comes),
    ("broker away and back", life.broker_goes_and_comes),
    ("power cut", life.survives_a_power_cut),
    ("no camera at boot", life.boots_without_camera),
    ("no clock, then a leap of years", life.has_no_clock),
    ("no writes in steady state", life.no_writes),
    ("two services at once", packaging.second_node_is_refused),
    ("missing groups", packaging.missing_groups_do_not_matter),
    ("read-only root", packaging.read_only_root_is_survived),
    ("wrong architecture, altered package", packaging.foreign_is_refused),
    ("upgrade with a broken configuration", packaging.bad_configuration_stops_the_upgrade),
    ("upgrade on a full disk", packaging.full_disk_stops_the_upgrade),
    ("upgrade", packaging.upgrades),
    ("no picture on the wire", life.no_pictures_leave),
    ("removal and purge", packaging.removed_and_purged),
    ("docs/install.md: install it", guide.install_it),
    ("docs/install.md: set it up", guide.set_it_up),
    ("docs/install.md: look at it", guide.look_at_it),
    ("docs/install.md: change it", guide.change_it),
    ("docs/install.md: update it", guide.update_it),
    ("docs/install.md: remove it", guide.remove_it),
    ("docs/install.md: without the package", guide.without_the_package),
]


def main() -> int:
    arguments = _arguments()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    results = Results(arguments.folder / "results.json", fresh=not arguments.resume)
    machine = Machine(arguments.arch, arguments.image, arguments.folder, fresh=not arguments.resume)
    broker = Broker(arguments.folder, fresh=not arguments.resume)
    broker.start()
    ear = Ear(broker.port)
    files = (getattr(arguments, name) for name in ("package", "newer", "foreign", "models", "clip", "wheels"))
    scene = Scene(machine, broker, ear, *files, arguments.minutes)
    scene.figures |= results.figures
    scene.figures["clip frames"] = str(int(cv2.VideoCapture(str(arguments.clip)).get(cv2.CAP_PROP_FRAME_COUNT)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the machine is switched off then too
    try:
        if arguments.resume:
            machine.power_on(clock=life.LONG_AGO)
            machine.wait_for_shell()
        for title, check in CHECKS:
            if any(words in title for words in arguments.only) if arguments.only else not results.is_green(title):
                results.add(_check(title, check, scene), scene.figures)
    finally:
        machine.cut_power()
        ear.close()
        broker.stop()
    rows = results.rows([title for title, _ in CHECKS])
    write(arguments.report, Run(f"{arguments.suite} {arguments.arch}", _version(), arguments.image, rows), scene.figures)
    return 0 if len(rows) == len(CHECKS) and all(row.green for row in rows) else 1


def _check(title: str, check: Callable[[Scene], str], scene: Scene) -> Row:
    begun = time.monotonic()
    try:
        row = Row(title, True, check(scene))
    except (CheckError, MachineError, SilenceError) as error:
        row = Row(title, False, " ".join(str(error).split())[-600:])
        print(scene.machine.run("journalctl -u edge-node -n 25 --no-pager; systemctl status edge-node --no-pager | head -12", check=False))
    except Exception:  # noqa: BLE001 - a fault of the check itself is a red row, and the others still run
        row = Row(title, False, f"fault in the check: {traceback.format_exc().splitlines()[-1]}")
        traceback.print_exc()
    row = replace(row, seconds=time.monotonic() - begun, at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}")
    print(f"{'ok ' if row.green else 'RED'} {row.title} ({row.seconds:.0f} s): {row.text}", flush=True)
    return row


def _version() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    return done.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arch", required=True)
    parser.add_argument("--suite", required=True)
    for name in ("image", "folder", "package", "newer", "foreign", "models", "clip", "wheels", "report"):
        parser.add_argument(f"--{name}", type=lambda text: Path(text).resolve(), required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the steady state in which writes are counted")
    parser.add_argument("--only", action="append", help="only checks whose title has this in it, green or not")
    parser.add_argument("--resume", action="store_true", help="the machine of the last run as it was left; only what was not green")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
