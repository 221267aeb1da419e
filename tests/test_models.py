"""Model files are found, fetched, resumed and verified; whatever is wrong is said in one line that tells what to do."""

import http.server
import json
import os
import shutil
import socket
import stat
import threading
from pathlib import Path

import pytest

from edge_node import fetch as fetching
from edge_node.cli import main
from edge_node.commands.models import ADVICE
from edge_node.errors import ModelError
from edge_node.fetch import fetch
from edge_node.models import ModelFile, find_model, manifest

NAME = "movenet-lightning"
CPU_FILE = "movenet_single_pose_lightning_ptq.tflite"


class Server(http.server.ThreadingHTTPServer):
    """Serves one content; can break off after some bytes, know no ranges, or serve something else."""

    content = b""
    break_after: int | None = None
    ranges = True
    asked: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.break_after])

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def real_file(shared) -> Path:
    return shared.models / CPU_FILE


@pytest.fixture
def server(real_file):
    server = Server(("127.0.0.1", 0), Handler)
    server.content, server.asked = real_file.read_bytes(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def listed(port: int) -> ModelFile:
    real = manifest()[0].files["cpu"]
    return ModelFile(real.file, f"http://127.0.0.1:{port}/{real.file}", real.bytes, real.sha256)


def nothing(there: int, whole: int) -> None:
    pass


def test_a_file_is_fetched_once_and_verified(server, tmp_path, real_file):
    seen = []
    path = fetch(listed(server.server_port), tmp_path / "models", None, lambda there, whole: seen.append((there, whole)), ADVICE)
    assert path.read_bytes() == real_file.read_bytes()
    assert seen[-1] == (len(server.content), len(server.content))
    assert seen == sorted(seen)
    fetch(listed(server.server_port), tmp_path / "models", None, nothing, ADVICE)
    assert len(server.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == [CPU_FILE]


def test_a_transfer_that_broke_off_goes_on_where_it_was(server, tmp_path):
    server.break_after = 1_000_000
    with pytest.raises(ModelError, match="broke off after 1000000 of 2894840 bytes; fetch again"):
        fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)
    assert not (tmp_path / CPU_FILE).exists()
    server.break_after = None
    fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)
    assert server.asked == [None, "bytes=1000000-"]


def test_a_server_without_ranges_is_read_from_the_beginning(server, tmp_path):
    (tmp_path / f"{CPU_FILE}.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE).stat().st_size == 2_894_840


def test_another_content_is_refused_and_not_kept(server, tmp_path):
    server.content = bytes(2_894_840)
    with pytest.raises(ModelError, match="another file or damaged: sha256"):
        fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_page_is_told(server, tmp_path):
    server.shutdown()
    server.RequestHandlerClass = type("Missing", (Handler,), {"do_GET": lambda self: self.send_error(404)})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with pytest.raises(ModelError, match="404"):
        fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)


def test_a_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "ANSWER_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(ModelError, match=r"is there a network\? .* --from"):
        fetch(listed(silent.getsockname()[1]), tmp_path, None, nothing, ADVICE)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_what_is_needed_and_is_not_left_full(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching.os, "fsync", full)
    with pytest.raises(ModelError, match=r"no space left .* 2\.9 MB are needed"):
        fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_place_of_the_file_to_be_is_not_followed(shared, tmp_path):
    other = tmp_path / "other"
    other.write_text("of somebody else")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / f"{CPU_FILE}.part").symlink_to(other)
    with pytest.raises(ModelError, match="symbolic link"):
        fetch(manifest()[0].files["cpu"], tmp_path / "models", shared.models, nothing, ADVICE)
    assert other.read_text() == "of somebody else"


def test_an_empty_file_in_a_mirror_is_told(tmp_path):
    (tmp_path / CPU_FILE).touch()
    with pytest.raises(ModelError, match=f"{tmp_path / CPU_FILE}: what came has 0 bytes instead of 2894840; it is not used"):
        fetch(manifest()[0].files["cpu"], tmp_path / "models", tmp_path, nothing, ADVICE)
    assert list((tmp_path / "models").iterdir()) == []


def test_two_fetches_at_a_time_do_not_mix(server, tmp_path):
    with (tmp_path / f"{CPU_FILE}.part").open("ab") as first:
        fetching._lock(first, tmp_path)
        with pytest.raises(ModelError, match="another fetch"):
            fetch(listed(server.server_port), tmp_path, None, nothing, ADVICE)


def test_a_fetch_that_waits_while_another_one_ends_leaves_its_file_alone(shared, tmp_path, monkeypatch):
    file = manifest()[0].files["cpu"]
    opened_itself = fetching._opened

    def opened_before_another_fetch(part):
        output = opened_itself(part)
        monkeypatch.setattr(fetching, "_opened", opened_itself)
        fetch(file, tmp_path / "models", shared.models, nothing, ADVICE)
        return output

    monkeypatch.setattr(fetching, "_opened", opened_before_another_fetch)
    (tmp_path / "mirror").mkdir()  # that has the file no more
    path = fetch(file, tmp_path / "models", tmp_path / "mirror", nothing, ADVICE)
    assert path.read_bytes() == (shared.models / CPU_FILE).read_bytes()
    assert list((tmp_path / "models").iterdir()) == [path]


def test_fetch_from_a_mirror_folder_then_list_and_verify(shared, tmp_path, capsys):
    there = ["--directory", str(tmp_path / "m")]
    assert main(["models", "fetch", "--from", str(shared.models), "--accelerator", "cpu", *there]) == 0
    assert "verified" in capsys.readouterr().out
    assert main(["models", "list", "--json", *there]) == 0
    states = {(one["name"], one["accelerator"]): one["state"] for one in json.loads(capsys.readouterr().out)}
    assert states == {(NAME, "cpu"): "fine", (NAME, "edgetpu"): "missing", ("marker", "cpu"): "fine"}
    assert main(["models", "verify", *there]) == 0
    (tmp_path / "m" / CPU_FILE).write_bytes(b"half a file")
    assert main(["models", "verify", *there]) == 1
    assert "11 bytes instead of 2894840" in capsys.readouterr().out


def test_fetch_takes_the_folder_that_the_environment_names(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EDGE_NODE_MODEL_MIRROR", str(shared.models))
    assert main(["models", "fetch", "--accelerator", "cpu", "--directory", str(tmp_path)]) == 0
    assert main(["models", "fetch", "--accelerator", "cpu", "--directory", str(tmp_path), "--from", "/nowhere"]) == 1
    assert capsys.readouterr().err == "mirror /nowhere: no such folder\n"


@pytest.fixture
def _umask_of_a_hardened_machine():
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_umask_of_a_hardened_machine")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("owner", ["nobody", "root"])
def test_what_root_fetches_belongs_to_the_owner_of_the_folder_and_can_be_read_by_everybody(shared, tmp_path, owner):
    state = tmp_path / "state"
    state.mkdir()
    shutil.chown(state, owner)
    there = state / "all" / "models"
    assert main(["models", "fetch", "--from", str(shared.models), "--accelerator", "cpu", "--directory", str(there)]) == 0
    found = {path.name: (path.owner(), stat.S_IMODE(path.stat().st_mode)) for path in state.rglob("*")}
    assert found == {"all": (owner, 0o755), "models": (owner, 0o755), CPU_FILE: (owner, 0o644)}


@pytest.mark.usefixtures("_umask_of_a_hardened_machine")
def test_file_that_its_folder_lets_nobody_hand_over_is_fetched_all_the_same(shared, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", refuse)
    fetch(manifest()[0].files["cpu"], tmp_path / "models", shared.models, nothing, ADVICE)
    assert [path.name for path in (tmp_path / "models").iterdir()] == [CPU_FILE]


def test_verify_says_of_any_file_what_it_is(shared, capsys):
    assert (
        main(["models", "verify", str(shared.models / CPU_FILE), str(shared.models / CPU_FILE).replace(".tflite", "_edgetpu.tflite")]) == 0
    )
    assert capsys.readouterr().out.count("cut at its heads (48 x 48)") == 2
    assert main(["models", "verify", str(shared.models / "posenet_mobilenet_v1_075_353_481_quant.tflite")]) == 1
    assert "not a MoveNet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch", "movenet-lighting"], "did you mean movenet-lightning?"),
        (["fetch", "marker"], "model marker: is built in and needs no file"),
        (["fetch", "yolo"], "known are movenet-lightning, marker"),
        (["fetch", "--from", "/nowhere"], "mirror /nowhere: no such folder"),
        (["verify", "/nowhere/x.tflite"], ""),
    ],
)
def test_a_wrong_request_is_told_and_fails(arguments, said, tmp_path, capsys):
    assert main(["models", *arguments, "--directory", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err


def test_what_to_type_for_the_service_names_the_services_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with pytest.raises(ModelError, match=rf"fetch it: sudo edge-node models fetch {NAME} --directory {tmp_path}/models$"):
        find_model(NAME, None)


def test_a_model_is_found_by_name_only_when_it_is_the_right_one(shared, tmp_path):
    with pytest.raises(ModelError, match=r"is not there; fetch it: edge-node models fetch movenet-lightning --directory"):
        find_model(NAME, str(tmp_path))
    shutil.copy(shared.models / CPU_FILE, tmp_path)
    found = find_model(NAME, str(tmp_path))
    assert found.sha256 == manifest()[0].files["cpu"].sha256
    damaged = bytearray(found.content)
    damaged[1_000_000] ^= 1
    (tmp_path / CPU_FILE).write_bytes(damaged)
    with pytest.raises(ModelError, match="another file or damaged"):
        find_model(NAME, str(tmp_path))


def test_a_path_means_the_twin_for_each_accelerator(shared):
    path = str(shared.models / CPU_FILE)
    compiled = path.replace(".tflite", "_edgetpu.tflite")
    assert find_model(compiled, None, "cpu").path == Path(path)
    assert find_model(path, None, "edgetpu").path == Path(compiled)
    with pytest.raises(ModelError, match="is not there"):
        find_model(str(shared.models / "posenet_mobilenet_v1_075_353_481_quant.tflite"), None, "edgetpu")


def test_a_twin_that_is_missing_is_told_with_how_to_come_by_it(tmp_path):
    (tmp_path / "own.tflite").touch()
    (tmp_path / "only_edgetpu.tflite").touch()
    with pytest.raises(ModelError, match=r"own_edgetpu\.tflite is not there; make it with: edgetpu_compiler own\.tflite"):
        find_model(str(tmp_path / "own.tflite"), None, "edgetpu")
    for name in ("only_edgetpu.tflite", "only.tflite"):
        with pytest.raises(
            ModelError, match=r"only\.tflite is not there; a model compiled for the Edge TPU needs the one it was compiled from"
        ):
            find_model(str(tmp_path / name), None)
    with pytest.raises(ModelError, match=r"neither\.tflite is not there; give model\.name the path"):
        find_model(str(tmp_path / "neither.tflite"), None)


def test_the_manifest_names_pinned_files():
    for known in manifest():
        for file in known.files.values():
            assert file.url.startswith("https://")
            assert file.url.endswith("/" + file.file)
            assert known.source.split()[-1] in file.url
            assert len(file.sha256) == 64
