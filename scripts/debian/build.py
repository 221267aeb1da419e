"""Build edge-node_<version>_<arch>.deb: an environment under /opt/edge-node with pinned, hash-checked wheels, and all around it.

Nothing of the target runs while it is built, so that either architecture's package is built on either.
"""

import argparse
import gzip
import hashlib
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import types
import zipfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT), str(HERE)]

import manual  # noqa: E402 - beside this file

from edge_node import __version__  # noqa: E402 - the checkout comes first

DEBIAN_RELEASE = {"trixie": "deb13", "bookworm": "deb12"}
UNUSED = ("ai_edge_litert/vendors", "ai_edge_litert/libLiteRtWebGpuAccelerator.so")
"""Drivers for telephones and for graphics cards, 25 MB: never loaded, and some look for libraries in relative folders."""
LAUNCHER = """#!/opt/edge-node/bin/python
import sys

from edge_node.__main__ import main

sys.exit(main())
"""
CONTROL = """Package: edge-node
Version: {version}
Architecture: {architecture}
Maintainer: {maintainer}
Installed-Size: {size_kb}
Depends: python3 (>= {python}~), python3 (<< {next_python}~), libc6 (>= 2.34), libstdc++6, libgcc-s1, systemd, passwd
Recommends: python3-picamera2
Suggests: libedgetpu1-std, mosquitto, mosquitto-clients
Section: science
Priority: optional
Description: camera node that says where people's joints are
 Runs a MoveNet on a Coral Edge TPU or on the CPU, follows everyone in view
 and publishes their joints over MQTT. Images stay on the device.
"""


LOCK = types.SimpleNamespace(**runpy.run_path(str(ROOT / "scripts" / "lock")))


class BuildError(Exception):
    """Said in one line; nothing was built."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="build-deb", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", choices=list(LOCK.MACHINES), default=_own_architecture())
    parser.add_argument("--suite", choices=list(LOCK.SUITES), default="trixie")
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the package (default: dist/)")
    parser.add_argument("--wheels", type=Path, help="take the wheels from this folder and from nowhere else")
    parser.add_argument("--suffix", default="", help="added to the version, such as ~rc1")
    arguments = parser.parse_args()
    try:
        package = build(arguments)
    except BuildError as error:
        print(f"build-deb: {error}", file=sys.stderr)
        return 1
    print(package)
    return 0


def build(arguments: argparse.Namespace) -> Path:
    """The finished package; it appears under its name only when it is whole."""
    version = f"{__version__}+{DEBIAN_RELEASE[arguments.suite]}{arguments.suffix}"
    with tempfile.TemporaryDirectory(prefix="edge-node-deb-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir(mode=0o755)
        _environment(tree, arguments, Path(scratch))
        _system_files(tree, version, arguments.suite)
        _control(tree, arguments, version)
        _settle_modes(tree)
        arguments.output.mkdir(parents=True, exist_ok=True)
        package = arguments.output / f"edge-node_{version}_{arguments.arch}.deb"
        unfinished = package.with_suffix(".unfinished")
        _run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, unfinished, environment={"SOURCE_DATE_EPOCH": str(_epoch())})
        return unfinished.replace(package)


def _environment(tree: Path, arguments: argparse.Namespace, scratch: Path) -> None:
    """/opt/edge-node: what ``python -m venv --system-site-packages`` makes, filled with the wheels and with edge_node."""
    python, _ = LOCK.SUITES[arguments.suite]
    base = tree / "opt/edge-node"
    packages = base / f"lib/python{python}/site-packages"
    packages.mkdir(parents=True)
    (base / "bin").mkdir()
    (base / "bin/python").symlink_to(f"/usr/bin/python{python}")
    (base / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = true\nversion = {python}\n")
    (base / "bin/edge-node").write_text(LAUNCHER)
    target = ["--target", packages, "--no-deps", "--no-compile", "--no-warn-script-location", "-q", "--disable-pip-version-check"]
    lock = ROOT / "config" / f"requirements-{arguments.suite}.txt"
    source = ["--no-index", "--find-links", arguments.wheels] if arguments.wheels else []
    _pip(
        "install", *target, "--require-hashes", "-r", lock, *source, *LOCK.pip_target(arguments.suite, arguments.arch),
        failure=f"the wheels do not fit {lock.relative_to(ROOT)}",
    )  # fmt: skip
    checkout = scratch / "checkout"
    checkout.mkdir()
    shutil.copytree(ROOT / "edge_node", checkout / "edge_node", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "models", "setup.py", "MANIFEST.in"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, checkout / name, ignore=shutil.ignore_patterns("*.tflite"))
        elif path.exists():
            shutil.copy(path, checkout / name)
    (checkout / "README.md").touch()
    _pip("install", *target, "--upgrade", checkout, failure="edge_node itself cannot be packaged")
    shutil.rmtree(packages / "bin", ignore_errors=True)  # launchers for the building machine's Python
    for cache in list(packages.rglob("__pycache__")):  # some wheels bring one; it is made where the package is installed
        shutil.rmtree(cache)
    for name in UNUSED:
        path = packages / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _system_files(tree: Path, version: str, suite: str) -> None:
    files = {
        "usr/lib/systemd/system/edge-node.service": ROOT / "systemd/edge-node.service",
        "usr/lib/sysusers.d/edge-node.conf": ROOT / "systemd/edge-node.sysusers",
        "usr/lib/tmpfiles.d/edge-node.conf": ROOT / "systemd/edge-node.tmpfiles",
        "usr/lib/udev/rules.d/70-edge-node-coral.rules": ROOT / "systemd/70-edge-node-coral.rules",
        "etc/edge-node/edge-node.yaml": ROOT / "config/edge-node.yaml",
        "etc/edge-node/edge-node.schema.json": ROOT / "config/edge-node.schema.json",
        "usr/share/doc/edge-node/copyright": HERE / "copyright",
        "usr/share/lintian/overrides/edge-node": HERE / "lintian-overrides",
    }
    if suite != "bookworm":  # its systemd, 252, does not know what this file says
        files["usr/lib/systemd/system/edge-node.service.d/credentials.conf"] = ROOT / "systemd/credentials.conf"
    for place, source in files.items():
        _write(tree / place, source.read_bytes())
    date = datetime.fromtimestamp(_epoch(), UTC)
    changes = f"edge-node ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md of edge_node.\n\n"
    changes += f" -- {_maintainer()}  {date:%a, %d %b %Y %H:%M:%S} +0000\n"
    _write(tree / "usr/share/doc/edge-node/changelog.gz", gzip.compress(changes.encode(), 9, mtime=0))
    page = manual.manual_page(f"{date:%Y-%m-%d}")
    _write(tree / "usr/share/man/man1/edge-node.1.gz", gzip.compress(page.encode(), 9, mtime=0))
    _write(tree / "usr/share/bash-completion/completions/edge-node", manual.bash_completion().encode())
    (tree / "usr/bin").mkdir()
    (tree / "usr/bin/edge-node").symlink_to("/opt/edge-node/bin/edge-node")


def _control(tree: Path, arguments: argparse.Namespace, version: str) -> None:
    control = tree / "DEBIAN"
    size_kb = sum(p.stat().st_size for p in tree.rglob("*") if p.is_file() and not p.is_symlink()) // 1024
    control.mkdir()
    python, _ = LOCK.SUITES[arguments.suite]
    major, minor = python.split(".")
    fields = {"version": version, "architecture": arguments.arch, "size_kb": size_kb, "python": python, "maintainer": _maintainer()}
    (control / "control").write_text(CONTROL.format(**fields, next_python=f"{major}.{int(minor) + 1}"))
    (control / "conffiles").write_text("/etc/edge-node/edge-node.yaml\n/etc/edge-node/edge-node.schema.json\n")
    for name in ("preinst", "postinst", "prerm", "postrm"):
        text = (HERE / name).read_text().replace("@VERSION@", version).replace("@NEEDED_KB@", str(size_kb + 50_000))
        (control / name).write_text(text)
    payload = [p for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink() and control not in p.parents]
    sums = [f"{hashlib.md5(p.read_bytes(), usedforsecurity=False).hexdigest()}  {p.relative_to(tree)}\n" for p in payload]
    (control / "md5sums").write_text("".join(sums))
    with zipfile.ZipFile(control / "edge_node.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((ROOT / "edge_node").rglob("*.py")):
            archive.write(path, path.relative_to(ROOT))


def _settle_modes(tree: Path) -> None:
    """Readable by all, writable by root, whatever the building user's umask is."""
    programs = {tree / "opt/edge-node/bin/edge-node", *((tree / "DEBIAN" / n) for n in ("preinst", "postinst", "prerm", "postrm"))}
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in programs else 0o644)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _pip(*words: str | Path, failure: str) -> None:
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
        raise BuildError(f"{failure}; nothing was built:\n  " + "\n  ".join(said[:12]))


def _run(*words: str | Path, environment: dict[str, str]) -> None:
    done = subprocess.run([str(w) for w in words], env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{words[0]}: {done.stderr.strip()}")


def _own_architecture() -> str:
    machine = os.uname().machine
    return next((name for name, other in LOCK.MACHINES.items() if other == machine), "amd64")


def _maintainer() -> str:
    """Who builds the package answers for it: Debian's own variables, else nobody in particular."""
    return f"{os.environ.get('DEBFULLNAME', 'edge_node')} <{os.environ.get('DEBEMAIL', 'edge-node@localhost')}>"


def _epoch() -> int:
    """The time of the last commit, so that the same sources give the same package."""
    done = subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False)
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip() else 1_700_000_000


if __name__ == "__main__":
    sys.exit(main())
