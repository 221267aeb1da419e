"""Running a command where a folder cannot be written, not even by root."""

import subprocess
from pathlib import Path

import pytest

_MOUNT = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0"'


def run_read_only(folder: Path, *command: object) -> "subprocess.CompletedProcess[str]":
    """Run ``command`` with ``folder`` on a read-only file system; skips the test where the machine gives no namespace of its own."""
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    if subprocess.run([*alone, _MOUNT, str(folder)], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a folder read-only")
    words = [*alone, f'{_MOUNT} && exec "$@"', str(folder), *map(str, command)]
    return subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
