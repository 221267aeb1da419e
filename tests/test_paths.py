"""Where files and secrets of a node are."""

from pathlib import Path

import pytest

from edge_node import paths
from edge_node.errors import ConfigError


def test_under_systemd_everything_is_in_the_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}:/other")
    assert paths.state_directory() == tmp_path
    assert paths.cache_directory() == tmp_path / "cache"
    assert paths.models_directory(None) == tmp_path / "models"


def test_elsewhere_the_users_own_folders_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths.state_directory() == tmp_path / "state" / "edge-node"
    assert paths.models_directory(None) == tmp_path / "cache" / "edge-node" / "models"
    assert paths.models_directory("/models") == Path("/models")


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54_321)  # of whom the system knows nothing
    with pytest.raises(ConfigError, match="this user has no home directory: set HOME or XDG_STATE_HOME"):
        paths.state_directory()


def test_what_a_restart_may_take_is_where_systemd_says_or_in_the_users_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}:/other")
    assert paths.service_runtime_directory() == tmp_path
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert paths.service_runtime_directory() is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert paths.user_runtime_directory() == tmp_path / "edge-node"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "of a session that has ended"))
    assert paths.user_runtime_directory() is None
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 300)))
    assert paths.user_runtime_directory() is None


def test_a_systemd_credential_wins_over_the_environment_and_loses_its_line_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "of the environment")
    assert paths.secret("mqtt-password") == "of the environment"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert paths.secret("mqtt-password") == "of the environment"
    (tmp_path / "edge-node.mqtt-password").write_text("of systemd \n")
    assert paths.secret("mqtt-password") == "of systemd "


def test_nobody_gave_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_NODE_WEB_TOKEN", raising=False)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert paths.secret("web-token") is None


@pytest.mark.parametrize("content", ["", "\n", "\r\n"])
def test_an_empty_secret_is_none_and_an_empty_file_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    file = tmp_path / "edge-node.web-token"
    file.write_text(content)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("EDGE_NODE_WEB_TOKEN", "")
    assert paths.secret("web-token") is None
    assert f"{file} is empty" in caplog.text
    monkeypatch.setenv("EDGE_NODE_WEB_TOKEN", "of the environment")
    assert paths.secret("web-token") == "of the environment"


@pytest.mark.parametrize("trouble", ["is not text in UTF-8", "cannot be read: Is a directory", "cannot be read: Not a directory"])
def test_a_secret_that_cannot_be_read_is_told_by_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: str) -> None:
    folder = tmp_path / "credentials"
    file = folder / "edge-node.mqtt-password"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    if trouble.endswith("Not a directory"):
        folder.touch()
    elif trouble.endswith("Is a directory"):
        file.mkdir(parents=True)
    else:
        folder.mkdir()
        file.write_bytes(b"geheim\xff")
    with pytest.raises(ConfigError) as caught:
        paths.secret("mqtt-password")
    assert caught.value.problems == [f"{file}: {trouble}"]


def test_a_variable_that_is_no_text_is_told_without_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("EDGE_NODE_MQTT_PASSWORD", "geheim\udcff")
    with pytest.raises(ConfigError) as caught:
        paths.secret("mqtt-password")
    assert caught.value.problems == ["environment variable EDGE_NODE_MQTT_PASSWORD: is not text in UTF-8"]


def test_a_secret_longer_than_a_broker_could_be_told_is_refused() -> None:
    assert paths.secret_text(b"x" * 65_535, "here") == "x" * 65_535
    with pytest.raises(ConfigError, match=r"^here: is longer than 65,535 bytes$"):
        paths.secret_text(b"x" * 65_536, "here")


def test_a_tilde_is_a_home_directory_where_there_is_such_a_user(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert paths.expanded("~/clip.mp4") == Path("/home/me/clip.mp4")
    assert paths.expanded("~nobody-of-this-name/clip.mp4") == Path("~nobody-of-this-name/clip.mp4")
