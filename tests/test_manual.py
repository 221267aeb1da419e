"""The manual page and the shell completion are made from the command line."""

import runpy
import subprocess
from pathlib import Path

import pytest

from edge_node.cli import VERBS

MANUAL = runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "debian" / "manual.py"))


def completed(*words):
    script = f"""{MANUAL["bash_completion"]()}
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
        _edge_node; printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_verbs_are_completed():
    assert set(completed("edge-node", "")) == {*VERBS, "--help", "--version"}
    assert completed("edge-node", "check") == ["check-config"]


@pytest.mark.parametrize(
    ("verb", "start", "words"),
    [("setup", "--acc", ["--accelerator"]), ("status", "--", ["--help", "--node", "--json"]), ("models", "f", ["fetch"])],
)
def test_options_and_inner_verbs_are_completed(verb, start, words):
    assert completed("edge-node", verb, start) == words


def test_manual_page_tells_every_verb():
    page = MANUAL["manual_page"]("2026-01-01")
    for verb in VERBS:
        assert f".SS {verb.replace('-', chr(92) + '-')}\n" in page
    assert "\n\n" not in page
    assert all(line[0] == "." or not line.startswith("'") for line in page.splitlines())
