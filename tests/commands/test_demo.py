"""The demonstration, on a real broker."""

import subprocess
import sys

import pytest

from edge_node.cli import main


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    for variable in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))


def test_the_drawn_scene_is_shown_with_the_model_that_sees_it(capfd):
    assert main(["demo", "--source", "synthetic?people=2", "--seconds", "2"]) == 0
    said = capfd.readouterr().out
    assert "the built-in marker model on the drawn scene, synthetic?people=2" in said
    assert "person 1: score" in said


def test_a_clip_whose_name_begins_like_the_drawn_scenes_is_shown_with_the_real_model(shared, tmp_path, monkeypatch, capfd):
    (tmp_path / "synthetic-squats.mp4").symlink_to(shared.clips / "squats.mp4")
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--source", "synthetic-squats.mp4", "--directory", str(shared.models), "--seconds", "1"]) == 0
    assert "the real model movenet-lightning on synthetic-squats.mp4" in capfd.readouterr().out


def test_it_ends_when_nobody_reads_it_any_more():
    command = f"{sys.executable} -m edge_node demo --source synthetic --seconds 600 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
