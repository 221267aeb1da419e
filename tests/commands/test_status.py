"""``edge-node status`` on nodes that run and nodes that do not."""

import json
import socket
from pathlib import Path

import pytest

from edge_node.cli import main
from edge_node.health import Health
from edge_node.status_socket import StatusSocket


@pytest.fixture(autouse=True)
def runtime(tmp_path_factory, monkeypatch):
    directory = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_node.status_socket.SERVICE_SOCKET", directory / "status.sock")
    return directory


@pytest.fixture
def health():
    health = Health()
    for _ in range(3):
        health.frame(2, "cpu", {"invoke": 4.5})
    return health


def test_well_node_is_told_in_words_and_is_exit_code_0(health, capsys):
    health.count("mqtt_dropped", 1234)
    health.fact("edgetpu_temperature_c", 61.5)
    health.fact("camera", "/dev/video0 640x480")
    with StatusSocket("hall", health, Path("/etc/edge-node/edge-node.yaml")):
        assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("hall: ")
    for words in ("on the cpu", "/dev/video0 640x480", "/etc/edge-node/edge-node.yaml", "3 seen, 2 people", "4.5 ms", "1,234", "61.5"):
        assert words in told


def test_problem_is_told_first_and_is_exit_code_1(health, capsys):
    health.problem("mqtt", "broker.local: connection refused")
    with StatusSocket("hall", health):
        assert main(["status"]) == 1
    assert "! mqtt: broker.local: connection refused" in capsys.readouterr().out.splitlines()[1]


def test_what_others_send_gives_no_orders_to_the_terminal(health, capsys):
    health.problem("camera", "refused: \x1b]0;title\x07\x1b[2J")
    health.fact("camera", "\x1b[31mwebcam")
    with StatusSocket("hall", health):
        main(["status"])
    assert not [c for c in capsys.readouterr().out if not c.isprintable() and c != "\n"]


def test_node_without_a_frame_says_so(capsys):
    with StatusSocket("hall", Health()):
        assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert "no frame yet" in told
    assert "no file" in told


def test_no_node_is_told_with_what_to_do(capsys):
    assert main(["status"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "no node runs here; start it with: systemctl start edge-node (or: edge-node run)\n"


def test_one_of_two_nodes_is_chosen_by_name(health, capsys):
    with StatusSocket("hall", health), StatusSocket("kitchen", health):
        assert main(["status", "--json", "--node", "kitchen"]) == 0
        assert [n["node"] for n in json.loads(capsys.readouterr().out)] == ["kitchen"]
        assert main(["status", "--json"]) == 0
        assert [n["node"] for n in json.loads(capsys.readouterr().out)] == ["hall", "kitchen"]
        assert main(["status", "--node", "cellar"]) == 1


def test_hanging_node_is_told_as_such(runtime, capsys):
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(runtime / "status.sock"))
        hung.listen()
        assert main(["status"]) == 1
    assert "it hangs or the machine is busy" in capsys.readouterr().err


def test_node_that_was_asked_for_is_well_beside_one_that_hangs(runtime, health, capsys):
    with socket.socket(socket.AF_UNIX) as hung, StatusSocket("hall", health):
        hung.bind(str(runtime / "status.sock"))
        hung.listen()
        assert main(["status", "--node", "hall"]) == 0
        assert not capsys.readouterr().err
        assert main(["status", "--node", "cellar"]) == 1
    assert "it hangs or the machine is busy" in capsys.readouterr().err
