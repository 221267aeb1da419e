"""How the node speaks to the terminal, the journal and machines."""

import json
import logging

import pytest

from edge_node.config.models import Log
from edge_node.log import configure


def test_the_journal_gets_a_priority_on_every_line(capfd: pytest.CaptureFixture[str]) -> None:
    configure(Log(format="journal"))
    logging.getLogger("edge_node").warning("first\nsecond")
    logging.getLogger("edge_node").error("third")
    assert capfd.readouterr().err == "<4>first\n<4>second\n<3>third\n"


def test_json_has_one_object_a_line_with_the_traceback_inside(capfd: pytest.CaptureFixture[str]) -> None:
    configure(Log(format="json"))
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("edge_node.node").exception("failed")
    line = json.loads(capfd.readouterr().err)
    assert (line["level"], line["part"], line["message"]) == ("error", "edge_node.node", "failed")
    assert "ValueError: broken" in line["traceback"]


def test_the_level_can_be_changed_and_lines_do_not_double(capfd: pytest.CaptureFixture[str]) -> None:
    configure(Log(level="error", format="text"))
    logging.getLogger("edge_node").info("quiet")
    configure(Log(level="info", format="text"))
    logging.getLogger("edge_node").info("loud")
    assert capfd.readouterr().err.count("loud") == 1


def test_under_systemd_auto_means_the_journal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    configure(Log(format="auto"))
    logging.getLogger("edge_node").info("hello")
    assert capfd.readouterr().err == "<6>hello\n"


def test_what_strangers_have_a_part_in_gives_no_orders_to_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    configure(Log(format="text"))
    logging.getLogger("edge_node").warning("set %s refused\n  see above", "\x1b[2J\x9b\u202e")
    first, second, _ = capfd.readouterr().err.split("\n")
    assert first.endswith("set \ufffd[2J\ufffd\ufffd refused")
    assert second == "  see above"
