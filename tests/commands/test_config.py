"""``edge-node config``: what is in force and why, what was tuned, saving and forgetting it."""

import json
import re
import stat
import sys
from pathlib import Path

import pytest

from edge_node.cli import main
from edge_node.config.load import load
from edge_node.config.settings import Settings
from tests.read_only import run_read_only

TEXT = "# my node\nnode:\n  name: n1\npose:\n  max_people: 4  # a family\n  # score_threshold: 0.2\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "edge-node.yaml"
    path.write_text(TEXT)
    return path


@pytest.fixture
def config(tmp_path: Path, file: Path):
    def run(action: str, *words: str) -> int:
        return main(["config", action, "-c", str(file), "--state-directory", str(tmp_path / "state"), *words])

    return run


def tune(tmp_path: Path, file: Path, **values: object) -> Settings:
    settings = Settings(lambda: load(file, {}), tmp_path / "state")
    for key, value in values.items():
        settings.set(key.replace("__", "."), value)
    return settings


def test_show_says_each_value_and_where_it_comes_from(tmp_path, file, config, capsys, monkeypatch) -> None:
    tune(tmp_path, file, pose__score_threshold=0.35)
    monkeypatch.setenv("EDGE_NODE__CAMERA__FPS", "15.0")
    assert config("show", "--set", "mqtt.host=broker") == 0
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert lines["pose.max_people"] == ["4", f"{file}:5:3"]
    assert lines["pose.score_threshold"] == ["0.35", "tuned"]
    assert lines["camera.fps"] == ["15.0", "environment variable EDGE_NODE__CAMERA__FPS"]
    assert lines["mqtt.host"] == ["broker", "--set mqtt.host=broker"]
    assert lines["mqtt.port"] == ["1883", "default"]


def test_show_says_of_a_value_given_with_its_section_where_that_is_given(file, config, capsys, monkeypatch) -> None:
    monkeypatch.setenv("EDGE_NODE__CAMERA", "{fps: 12, source: synthetic}")
    assert config("show", "--changed", "--set", "mqtt={host: broker, tls: {enabled: true}}", "--set", "mqtt.port=8883") == 0
    given = "--set mqtt={host: broker, tls: {enabled: true}}"
    assert [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()] == [
        ["node.name", "n1", f"{file}:3:3"],
        ["camera.source", "synthetic", "environment variable EDGE_NODE__CAMERA"],
        ["camera.fps", "12.0", "environment variable EDGE_NODE__CAMERA"],
        ["pose.max_people", "4", f"{file}:5:3"],
        ["mqtt.host", "broker", given],
        ["mqtt.port", "8883", "--set mqtt.port=8883"],
        ["mqtt.tls.enabled", "true", given],
    ]


def test_show_as_json_and_without_defaults(file, config, capsys) -> None:
    assert config("show", "--changed", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {key: row["value"] for key, row in shown.items()} == {"node.name": "n1", "pose.max_people": 4}


def test_diff_says_what_was_tuned(tmp_path, file, config, capsys) -> None:
    assert config("diff") == 0
    tune(tmp_path, file, pose__max_people=2)
    assert config("diff") == 1
    assert capsys.readouterr().out == "pose.max_people: 4 -> 2\n"


def test_reset_forgets_one_or_all(tmp_path, file, config, capsys) -> None:
    tune(tmp_path, file, pose__max_people=2, pose__idle_fps=1.0, mqtt__pose=False)
    assert config("reset", "pose.max_people") == 0
    assert set(tune(tmp_path, file).overlay) == {"pose.idle_fps", "mqtt.pose"}
    assert config("reset") == 0
    assert tune(tmp_path, file).overlay == {}
    assert "pose.idle_fps" in capsys.readouterr().out


def test_reset_of_an_unknown_key_is_refused(config, capsys) -> None:
    assert config("reset", "pose.max_peple") == 78
    assert "did you mean pose.max_people?" in capsys.readouterr().err


def test_save_writes_into_the_file_keeps_comments_and_a_backup(tmp_path, file, config, capsys) -> None:
    file.chmod(0o640)
    tune(tmp_path, file, pose__max_people=2, pose__score_threshold=0.35, log__level="debug")
    assert config("save", "--yes") == 0
    assert file.read_text() == (
        "# my node\nnode:\n  name: n1\npose:\n  max_people: 2  # a family\n  # score_threshold: 0.2\n  score_threshold: 0.35\n"
        "log:\n  level: debug\n"
    )
    out = capsys.readouterr().out
    assert "-  max_people: 4  # a family\n+  max_people: 2  # a family\n" in out
    assert (tmp_path / "edge-node.yaml.bak").read_text() == TEXT
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert tune(tmp_path, file).overlay == {}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["edge-node.yaml", "edge-node.yaml.bak", "state"]


def test_save_asks_first_and_a_dry_run_writes_nothing(tmp_path, file, config, capsys) -> None:
    tune(tmp_path, file, pose__max_people=2)
    assert config("save", "--dry-run") == 0
    assert config("save") == 2
    assert "say --yes" in capsys.readouterr().err
    assert file.read_text() == TEXT
    assert tune(tmp_path, file).overlay == {"pose.max_people": 2}


@pytest.fixture
def asked(monkeypatch):
    """Has a terminal ask, and answers by what it is given."""

    def answer_with(answer) -> None:
        monkeypatch.setattr("sys.stdin.isatty", lambda: True)
        monkeypatch.setattr("builtins.input", lambda _question: answer())

    return answer_with


def test_an_end_of_the_input_is_no_agreement(tmp_path, file, config, asked, capsys) -> None:
    def ctrl_d() -> str:
        raise EOFError

    tune(tmp_path, file, pose__max_people=2)
    asked(ctrl_d)
    assert config("save") == 0
    assert capsys.readouterr().err == ""
    assert file.read_text() == TEXT
    assert tune(tmp_path, file).overlay == {"pose.max_people": 2}


def test_a_file_that_changed_or_went_while_it_was_asked_is_left_alone(tmp_path, file, config, asked, capsys) -> None:
    def yes_behind(change) -> None:
        asked(lambda: change() or "y")

    tune(tmp_path, file, pose__max_people=2)
    yes_behind(lambda: file.write_text("node: {name: n1}\n") and None)
    assert config("save") == 78
    assert capsys.readouterr().err == f"{file}: was changed meanwhile; look at the difference again\n"
    assert file.read_text() == "node: {name: n1}\n"
    yes_behind(file.unlink)
    assert config("save") == 78
    assert capsys.readouterr().err == f"{file}: cannot be read any more: No such file or directory\n"
    assert not file.exists()
    assert not (tmp_path / "edge-node.yaml.bak").exists()


def test_save_with_nothing_tuned_touches_nothing(tmp_path, config, capsys) -> None:
    assert config("save", "--yes") == 0
    assert capsys.readouterr().out == "Nothing was tuned.\n"
    assert not (tmp_path / "edge-node.yaml.bak").exists()


def test_a_link_to_the_file_stays_a_link(tmp_path, file, capsys) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    tune(tmp_path, file, pose__max_people=2)
    assert main(["config", "save", "--yes", "-c", str(link), "--state-directory", str(tmp_path / "state")]) == 0
    assert link.is_symlink()
    assert "max_people: 2" in file.read_text()


@pytest.mark.parametrize("given", ["EDGE_NODE__POSE__MAX_PEOPLE=3", "EDGE_NODE__POSE={max_people: 3}"], ids=["key", "section"])
def test_saved_under_an_environment_variable_is_warned_of(file, config, capsys, monkeypatch, given) -> None:
    tune(file.parent, file, pose__max_people=2)
    monkeypatch.setenv(*given.split("="))
    assert config("save", "--yes") == 0
    assert "which stands over the file" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["save", "reset"])
def test_a_file_system_that_cannot_be_written_is_said_so(tmp_path, file, action) -> None:
    tune(tmp_path, file, pose__max_people=2)
    words = ["config", action, "-c", file, "--state-directory", tmp_path / "state", *(["--yes"] if action == "save" else [])]
    done = run_read_only(tmp_path, sys.executable, "-m", "edge_node", *words)
    assert done.returncode == 78
    assert re.search("cannot be (written|kept): Read-only file system", done.stderr.strip().splitlines()[-1])
    assert "Traceback" not in done.stderr
    assert file.read_text() == TEXT
    assert tune(tmp_path, file).overlay == {"pose.max_people": 2}


def test_a_file_with_aliases_is_left_to_its_owner(tmp_path, file, config, capsys) -> None:
    file.write_text("camera: {hflip: &e true}\nsmoothing: {enabled: *e}\n")
    tune(tmp_path, file, smoothing__enabled=False)
    assert config("save", "--yes") == 78
    assert "changed by hand; set it to false there" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["{file}", "edge-node.yaml", "../etc/edge-node.yaml", "{file}.link"])
def test_the_services_file_is_known_however_it_is_written(tmp_path, monkeypatch, name) -> None:
    folder, state = tmp_path / "etc", tmp_path / "state"
    folder.mkdir()
    file = folder / "edge-node.yaml"
    file.write_text(TEXT)
    Path(f"{file}.link").symlink_to(file)
    monkeypatch.setattr("edge_node.commands.settings_arguments.SYSTEM_FILE", file)
    monkeypatch.setattr("edge_node.commands.config.SERVICE_STATE", state)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(folder)
    tune(tmp_path, file, pose__max_people=2)
    assert main(["config", "save", "--yes", "-c", name.format(file=file)]) == 0
    assert load(file, {}).pose.max_people == 2
    assert tune(tmp_path, file).overlay == {}


def test_a_node_that_runs_takes_over_what_the_command_changed(tmp_path, file, config) -> None:
    running = tune(tmp_path, file, pose__max_people=2, mqtt__pose=False)
    assert config("save", "--yes") == 0
    running.reload()
    assert running.overlay == {}
    assert (running.current.pose.max_people, running.current.mqtt.pose) == (2, False)
