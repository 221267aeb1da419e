"""The command itself: help, exit codes, and that only the verb in use is imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_node.cli import VERBS, main
from edge_node.errors import CameraError, ConfigError, EdgeNodeError
from tests.recordings.made import write_recording


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([verb, "--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert VERBS[verb][1:20] in text
    assert len(text) > 120


def test_an_error_is_one_readable_line_and_its_exit_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import edge_node.commands.check_config as verb

    for error, code in ((CameraError("no camera"), 1), (ConfigError(["a: wrong", "b: wrong"]), 78)):

        def fail(_: object, error: EdgeNodeError = error) -> int:
            raise error

        monkeypatch.setattr(verb, "run", fail)
        assert main(["check-config", "x"]) == code
        assert capsys.readouterr().err == f"{error}\n"


def test_checking_a_configuration_imports_neither_opencv_nor_a_runtime() -> None:
    heavy = "('cv2', 'numpy', 'ai_edge_litert', 'paho')"
    code = f"import sys; from edge_node.cli import main; main(['check-config', '/none']); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_name_that_is_not_utf8_is_printed_as_well_as_it_can_be(tmp_path: Path) -> None:
    recording = write_recording(tmp_path / "caf\udce9.jsonl")
    command = [sys.executable, "-m", "edge_node", "export", recording, "--to", "csv"]
    done = subprocess.run(command, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(".csv: 10 people\n")


def in_a_shell(words: str, home: Path) -> "subprocess.CompletedProcess[str]":
    """``edge-node`` with these words, of which a shell makes what it does; output is buffered, as it is outside of tests."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {"XDG_STATE_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
    command = ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m edge_node {words}"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", ["models list | true", "check-config /dev/null | true", "--help | true"])
def test_a_reader_that_goes_away_is_no_error(words: str, tmp_path: Path) -> None:
    done = in_a_shell(words, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["models list", "check-config /dev/null --json"])
def test_output_that_cannot_be_written_is_an_error_in_one_line(verb: str, tmp_path: Path) -> None:
    done = in_a_shell(f"{verb} > /dev/full", tmp_path)
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


NODE = "run --frames 3 --set camera.source=synthetic --set model.name=marker --set mqtt.enabled=false"


@pytest.mark.parametrize("words", [f"{NODE} <&- >&- 2>&-", "doctor --help >&-", "models verify marker 2>&-", "models verify marker >&-"])
def test_a_program_without_standard_streams_works_all_the_same(words: str, tmp_path: Path) -> None:
    assert in_a_shell(words, tmp_path).returncode == 0


def test_no_recording_goes_to_a_standard_output_that_is_closed(tmp_path: Path) -> None:
    done = in_a_shell(f"{NODE} --set record.path=- >&-", tmp_path)
    assert "3 poses could not be recorded" in done.stderr
    assert done.returncode == 1


def signalled_while_importing(module: str, number: signal.Signals, tmp_path: Path) -> "subprocess.CompletedProcess[str]":
    """A node of three frames that is sent the signal right after ``module`` was imported. What it says is less the times of imports."""
    options = ("camera.source=synthetic", "model.name=marker", "mqtt.enabled=false")
    command = [sys.executable, "-X", "importtime", "-m", "edge_node", "run", "--frames", "3", *(f"--set={o}" for o in options)]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.endswith(f" {module}\n"):
                break
        process.send_signal(number)
        said = "".join(line for line in process.stderr if not line.startswith("import time:"))
    return subprocess.CompletedProcess(command, process.returncode, stderr=said)


@pytest.mark.parametrize("module", ["gettext", "yaml.error", "numpy.version"])
def test_a_program_that_is_interrupted_while_it_starts_ends_quietly(module: str, tmp_path: Path) -> None:
    done = signalled_while_importing(module, signal.SIGINT, tmp_path)
    assert (done.returncode, done.stderr) == (130, "")


def test_a_node_that_is_asked_to_reload_while_it_starts_goes_on(tmp_path: Path) -> None:
    assert signalled_while_importing("yaml.error", signal.SIGHUP, tmp_path).returncode == 0
