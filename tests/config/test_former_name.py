import logging
from pathlib import Path

import pytest

from edge_node.config.former_name import former_name, remember

FILE = Path("/etc/edge-node/edge-node.yaml")


def test_the_last_name_of_each_file_is_remembered(tmp_path: Path) -> None:
    remember(tmp_path, FILE, "one")
    remember(tmp_path, FILE, "two")
    remember(tmp_path, Path("other.yaml"), "three")
    assert former_name(tmp_path, FILE) == "two"
    assert former_name(tmp_path, Path("other.yaml").absolute()) == "three"
    assert former_name(tmp_path, Path("third.yaml")) is None


def test_what_is_remembered_already_costs_no_write(tmp_path: Path) -> None:
    remember(tmp_path, FILE, "one")
    (record,) = tmp_path.iterdir()
    record.chmod(0o400)
    before = record.stat().st_ino
    remember(tmp_path, FILE, "one")
    assert record.stat().st_ino == before


@pytest.mark.parametrize("text", ["", "[]", "7", "{}", '{"node": 7}', '{"node": "../x"}', '{"node": ""}', "\xff"])
def test_a_damaged_record_says_nothing_and_is_replaced(tmp_path: Path, text: str) -> None:
    remember(tmp_path, FILE, "one")
    (record,) = tmp_path.iterdir()
    record.write_bytes(text.encode("latin-1"))
    assert former_name(tmp_path, FILE) is None
    remember(tmp_path, FILE, "two")
    assert former_name(tmp_path, FILE) == "two"


def test_where_it_cannot_be_kept_the_log_says_what_that_means(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    remember(tmp_path / "nowhere", FILE, "one")
    assert "No such file or directory; with another node.name the node would not find its tuned values" in caplog.text
