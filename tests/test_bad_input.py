"""Every mistake a user can make, given to the real command line: one readable answer, the right exit code, never a traceback."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_node.local_broker import mosquitto
from tests.conftest import Shared

FINE, FAILED, USAGE, CONFIG = 0, 1, 2, 78


@dataclass(frozen=True)
class Answer:
    """How the program ended and what it said."""

    code: int
    text: str


@dataclass(frozen=True)
class Program:
    """The command line, in a home of its own."""

    home: Path
    models: Path

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGE_NODE")}
        return {**kept, "HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "XDG_CACHE_HOME": str(self.home / "cache")}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "edge_node", *words]

    def __call__(self, *words: str, timeout_s: float = 30) -> Answer:
        done = subprocess.run(self.command(*words), env=self.environment(), capture_output=True, text=True, timeout=timeout_s, check=False)
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout + done.stderr)

    def without_rights(self, *words: str) -> Answer:
        """The same as a user whom permissions hold back, also when this is root."""
        rights = "-dac_override,-dac_read_search"
        held_back = ["setpriv", "--bounding-set", rights, "--inh-caps", rights] if os.geteuid() == 0 else []
        command = [*held_back, *self.command(*words, *(() if words[0] in ("setup", "export") else ("--set", "mqtt.enabled=false")))]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return Answer(done.returncode, done.stdout + done.stderr)

    def run(self, *overrides: str) -> Answer:
        """``edge-node run`` with the real model and without MQTT, unless overridden."""
        return self("run", *self.settings(*overrides))

    def settings(self, *overrides: str) -> list[str]:
        usual = (
            f"model.directory={self.models}",
            "model.accelerator=cpu",
            "mqtt.enabled=false",
            "camera.source=synthetic",
            "model.threads=1",
        )
        return [word for override in (*usual, *overrides) for word in ("--set", override)]

    def until(self, text: str, *overrides: str, timeout_s: float = 20) -> str:
        """Run until it says ``text``, then stop it; what it said. It must still be running then, and stop cleanly."""
        log = self.home / "said"
        with log.open("w") as output:
            command = self.command("run", *self.settings(*overrides))
            process = subprocess.Popen(command, env=self.environment(), stdout=subprocess.DEVNULL, stderr=output)
            try:
                wait_for(lambda: text in log.read_text() or process.poll() is not None, timeout_s)
                assert process.poll() is None, f"it gave up where waiting can help: {log.read_text()}"
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=10) == FINE
            finally:
                process.kill()
                process.wait()
        said = log.read_text()
        assert text in said
        assert "Traceback" not in said
        return said


def wait_for(condition: Callable[[], bool], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def program(tmp_path: Path, shared: Shared) -> Program:
    return Program(tmp_path, shared.models)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camera:\n  widht: 640\n", "edge-node.yaml:2:3: camera.widht: unknown key, did you mean width?"),
        ("camera:\n  width: wide\n", "edge-node.yaml:2:3: camera.width: should be a valid integer, not 'wide'"),
        ("camera:\n  fps: -1\n", "edge-node.yaml:2:3: camera.fps: should be greater than or equal to 0.001, not -1"),
        ("camera:\n  width: 640\n   height: 480\n", "edge-node.yaml:3:10: not valid YAML: mapping values are not allowed"),
        ("model:\n  accelerator: tpu\n", "edge-node.yaml:2:3: model.accelerator: 'tpu' is not one of 'auto', 'edgetpu' or 'cpu'"),
        ("mqtt:\n  password: secret\n", "edge-node.yaml:2:3: mqtt.password: is no key; give it in EDGE_NODE_MQTT_PASSWORD"),
    ],
)
def test_a_mistake_in_the_file_is_told_with_its_place(program: Program, tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "edge-node.yaml"
    file.write_text(text)
    answer = program("run", "-c", str(file))
    assert expected in answer.text
    assert answer.code == CONFIG
    assert program("check-config", str(file)) == answer


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ((), USAGE, "VERB"),
        (("rum",), USAGE, "invalid choice: 'rum'"),
        (("run", "--frames", "none"), USAGE, "'none' is not a positive number"),
        (("run", "--set", "camera.fps"), CONFIG, "--set camera.fps: expected KEY=VALUE"),
        (("run", "--set", "camera.fsp=1"), CONFIG, "--set camera.fsp=1: camera.fsp: unknown key, did you mean fps?"),
        (("run", "--set", "camera.source=ftp://somewhere/x"), CONFIG, "use rtsp://HOST/PATH or http://HOST/PATH"),
        (("run", "-c", "/none.yaml"), CONFIG, "/none.yaml: no such file; write one with: edge-node setup"),
        (("check-config", "/none.yaml"), CONFIG, "/none.yaml: no such file"),
    ],
)
def test_a_mistake_on_the_command_line_is_told(program: Program, words: tuple[str, ...], code: int, expected: str) -> None:
    answer = program(*words)
    assert expected in answer.text
    assert answer.code == code


def test_a_missing_model_is_told_with_what_to_type(program: Program, tmp_path: Path) -> None:
    answer = program.run(f"model.directory={tmp_path}")
    assert "movenet_single_pose_lightning_ptq.tflite is not there; fetch it: edge-node models fetch movenet-lightning" in answer.text
    assert answer.code == FAILED


def test_a_folder_as_a_model_is_told(program: Program) -> None:
    answer = program.run("model.name=/")
    assert "model /: is no file; give model.name the path of a .tflite file" in answer.text
    assert answer.code == FAILED


def test_a_model_of_ones_own_runs_also_where_the_cache_may_not_be_entered(program: Program, shared: Shared) -> None:
    own = program.home / "own.tflite"
    own.write_bytes((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes() + b"\0")
    cache = program.home / "cache" / "edge-node"
    cache.mkdir(parents=True)
    cache.chmod(0)
    answer = program.without_rights("run", "--frames", "2", *program.settings(f"model.name={own}"))
    cache.chmod(0o700)
    assert answer.code == FINE


def test_a_model_of_another_name_is_told_with_the_nearest(program: Program) -> None:
    answer = program.run("model.name=movenet-lightening")
    assert "did you mean movenet-lightning?" in answer.text
    assert answer.code == FAILED


def test_a_damaged_model_is_refused(program: Program, tmp_path: Path, shared: Shared) -> None:
    content = bytearray((shared.models / "movenet_single_pose_lightning_ptq.tflite").read_bytes())
    content[1000] ^= 1
    (tmp_path / "movenet_single_pose_lightning_ptq.tflite").write_bytes(content)
    answer = program.run(f"model.directory={tmp_path}")
    assert "is another file or damaged: sha256" in answer.text
    assert answer.code == FAILED


def test_a_model_that_is_no_movenet_is_refused_with_a_reason(program: Program, shared: Shared) -> None:
    answer = program.run(f"model.name={shared.models / 'posenet_mobilenet_v1_075_353_481_quant.tflite'}")
    assert "posenet_mobilenet_v1_075_353_481_quant.tflite" in answer.text
    assert answer.code == FAILED


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "none.mp4", "none.mp4"),
        (lambda folder: write(folder / "text.mp4", b"no video at all"), "text.mp4"),
        (lambda folder: write(folder / "empty.mp4", b""), "empty.mp4"),
        (lambda folder: folder, "picture"),
    ],
    ids=["missing", "no-video", "empty", "empty-folder"],
)
def test_a_source_that_can_never_work_ends_the_node(program: Program, tmp_path: Path, make, expected: str) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "media"
    folder.mkdir()
    answer = program.run(f"camera.source={make(folder)}")
    assert expected in answer.text
    assert answer.code == FAILED


def test_a_corrupt_picture_in_a_folder_is_told_and_the_others_are_used(program: Program, tmp_path: Path, shared: Shared) -> None:
    for number, image in enumerate(sorted((shared.coco / "images").iterdir())[:2]):
        shutil.copy(image, tmp_path / f"{number}.jpg")
    write(tmp_path / "1a.jpg", b"\xff\xd8 not a picture")
    answer = program.run(f"camera.source={tmp_path}", "record.path=-")
    assert "1a.jpg" in answer.text
    assert answer.text.count('"seq":') == 2
    assert answer.code == FINE


def test_a_missing_camera_is_waited_for(program: Program) -> None:
    said = program.until("trying again", "camera.source=/dev/video99")
    assert "/dev/video99" in said


def test_an_unknown_broker_is_waited_for(program: Program) -> None:
    said = program.until("no-such-host.invalid", "mqtt.enabled=true", "mqtt.host=no-such-host.invalid")
    assert said.count("no-such-host.invalid") <= 2, "said once, not at every attempt"


@pytest.fixture
def guarded_broker(tmp_path: Path) -> Iterator[int]:
    """A mosquitto that lets nobody in without a password."""
    program = mosquitto()
    if program is None:
        pytest.fail("mosquitto is missing; scripts/test installs it")
    (tmp_path / "passwords").touch(mode=0o600)
    port = 18_947
    (tmp_path / "broker.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\nuser root\npassword_file {tmp_path / 'passwords'}\n"
    )
    with subprocess.Popen([program, "-c", str(tmp_path / "broker.conf")], stderr=subprocess.DEVNULL) as process:
        time.sleep(0.5)
        yield port
        process.terminate()


def test_a_refused_login_is_told_and_tried_again(program: Program, guarded_broker: int) -> None:
    said = program.until("refused", "mqtt.enabled=true", f"mqtt.port={guarded_broker}", "mqtt.username=me")
    assert "EDGE_NODE_MQTT_PASSWORD" in said or "mqtt.username" in said


def test_an_unwritable_recording_ends_the_node(program: Program) -> None:
    answer = program.run("record.path=/proc/none/poses.jsonl")
    assert "/proc/none" in answer.text
    assert answer.code == FAILED


def test_a_web_port_in_use_ends_the_node(program: Program) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = program.run("web.enabled=true", f"web.port={taken.getsockname()[1]}")
    assert "cannot be listened on" in answer.text
    assert answer.code == FAILED


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("run", "--set", "model.name=marker", "--set", "camera.source=FOLDER/a"), FAILED),
        (("run", "--set", "camera.source=synthetic", "--set", "model.directory=FOLDER"), FAILED),
        (("run", "--set", "camera.source=synthetic", "--set", "model.name=FOLDER/a.tflite"), FAILED),
        (("models", "list", "--directory", "FOLDER"), FAILED),
        (("models", "verify", "FOLDER/a.tflite"), FAILED),
        (("evaluate", "--set", "model.name=marker", "--coco", "FOLDER"), FAILED),
        (("evaluate", "--set", "model.name=marker", "--sequence", "FOLDER/a"), FAILED),
        (("evaluate", "--set", "model.name=marker", "--sequence", "FOLDER"), FAILED),
        (("setup", "--yes", "-c", "FOLDER/a.yaml"), CONFIG),
        (("doctor", "--set", "camera.source=FOLDER/a"), FAILED),
        (("doctor", "--root", "FOLDER"), USAGE),
        (("export", "FOLDER/a.jsonl", "--to", "csv"), FAILED),
        (("render", "FOLDER/a", "-o", "out.mp4"), FAILED),
    ],
)
def test_a_path_in_a_folder_that_may_not_be_entered_is_told(program: Program, tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    answer = program.without_rights(*(word.replace("FOLDER", str(folder)) for word in words))
    assert re.search(rf"{folder}(/\S+)?: cannot be read: Permission denied", answer.text)
    assert answer.code == code


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
