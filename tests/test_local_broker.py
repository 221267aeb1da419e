"""The broker that demo and bench bring along."""

import socket

import pytest

from edge_node.local_broker import local_broker


def test_it_listens_while_the_context_lasts_and_no_longer() -> None:
    with local_broker() as port, socket.create_connection(("127.0.0.1", port), timeout=2):
        pass
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=2)
