"""Requests over the network: what may be changed, how values are read, and that nothing else ever happens."""

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from edge_node.config.keys import all_keys, live_keys, value_of
from edge_node.config.load import load
from edge_node.config.models import Config
from edge_node.config.settings import Settings, overlay_file
from edge_node.errors import EdgeNodeError
from edge_node.tuning import BURST, MAX_SET_BYTES, PER_SECOND, SETTLED_S, Answer, Tuning, tunable_values

NAME = Config().node.name


class Clock:
    """Each look is a second later, so that the rate limit keeps out of the way; from long after the start."""

    def __init__(self) -> None:
        self.now_s = 1e12

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


clock = Clock()


def node(state: Path | None = None, *overrides: str, **actions: Any) -> Tuning:
    return Tuning(Settings(lambda: load(None, {}, overrides), state), actions)


def ask(tuning: Tuning, topic: str, payload: bytes | str = b"", retained: bool = False) -> Answer | None:
    kind, _, name = topic.partition("/")
    raw = payload.encode() if isinstance(payload, str) else payload
    return tuning.handle(kind, name, raw, retained, clock())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "payload", "value"),
    [
        ("pose.max_people", "3", 3),
        ("pose.max_people", "3.0", 3),
        ("pose.max_people", '"3"', 3),
        ("pose.max_people", "+3.", 3),
        ("pose.score_threshold", ".35", 0.35),
        ("pose.score_threshold", "+35E-2", 0.35),
        ("pose.score_threshold", "0.35", 0.35),
        ("pose.score_threshold", "1", 1.0),
        ("mqtt.pose", "OFF", False),
        ("mqtt.pose", "on", True),
        ("mqtt.pose", "false", False),
        ("mqtt.pose", "0", False),
        ("mqtt.format", "named", "named"),
        ("mqtt.format", '"named"', "named"),
        ("log.level", " debug\n", "debug"),
    ],
)
def test_a_value_is_read_as_what_the_key_is(key: str, payload: str, value: object) -> None:
    tuning = node()
    answer = ask(tuning, f"set/{key}", payload)
    assert answer == Answer(True, "set", key, value)
    in_force = value_of(tuning._settings.current, key)
    assert (in_force, type(in_force)) == (value, type(value))


def test_zones_can_be_drawn_from_outside() -> None:
    tuning = node()
    answer = ask(tuning, "set/state.zones", '[{"name": "sofa", "polygon": [[0, 0], [1, 0], [0.5, 1.0]]}]')
    assert answer is not None
    assert answer.ok, answer.reason
    assert tuning._settings.current.state.zones[0].polygon == [(0, 0), (1, 0), (0.5, 1)]
    assert answer.value == [{"name": "sofa", "polygon": [[0, 0], [1, 0], [0.5, 1]]}]  # as JSON has it
    assert orjson.loads(orjson.dumps(tunable_values(tuning._settings.current)))["state.zones"][0]["name"] == "sofa"


@pytest.mark.parametrize(
    ("key", "payload", "reason"),
    [
        ("pose.max_people", "99", "less than or equal to 32"),
        ("pose.max_people", "2.5", "should be a whole number, not 2.5"),
        ("pose.max_people", "many", "should be a number, not 'many'"),
        ("pose.max_people", "true", "should be a number"),
        ("pose.max_people", "1_0", "should be a number, not '1_0'"),
        ("pose.max_people", "\uff12", "should be a number, not"),
        ("pose.max_people", '"٣"', "should be a number, not '٣'"),
        ("pose.max_people", "1e999", "should be a number"),
        ("pose.score_threshold", "nan", "should be a number"),
        ("mqtt.pose", "maybe", "should be true or false, not 'maybe'"),
        ("mqtt.format", "xml", "not one of 'flat' or 'named'"),
        ("mqtt.format", "1", "should be text, not 1"),
        ("state.zones", "[", "not valid JSON"),
        ("state.zones", "sofa", "not valid JSON"),
        ("state.zones", '[{"name": "a/b", "polygon": [[0,0],[1,0],[1,1]]}]', "does not have the form"),
        ("state.zones", '[{"name": "a", "polygon": [[0,0],[9,0],[1,1]]}]', "between 0 and 1"),
        ("state.zones", "[" * 8000, "not valid JSON"),
        ("camera.source", '"rtsp://elsewhere/"', "needs a restart"),
        ("mqtt.host", "elsewhere", "needs a restart"),
        ("pose.max_peple", "1", "did you mean pose.max_people?"),
        ("../../etc/passwd", "1", "unknown key"),
        ("", "1", "unknown key"),
        ("pose", "1", "unknown key"),
        ("pose.max_people", b"\xff\xfe", "not UTF-8"),
        ("pose.max_people", b" " * (MAX_SET_BYTES + 1), "are read at most"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason_and_changes_nothing(tmp_path: Path, key: str, payload: str, reason: str) -> None:
    tuning = node(tmp_path)
    before = tuning._settings.current
    answer = ask(tuning, f"set/{key}", payload)
    assert answer is not None
    assert not answer.ok
    assert answer.value is None
    assert reason in (answer.reason or "")
    assert tuning._settings.current is before
    assert not overlay_file(tmp_path, NAME).exists()


def test_null_gives_back_the_files_value(tmp_path: Path) -> None:
    tuning = node(tmp_path, "pose.max_people=4")
    ask(tuning, "set/pose.max_people", "2")
    assert ask(tuning, "set/pose.max_people", "null") == Answer(True, "set", "pose.max_people", 4)
    assert json.loads(overlay_file(tmp_path, NAME).read_text()) == {}


def test_tuned_values_outlive_the_node_and_reset_tuning_forgets_them(tmp_path: Path) -> None:
    ask(node(tmp_path), "set/pose.max_people", "2")
    later = node(tmp_path)
    assert later._settings.current.pose.max_people == 2
    assert ask(later, "cmd/reset_tuning") == Answer(True, "cmd", "reset_tuning")
    assert later._settings.current == later._settings.file


def test_a_repeated_request_writes_nothing(tmp_path: Path) -> None:
    tuning = node(tmp_path)
    ask(tuning, "set/pose.max_people", "2")
    written = overlay_file(tmp_path, NAME).stat().st_mtime_ns
    current = tuning._settings.current
    assert ask(tuning, "set/pose.max_people", "2") == Answer(True, "set", "pose.max_people", 2)
    assert tuning._settings.current is current
    assert overlay_file(tmp_path, NAME).stat().st_mtime_ns == written


def test_a_full_disk_refuses_the_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tuning = node(tmp_path)
    monkeypatch.setattr("edge_node.filesystem.os.fsync", full)
    answer = ask(tuning, "set/pose.max_people", "2")
    reason = f"cannot be kept: No space left on device ({overlay_file(tmp_path, NAME)})"
    assert answer == Answer(False, "set", "pose.max_people", reason=reason)
    assert tuning._settings.current.pose.max_people == 6
    assert ask(tuning, "cmd/reset_tuning") == Answer(False, "cmd", "reset_tuning", reason=reason)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("topic", ["set/pose.max_people", "cmd/restart", "cmd/nonsense"])
def test_retained_requests_are_ignored_in_silence(topic: str) -> None:
    asked: list[str] = []
    tuning = node(restart=lambda: asked.append("restart"))
    assert ask(tuning, topic, "2" if "set" in topic else "", retained=True) is None
    assert not asked
    assert tuning._settings.overlay == {}


def test_an_empty_message_sets_nothing_and_is_a_command_all_the_same() -> None:
    assert ask(node(), "set/pose.max_people", b"") is None
    assert ask(node(restart=lambda: None), "cmd/restart", b"") == Answer(True, "cmd", "restart")


def test_a_command_is_done_and_what_it_reports_is_answered() -> None:
    assert ask(node(announce=lambda: "12 entities"), "cmd/announce") == Answer(True, "cmd", "announce", "12 entities")


def test_reload_says_what_took_effect_and_what_waits_for_a_restart() -> None:
    overrides: list[str] = []
    tuning = Tuning(Settings(lambda: load(None, {}, overrides)))
    overrides += ["pose.max_people=2", "camera.fps=10"]
    answer = ask(tuning, "cmd/reload")
    assert answer == Answer(True, "cmd", "reload", {"applied": ["pose.max_people"], "needs_restart": ["camera.fps"]})
    overrides.append("camera.fps=0")
    answer = ask(tuning, "cmd/reload")
    assert answer is not None
    assert (answer.ok, "camera.fps" in (answer.reason or "")) == (False, True)


def test_a_command_that_fails_says_why() -> None:
    def fails() -> None:
        raise EdgeNodeError("no systemd here")

    assert ask(node(restart=fails), "cmd/restart") == Answer(False, "cmd", "restart", reason="no systemd here")


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("cmd/rm", "", "unknown command; known: reload, reset_tuning, restart"),
        ("cmd/restrat", "", "did you mean restart?"),
        ("cmd/restart/now", "", "unknown command"),
        ("cmd/restart", "now", "not JSON"),
        ("cmd/restart", "[]", "something else"),
        ("cmd/restart", '{"path": "/bin/sh"}', "something else"),
        ("cmd/restart", '{"id": 7}', "id is to be text"),
        ("cmd/restart", "x" * 5000, "5000 bytes"),
        ("cmd/restart", b"\xff", "not JSON"),
    ],
)
def test_commands_that_are_unknown_or_malformed_are_refused(topic: str, payload: str, reason: str) -> None:
    asked: list[str] = []
    answer = ask(node(restart=lambda: asked.append("restart")), topic, payload)
    assert answer is not None
    assert not answer.ok
    assert reason in (answer.reason or "")
    assert not asked


def test_a_command_with_an_id_is_done_once() -> None:
    asked: list[str] = []
    tuning = node(announce=lambda: asked.append("x"))
    first, second = (ask(tuning, "cmd/announce", '{"id": "a1"}') for _ in range(2))
    assert first is not None
    assert second is not None
    assert (first.ok, second.ok, asked) == (True, False, ["x"])


def test_a_command_that_failed_is_done_when_it_is_asked_for_again() -> None:
    overrides: list[str] = []
    tuning = Tuning(Settings(lambda: load(None, {}, overrides)))
    overrides[:] = ["camera.fps=0"]
    failed = ask(tuning, "cmd/reload", '{"id": "a1"}')
    overrides[:] = ["pose.max_people=2"]
    mended, again = (ask(tuning, "cmd/reload", '{"id": "a1"}') for _ in range(2))
    assert failed is not None
    assert mended is not None
    assert again is not None
    assert "camera.fps" in (failed.reason or "")
    assert (mended.ok, mended.value) == (True, {"applied": ["pose.max_people"], "needs_restart": []})
    assert again.reason == "the request a1 was done before"


def test_a_restart_right_after_the_start_is_refused() -> None:
    asked: list[str] = []
    tuning = node(restart=lambda: asked.append("x"))
    early = tuning.handle("cmd", "restart", b"", False, tuning._started_s + SETTLED_S / 2)
    late = tuning.handle("cmd", "restart", b"", False, tuning._started_s + SETTLED_S * 2)
    assert early is not None
    assert late is not None
    assert (early.ok, late.ok, asked) == (False, True, ["x"])


def test_all_of_it_can_be_switched_off() -> None:
    tuning = node(None, "mqtt.allow_commands=false")
    for topic, payload in (("set/pose.max_people", "2"), ("cmd/reload", "")):
        answer = ask(tuning, topic, payload)
        assert answer is not None
        assert answer.reason == "switched off by mqtt.allow_commands in the configuration"
    assert tuning._settings.overlay == {}


def test_a_flood_is_answered_once_and_then_in_silence() -> None:
    tuning = node()
    at_s = 1e12
    answers = [tuning.handle("set", "pose.max_people", b"%d" % (i % 30 + 1), False, at_s) for i in range(BURST + 50)]
    assert all(a is not None and a.ok for a in answers[:BURST])
    assert "too many requests" in (answers[BURST].reason or "")
    assert answers[BURST + 1 :] == [None] * 49
    again = tuning.handle("set", "pose.max_people", b"2", False, at_s + 2 / PER_SECOND)
    assert again is not None
    assert again.ok


def test_no_tunable_key_names_a_path_command_address_or_credential() -> None:
    """The property that keeps the network out of the machine. A key that fails here must not be live."""
    word = re.compile(r"path|file|dir|command|exec|host|url|port|broker|source|device|user|password|secret|token|certificate|key")
    for path, key in live_keys().items():
        assert not word.search(path.replace("keypoint", "")), path
        assert key.type in (bool, int, float) or key.choices or path == "state.zones", f"{path} takes free text"
    zone = load(None, {}, ['state.zones=[{"name": "a", "polygon": [[0, 0], [1, 0], [1, 1]]}]']).state.zones[0]
    assert set(type(zone).model_fields) == {"name", "polygon"}


def test_the_published_values_are_the_tunable_ones_and_no_others() -> None:
    values = tunable_values(load(None, {}, ["mqtt.username=somebody", "camera.source=rtsp://h/"]))
    assert set(values) == set(live_keys())
    assert not {"somebody", "rtsp://h/"} & {str(v) for v in values.values()}
    assert set(values) < set(all_keys())
