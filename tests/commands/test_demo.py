"""The demonstration, on a real broker."""

import socket
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


@pytest.fixture
def _without_a_network(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{unused.getsockname()[1]}")
        yield


@pytest.mark.usefixtures("_without_a_network")
def test_the_model_comes_from_the_folder_that_the_environment_names(shared, monkeypatch, capfd):
    monkeypatch.setenv("EDGE_NODE_MODEL_MIRROR", str(shared.models))
    assert main(["demo", "--source", str(shared.clips / "squats.mp4"), "--seconds", "1"]) == 0
    assert "the real model movenet-lightning" in capfd.readouterr().out


@pytest.mark.usefixtures("_without_a_network")
def test_what_cannot_be_fetched_is_told_with_options_that_the_demonstration_has(shared, capfd):
    assert main(["demo", "--source", str(shared.clips / "squats.mp4")]) == 1
    assert "Without one, a folder that has the file can be given with EDGE_NODE_MODEL_MIRROR\n" in capfd.readouterr().err
    assert main(["demo", "--directory", str(shared.models), "--seconds", "1"]) == 0
    assert "Without one, give a clip of your own with --source\n" in capfd.readouterr().out


def test_it_ends_when_nobody_reads_it_any_more():
    command = f"{sys.executable} -m edge_node demo --source synthetic --seconds 600 | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
