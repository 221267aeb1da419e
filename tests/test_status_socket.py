"""The status of a running node, over a real socket."""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from edge_node.health import Health
from edge_node.status_socket import AlreadyRunningError, NoAnswerError, StatusSocket, ask, running_sockets, socket_path


@pytest.fixture
def runtime(tmp_path_factory, monkeypatch):
    """A runtime directory of the user, and no service's."""
    directory = tmp_path_factory.mktemp("r")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setattr("edge_node.status_socket.SERVICE_SOCKET", directory / "service" / "status.sock")
    return directory


def test_answer_tells_health_and_who_it_is(runtime):
    health = Health()
    health.frame(2, "cpu", {"invoke": 4.0})
    health.problem("mqtt", "connection refused")
    with StatusSocket("hall", health, Path("hall.yaml")):
        answer = ask(socket_path("hall"))
    assert (answer["node"], answer["pid"], answer["configuration"]) == ("hall", os.getpid(), str(Path.cwd() / "hall.yaml"))
    assert (answer["people"], answer["accelerator"], answer["stages"]["invoke"]["p50_ms"]) == (2, "cpu", 4.0)
    assert answer["problems"] == {"mqtt": "connection refused"}


def test_second_node_of_the_same_name_is_refused_and_another_name_is_not(runtime):
    with StatusSocket("hall", Health()):
        with pytest.raises(AlreadyRunningError, match=rf"node hall is already running here \(process {os.getpid()}\)"):
            StatusSocket("hall", Health()).__enter__()
        with StatusSocket("kitchen", Health()):
            assert running_sockets() == [socket_path("hall"), socket_path("kitchen")]
        assert ask(socket_path("hall"))["node"] == "hall"


def test_service_uses_the_directory_systemd_made(runtime, monkeypatch):
    (runtime / "service").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime / "service"))
    with StatusSocket("hall", Health()):
        assert running_sockets() == [runtime / "service" / "status.sock"]
        assert stat.S_IMODE((runtime / "service" / "status.sock").stat().st_mode) == 0o666


def test_a_user_whose_runtime_directory_is_gone_is_served_in_the_temporary_one(runtime, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime / "gone"))
    monkeypatch.setattr("tempfile.tempdir", str(runtime))
    with StatusSocket("hall", Health()):
        assert running_sockets() == [runtime / f"edge-node-{os.getuid()}" / "hall.sock"]
    assert not (runtime / "gone").exists()


def test_nothing_is_left_when_the_node_ends(runtime):
    with StatusSocket("hall", Health()):
        pass
    assert running_sockets() == []
    assert ask(socket_path("hall")) is None
    assert list(runtime.rglob("hall*")) == []


def test_a_lock_whose_file_its_holder_takes_away_meanwhile_is_taken_anew(runtime, monkeypatch):
    held = socket_path("hall").with_suffix(".lock")
    flock = fcntl.flock

    def flock_after_the_holders_end(*words):
        monkeypatch.setattr(fcntl, "flock", flock)
        held.unlink()
        flock(*words)

    monkeypatch.setattr(fcntl, "flock", flock_after_the_holders_end)
    with StatusSocket("hall", Health()), pytest.raises(AlreadyRunningError):
        StatusSocket("hall", Health()).__enter__()


def test_killed_node_leaves_the_way_free(runtime):
    program = """
        import time
        from edge_node.health import Health
        from edge_node.status_socket import StatusSocket
        with StatusSocket("hall", Health()):
            print("up", flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout.readline() == "up\n"
            os.kill(node.pid, signal.SIGSTOP)
            os.waitpid(node.pid, os.WUNTRACED)
            with pytest.raises(NoAnswerError, match="it hangs"):
                ask(socket_path("hall"), timeout_s=0.2)
        finally:
            node.kill()
    assert ask(socket_path("hall")) is None
    with StatusSocket("hall", Health()):
        assert ask(socket_path("hall"))["pid"] == os.getpid()


def test_node_goes_on_where_no_socket_can_be_made(runtime, caplog):
    (runtime / "edge-node").write_text("a file in the way")
    with StatusSocket("hall", Health()):
        assert "edge-node status will not work" in caplog.text


@pytest.mark.parametrize("answer", [b"[1, 2]", b"{}", b'{"node": "hall", "frames": 3}'])
def test_answer_of_another_program_is_not_taken_for_a_node(runtime, answer):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "x.sock"))
        listener.listen()

        def serve():
            served, _ = listener.accept()
            with served:
                served.sendall(answer)

        other = threading.Thread(target=serve)
        other.start()
        with pytest.raises(NoAnswerError, match="not the status of a node"):
            ask(runtime / "x.sock")
        other.join()


def test_node_answers_again_once_there_is_a_descriptor_for_it(runtime):
    with StatusSocket("hall", Health()), contextlib.ExitStack() as taken:
        clients = [taken.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(3)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        for client in clients:
            client.connect(str(socket_path("hall")))
        time.sleep(0.2)  # the node tries to take them meanwhile
        taken.close()
        assert ask(socket_path("hall"))["node"] == "hall"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_sockets_in_a_folder_that_is_somebody_elses_are_left_alone(runtime):
    with StatusSocket("hall", Health()):
        assert running_sockets() == [socket_path("hall")]
        os.chown(socket_path("hall").parent, 65_534, 65_534)
        assert running_sockets() == []
