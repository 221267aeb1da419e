"""The broker that demo and bench bring along."""

import signal
import socket
import subprocess
from typing import Any

import pytest

from edge_node.interrupt import ended_in_order_when_terminated
from edge_node.local_broker import local_broker


def test_it_listens_while_the_context_lasts_and_no_longer() -> None:
    with local_broker() as port, socket.create_connection(("127.0.0.1", port), timeout=2):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=2)


def test_a_program_told_to_end_while_the_broker_starts_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def popen(*words: Any, **more: Any) -> "subprocess.Popen[bytes]":
        started.append(popen_itself(*words, **more))
        signal.raise_signal(signal.SIGTERM)
        return started[-1]

    popen_itself = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", popen)
    with pytest.raises(SystemExit), ended_in_order_when_terminated(), local_broker():
        pytest.fail("it went on")
    assert started[0].poll() is not None
