"""``scripts/soak`` with a run that is too short; the long ones are for whoever has the time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Shared

ROOT = Path(__file__).parents[1]


def soak(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "soak"), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("option", ["--hours", "--fps", "--fault-every-s", "--frames"])
def test_an_empty_run_is_refused(option: str) -> None:
    done = soak(option, "0")
    assert done.returncode == 2
    assert f"error: argument {option}: '0' is not a " in done.stderr


@pytest.mark.parametrize("more", [(), ("--edgetpu",)])
def test_a_run_too_short_to_judge_says_so(more: tuple[str, ...], shared: Shared) -> None:
    done = soak("--frames", "300", *more)
    assert done.returncode == 1
    assert done.stderr.endswith(" samples, one every 5 s, are too few to say anything (after exit code 0; more --frames)\n")
    assert done.stdout == ""
