"""What the text of ``camera.source`` means."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_node.camera.source import Auto, Device, LocalPath, PiCamera, Stream, Synthetic, parse_source, shown
from edge_node.config.load import load
from edge_node.errors import ConfigError, SourceUnusableError


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("auto", Auto()),
        ("picamera2", PiCamera(0)),
        ("picamera2:1", PiCamera(1)),
        (0, Device(Path("/dev/video0"))),
        ("2", Device(Path("/dev/video2"))),
        ("/dev/video0", Device(Path("/dev/video0"))),
        ("clips/a.mp4", LocalPath(Path("clips/a.mp4"))),
        ("synthetic", Synthetic(people=3, seed=1, marks=1)),
        ("synthetic?people=5&seed=9&marks=0", Synthetic(people=5, seed=9, marks=0)),
        ("rtsp://cam/stream1", Stream("rtsp://cam/stream1", "rtsp://cam/stream1")),
        ("http://[::1]:8080/video", Stream("http://[::1]:8080/video", "http://[::1]:8080/video")),
    ],
)
def test_every_form_of_a_source(text, meaning):
    assert parse_source(text) == meaning


def test_a_clip_in_memory_below_dev_is_no_camera():
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("needs /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as folder:
        clip = Path(folder) / "clip.mkv"
        assert parse_source(str(clip)) == Device(clip)
        clip.touch()
        assert parse_source(str(clip)) == LocalPath(clip)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no source"),
        (-1, "is no source"),
        ("picamera2:x", "picamera2:1 for the second camera"),
        ("synthetic?poeple=2", "did you mean people"),
        ("synthetic?people=many", "whole number"),
        ("synthetic?people=99", "at most 16"),
        ("synthetic?marks=2", "0 or 1"),
        ("ftp://host/a.mp4", "is no stream"),
        ("rtsp://", "is no stream"),
        ("http://host:port/", "not a usable address"),
    ],
)
def test_what_is_no_source_says_what_would_be(text, says):
    with pytest.raises(SourceUnusableError, match=says):
        parse_source(text)


def test_a_password_in_the_address_is_never_shown():
    stream = parse_source("rtsp://user:secret@cam:8554/live?token=abc")
    assert stream.url == "rtsp://user:secret@cam:8554/live?token=abc"
    assert stream.shown == "rtsp://cam:8554/live"
    assert shown("rtsp://user:secret@cam:8554/live?token=abc") == "rtsp://cam:8554/live"
    assert "secret" not in repr(stream)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://me:secret#1@cam/live",
        "rtsp://me:8554#secret@cam/live",
        "rtsp://me:secret/1@cam/live",
        "rtsp://me:secret?1@cam/live",
        "rtsp://me:[secret@cam/live",
        "rtsp://me:secret\u2100@cam/live",
    ],
)
def test_a_password_that_is_not_written_as_an_address_needs_it_is_told_and_not_shown(address):
    with pytest.raises(SourceUnusableError, match="write # / \\? @ as %23 %2F %3F %40") as refused:
        parse_source(address)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("text", ["auto", "synthetic?people=2", "/clips/a b.mp4", 0])
def test_any_other_source_is_shown_as_it_was_given(text):
    assert shown(text) == str(text)


def test_the_login_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("EDGE_NODE_CAMERA_USERNAME", "me")
    monkeypatch.setenv("EDGE_NODE_CAMERA_PASSWORD", "p@ss/word")
    stream = parse_source("rtsp://cam/live")
    assert stream.url == "rtsp://me:p%40ss%2Fword@cam/live"
    assert "ss" not in stream.shown.removeprefix("rtsp://cam/")


@pytest.mark.parametrize(
    ("address", "username", "url"),
    [
        ("rtsp://me@cam/live", None, "rtsp://me:secret@cam/live"),
        ("rtsp://me@cam/live", "me", "rtsp://me:secret@cam/live"),
        ("rtsp://guest@cam/live", "me", "rtsp://guest@cam/live"),
        ("rtsp://me:own@cam/live", None, "rtsp://me:own@cam/live"),
        ("rtsp://me:@cam/live", None, "rtsp://me:@cam/live"),
        ("rtsp://cam/live", None, "rtsp://cam/live"),
    ],
)
def test_the_password_of_the_environment_completes_an_address_that_has_a_user_only(monkeypatch, address, username, url):
    monkeypatch.setenv("EDGE_NODE_CAMERA_PASSWORD", "secret")
    if username:
        monkeypatch.setenv("EDGE_NODE_CAMERA_USERNAME", username)
    assert parse_source(address).url == url


@example("~0")
@given(st.text(max_size=60))
def test_any_text_is_a_source_or_refused_in_one_line(text):
    try:
        parse_source(text)
        refusal = ""
    except SourceUnusableError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_a_wrong_source_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigError) as refused:
        load(None, {}, ["camera.source=synthetic?poeple=2"])
    assert len(refused.value.problems) == 1
    assert "camera.source: synthetic has no option 'poeple' (did you mean people?)" in refused.value.problems[0]
