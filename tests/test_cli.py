"""The command itself: help, exit codes, and that only the verb in use is imported."""

import subprocess
import sys

import pytest

from edge_node.cli import VERBS, main
from edge_node.errors import CameraError, ConfigError, EdgeNodeError


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


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = subprocess.run(f"{sys.executable} -m edge_node models list | true", shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
