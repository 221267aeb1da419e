"""What verbs lay over the configuration is read back as it was given."""

import argparse

import pytest

from edge_node.cli import main
from edge_node.commands.settings_arguments import add_settings_arguments, naming_file, overrides_of
from edge_node.config.load import load
from edge_node.errors import UsageError

NAMES = ["clip #1.mp4", "a: b.mp4", "😀 ü.mp4", "[x", "{y", "'z'", '"q"', "- a", "*b", "true", "x\ty\nz", "-", "~", "null"]


@pytest.mark.parametrize("name", NAMES)
def test_a_text_is_read_back_whatever_characters_it_has(name: str) -> None:
    assert load(None, {}, overrides_of({"record.path": name})).record.path == name


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="is not UTF-8"):
        overrides_of({"record.path": "caf\udce9.jsonl"})


def test_numbers_and_switches_stay_so_and_what_was_not_given_is_left_out() -> None:
    assert overrides_of({"mqtt.port": 1884, "mqtt.enabled": False, "camera.source": None}) == ["mqtt.port=1884", "mqtt.enabled=false"]


@pytest.mark.parametrize("words", [["--set", "node.name=b"], ["--set", "node={name: b}"]])
def test_a_node_is_known_by_the_file_that_names_it_only(tmp_path, monkeypatch, words) -> None:
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    file = tmp_path / "edge-node.yaml"
    assert naming_file(parser.parse_args(["-c", str(file)])) == file
    assert naming_file(parser.parse_args(["-c", str(file), *words])) is None
    monkeypatch.setenv("EDGE_NODE__NODE__NAME", "b")
    assert naming_file(parser.parse_args(["-c", str(file)])) is None


def test_the_demonstration_takes_a_clip_of_any_name(shared, capfd, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert main(["demo", "--source", f"{tmp_path}/no: clip #1.mp4", "--directory", str(shared.models)]) == 1
    assert f"{tmp_path}/no: clip #1.mp4: no such file or folder" in capfd.readouterr().err
