"""Temporary files on a machine that has no place for them: its disk is full, or cannot be written."""

import tempfile

import pytest

from edge_node.errors import OutputError
from edge_node.health import Health
from edge_node.status_socket import StatusSocket, running_sockets
from edge_node.temporary import temporary_folder


@pytest.fixture
def no_place(monkeypatch, tmp_path):
    """What ``tempfile`` finds when nothing can be written anywhere."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "full")])
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def test_a_temporary_folder_is_gone_at_the_end():
    with temporary_folder("edge-node-test-") as folder:
        (folder / "file").write_text("something")
    assert not folder.exists()


def test_who_needs_a_temporary_folder_is_told_where_there_is_no_room(no_place, tmp_path):
    with pytest.raises(OutputError, match=rf"{tmp_path}/full.*TMPDIR"), temporary_folder("edge-node-test-"):
        pass


def test_a_node_runs_and_looks_for_others_all_the_same(no_place):
    with StatusSocket("nowhere", Health()):
        pass
    assert not [path for path in running_sockets() if path.stem == "nowhere"]
