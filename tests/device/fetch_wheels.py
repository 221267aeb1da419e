"""The wheels that systemd/install.sh needs in a machine without a network: what its suite's lock pins, and what builds edge_node."""

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    suite, architecture, folder = sys.argv[1:]
    target = runpy.run_path(str(ROOT / "scripts" / "lock"))["pip_target"](suite, architecture)
    builder = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, *target]
    subprocess.run([*download, "--require-hashes", "-r", str(ROOT / "config" / f"requirements-{suite}.txt")], check=True)
    subprocess.run([*download, *builder], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
