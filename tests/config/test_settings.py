"""Settings in force: the file's values, what was tuned over them, and reloading."""

import contextlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_node.config.load import load
from edge_node.config.models import Config
from edge_node.config.settings import Settings, overlay_file
from edge_node.errors import ConfigError

NAME = Config().node.name
SERVICE_USER = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


def settings(state: Path | None = None, *overrides: str, configuration: Path | None = None) -> Settings:
    return Settings(lambda: load(None, {}, overrides), state, configuration)


def test_a_tuned_value_is_in_force_at_once_and_after_a_restart(tmp_path: Path) -> None:
    assert settings(tmp_path).set("pose.max_people", 2) == 2
    assert settings(tmp_path).current.pose.max_people == 2


def test_the_configuration_is_the_same_object_until_something_changes() -> None:
    node = settings()
    before = node.current
    assert node.current is before
    node.set("pose.max_people", 2)
    assert node.current is not before
    assert before.pose.max_people == Config().pose.max_people


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("camera.source", "rtsp://elsewhere", "needs a restart"),
        ("pose.max_peple", 2, "did you mean pose.max_people?"),
        ("pose.max_people", 99, "less than or equal to 32"),
        ("pose.max_people", "two", "valid integer"),
    ],
)
def test_what_may_not_be_tuned_is_refused_and_changes_nothing(tmp_path: Path, key: str, value: object, reason: str) -> None:
    node = settings(tmp_path)
    before = node.current
    with pytest.raises(ConfigError, match=reason):
        node.set(key, value)
    assert node.current is before
    assert not overlay_file(tmp_path, NAME).exists()


def test_two_nodes_of_one_user_keep_their_tuned_values_apart(tmp_path: Path) -> None:
    settings(tmp_path, "node.name=one").set("pose.max_people", 1)
    settings(tmp_path, "node.name=two").set("pose.max_people", 2)
    assert [settings(tmp_path, f"node.name={name}").current.pose.max_people for name in ("one", "two")] == [1, 2]


def test_what_was_tuned_when_files_had_no_nodes_name_is_taken_over_once(tmp_path: Path) -> None:
    (tmp_path / "overlay.json").write_text('{"pose.max_people": 2}')
    assert settings(tmp_path, "node.name=one").current.pose.max_people == 2
    settings(tmp_path, "node.name=one").reset()
    assert settings(tmp_path, "node.name=one").overlay == settings(tmp_path, "node.name=two").overlay == {}


def people(state: Path, name: str, configuration: Path | None) -> int:
    return settings(state, f"node.name={name}", configuration=configuration).current.pose.max_people


def test_a_renamed_node_keeps_what_was_tuned_and_nobody_else_gets_it(tmp_path: Path) -> None:
    one_file, other_file = Path("/etc/one.yaml"), Path("/etc/other.yaml")
    settings(tmp_path, "node.name=old", configuration=one_file).set("pose.max_people", 2)
    assert people(tmp_path, "stranger", other_file) == people(tmp_path, "stranger", None) == Config().pose.max_people
    assert people(tmp_path, "new", one_file) == 2
    assert people(tmp_path, "newest", one_file) == 2
    assert people(tmp_path, "old", one_file) == 2


def test_a_node_renamed_to_one_that_was_tuned_keeps_that_ones_values(tmp_path: Path) -> None:
    file = Path("/etc/one.yaml")
    settings(tmp_path, "node.name=new").set("pose.max_people", 3)
    settings(tmp_path, "node.name=old", configuration=file).set("pose.max_people", 2)
    assert people(tmp_path, "new", file) == 3


def test_what_an_older_program_tuned_is_found_after_a_change_of_name_too(tmp_path: Path) -> None:
    file = Path("/etc/one.yaml")
    settings(tmp_path, "node.name=old").set("pose.max_people", 2)
    assert people(tmp_path, "old", file) == 2
    assert people(tmp_path, "new", file) == 2


def test_a_node_on_which_nothing_was_tuned_leaves_no_file(tmp_path: Path) -> None:
    assert settings(tmp_path, configuration=Path("/etc/one.yaml")).overlay == {}
    assert list(tmp_path.iterdir()) == []


def test_reset_gives_back_the_files_values(tmp_path: Path) -> None:
    node = settings(tmp_path, "pose.max_people=3")
    node.set("pose.max_people", 2)
    node.set("pose.score_threshold", 0.5)
    node.reset("pose.max_people")
    assert (node.current.pose.max_people, node.current.pose.score_threshold) == (3, 0.5)
    node.reset()
    assert node.current == node.file


def test_resetting_what_was_not_tuned_writes_nothing(tmp_path: Path) -> None:
    settings(tmp_path).reset("pose.max_people")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "[]", '{"camera.source": "x"}', '{"pose.max_people": 99}', "\x00"])
def test_an_overlay_that_does_not_fit_is_set_aside_and_the_file_holds(tmp_path: Path, text: str) -> None:
    overlay_file(tmp_path, NAME).write_text(text)
    assert settings(tmp_path).current == settings().current
    assert overlay_file(tmp_path, NAME).with_suffix(".refused").read_text() == text
    assert not overlay_file(tmp_path, NAME).exists()


def test_what_cannot_be_kept_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    node = settings(tmp_path / "file" / "state")
    before = node.current
    for change in (lambda: node.set("pose.max_people", 2), node.reset):
        with pytest.raises(ConfigError, match=r"cannot be kept: Not a directory \(.*overlay-.*\.json\)"):
            change()
        assert (node.current, node.overlay) == (before, {})


def test_an_overlay_that_cannot_be_read_is_said_and_the_file_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overlay_file(tmp_path, NAME).mkdir()
    assert settings(tmp_path).current == settings().current
    assert f"tuned values are not used: {overlay_file(tmp_path, NAME)}: Is a directory" in caplog.text


def test_a_state_directory_that_cannot_be_looked_at_is_said_and_the_file_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert settings(tmp_path / ("x" * 300)).current == Config()
    assert "File name too long" in caplog.text


@pytest.fixture
def folder_of_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a user without privileges, and entered, for what is around it is closed to that user."""
    if os.geteuid() == 0:
        os.chown(tmp_path, SERVICE_USER, SERVICE_USER)
    monkeypatch.chdir(tmp_path)
    return Path()


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    before = os.geteuid()
    os.seteuid(before or SERVICE_USER)
    try:
        yield
    finally:
        os.seteuid(before)


def test_values_that_the_node_may_not_read_are_never_written_over(folder_of_service: Path, caplog: pytest.LogCaptureFixture) -> None:
    overlay = overlay_file(folder_of_service, NAME)
    overlay.write_text('{"pose.max_people": 2}')
    overlay.chmod(0)
    with without_privileges():
        node = settings(folder_of_service)
        assert f"tuned values are not used: {overlay}: Permission denied" in caplog.text
        for change in (lambda: node.set("log.level", "debug"), lambda: node.reset("log.level")):
            with pytest.raises(ConfigError, match="what was tuned before cannot be read: Permission denied"):
                change()
    overlay.chmod(0o644)
    assert (node.current, overlay.read_text()) == (Config(), '{"pose.max_people": 2}')
    assert node.reload().applied == ("pose.max_people",)
    node.set("log.level", "debug")
    assert settings(folder_of_service).overlay == {"pose.max_people": 2, "log.level": "debug"}


def test_to_forget_everything_helps_where_nothing_can_be_read(folder_of_service: Path) -> None:
    overlay = overlay_file(folder_of_service, NAME)
    overlay.touch(0)
    with without_privileges():
        node = settings(folder_of_service)
        node.reset()
        node.set("pose.max_people", 2)
    assert node.current.pose.max_people == 2


@as_root
@pytest.mark.parametrize(
    ("owner", "mode", "mode_after"),
    [(SERVICE_USER, 0o640, 0o640), (0, 0o600, 0o600), (None, None, 0o600)],
    ids=["the service's", "root's, of an older program", "none yet"],
)
def test_what_root_changes_stays_readable_for_the_service(folder_of_service: Path, owner, mode, mode_after) -> None:
    overlay = overlay_file(folder_of_service, NAME)
    if mode is not None:
        overlay.write_text('{"pose.max_people": 2, "log.level": "debug"}')
        os.chown(overlay, owner, owner)
        overlay.chmod(mode)
    umask = os.umask(0o077)
    try:
        settings(folder_of_service).set("log.level", "error")
    finally:
        os.umask(umask)
    found = overlay.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (SERVICE_USER, SERVICE_USER, mode_after)
    with without_privileges():
        assert settings(folder_of_service).current.log.level == "error"


@as_root
def test_a_file_of_the_services_user_in_a_folder_of_root_stays_theirs(tmp_path: Path) -> None:
    overlay = overlay_file(tmp_path, NAME)
    overlay.write_text('{"pose.max_people": 2}')
    os.chown(overlay, SERVICE_USER, SERVICE_USER)
    settings(tmp_path).reset("pose.max_people")
    assert overlay.stat().st_uid == SERVICE_USER


def test_a_link_in_place_of_the_scratch_file_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("of somebody else")
    overlay_file(tmp_path, NAME).with_suffix(".new").symlink_to(other)
    settings(tmp_path).set("pose.max_people", 2)
    assert other.read_text() == "of somebody else"
    assert not overlay_file(tmp_path, NAME).is_symlink()


def test_an_overlay_that_cannot_be_set_aside_is_said_and_the_file_holds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    overlay_file(tmp_path, NAME).write_text("{")
    overlay_file(tmp_path, NAME).with_suffix(".refused").mkdir()
    assert settings(tmp_path).current == settings().current
    assert "cannot be set aside: Is a directory" in caplog.text


def test_reload_applies_what_it_can_and_says_what_needs_a_restart() -> None:
    texts: list[tuple[str, ...]] = [()]
    node = Settings(lambda: load(None, {}, texts[0]))
    texts[0] = ("pose.max_people=2", "camera.fps=5")
    reloaded = node.reload()
    assert (reloaded.applied, reloaded.needs_restart) == (("pose.max_people",), ("camera.fps",))
    assert (node.current.pose.max_people, node.current.camera.fps) == (2, Config().camera.fps)


def test_reload_says_of_a_tuned_key_that_the_file_does_not_count(tmp_path: Path) -> None:
    texts: list[tuple[str, ...]] = [()]
    node = Settings(lambda: load(None, {}, texts[0]), tmp_path)
    node.set("pose.max_people", 2)
    texts[0] = ("pose.max_people=3", "pose.idle_fps=1")
    reloaded = node.reload()
    assert (reloaded.applied, reloaded.tuned) == (("pose.idle_fps",), ("pose.max_people",))
    assert node.current.pose.max_people == 2


def test_reload_names_what_was_reset_meanwhile_on_the_command_line(tmp_path: Path) -> None:
    node = settings(tmp_path)
    node.set("pose.max_people", 2)
    settings(tmp_path).reset()
    assert node.reload().applied == ("pose.max_people",)
    assert node.current == Config()


def test_a_reload_with_mistakes_keeps_what_is_in_force() -> None:
    texts: list[tuple[str, ...]] = [("pose.max_people=2",)]
    node = Settings(lambda: load(None, {}, texts[0]))
    texts[0] = ("pose.max_people=200",)
    with pytest.raises(ConfigError):
        node.reload()
    assert node.current.pose.max_people == 2


def test_of_two_reloads_at_once_the_file_as_it_was_read_last_holds() -> None:
    people, slow, reading, go_on = [6], [False], threading.Event(), threading.Event()

    def read() -> Config:
        config = load(None, {}, [f"pose.max_people={people[0]}"])
        if slow[0]:
            slow[0] = False
            reading.set()
            go_on.wait(5)
        return config

    node = Settings(read)
    people[0], slow[0] = 2, True
    first, second = threading.Thread(target=node.reload), threading.Thread(target=node.reload)
    first.start()
    assert reading.wait(5)
    people[0] = 3
    second.start()
    second.join(0.3)
    go_on.set()
    first.join()
    second.join()
    assert node.current.pose.max_people == 3


def test_tuned_values_survive_a_reload(tmp_path: Path) -> None:
    node = settings(tmp_path)
    node.set("pose.max_people", 2)
    node.reload()
    assert node.current.pose.max_people == 2
    assert json.loads(overlay_file(tmp_path, NAME).read_text()) == {"pose.max_people": 2}
