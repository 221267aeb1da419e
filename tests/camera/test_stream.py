"""Network cameras, against a real MJPEG server on this machine."""

import functools
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import closing, contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import cv2
import numpy as np
import pytest

from edge_node.camera.capture import Capture
from edge_node.camera.explain import why_not
from edge_node.camera.factory import open_camera
from edge_node.camera.opencv import SKIPPED
from edge_node.camera.source import parse_source
from edge_node.camera.stream import open_capture
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import CameraError, ClosedError, SourceUnusableError
from edge_node.health import Health
from edge_node.slot import Latest
from tests.camera.matroska import write_matroska
from tests.camera.mjpeg_server import MjpegServer, free_port, red
from tests.camera.rtsp_server import RtspServer, jpeg_clip, transport_stream, write_transport_stream


def settings(url, **changes):
    return CameraSettings(source=url, stall_s=2.0, **changes)


@contextmanager
def capturing(settings):
    """A running capture thread: its slot and its health."""
    slot, health = Latest(), Health()
    capture = Capture(settings, slot, health)
    thread = threading.Thread(target=capture.run)
    thread.start()
    try:
        yield slot, health
    finally:
        capture.stop()
        thread.join(20)
        assert not thread.is_alive()


def wait_until(condition, seconds=40):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_frames_of_an_http_stream_are_stamped_when_they_arrive():
    with closing(MjpegServer()) as server, closing(open_camera(settings(server.url))) as camera:
        frames = [camera.read() for _ in range(20)]
        assert camera.live
        assert "160x120" in camera.description
    reds = [int(frame.image[60, 80, 0]) for frame in frames]
    assert np.all(np.diff(reds) >= 0)
    assert reds[-1] > reds[0]
    assert all(int(frame.image[60, 80, 2]) < 10 for frame in frames)
    assert all(frame.captured_ns <= time.monotonic_ns() for frame in frames)
    assert [frame.seq for frame in frames] == list(range(20))


def test_a_stalled_stream_is_said_opened_again_and_numbered_on():
    with closing(MjpegServer()) as server, capturing(settings(server.url)) as (slot, health):
        before = slot.get(20)
        server.stalled.set()
        wait_until(lambda: "camera" in health.problems())
        assert server.url in health.problems()["camera"]
        server.stalled.clear()
        wait_until(lambda: "camera" not in health.problems())
        slot.get(20)
        after = slot.get(20)
        assert after.seq > before.seq
        assert after.media_ns > before.media_ns
        assert health.report().counters["camera_reopened"] >= 1
        assert server.connections >= 2


def test_a_stream_that_comes_to_be_as_slow_as_camera_fps_says_is_not_taken_for_stalled():
    slow = CameraSettings(stall_s=0.5, fps=0.7)
    with closing(MjpegServer()) as server, closing(open_camera(slow.model_copy(update={"source": server.url}))) as camera:
        camera.read()
        server.fps = slow.fps
        began_s = time.monotonic()
        while time.monotonic() - began_s < 4:
            assert camera.read() is not None


NO_JPEG = b"\xff\xd8 no picture"
NO_PNG = red(0, "png").replace(b"IHDR" + struct.pack("!II", 160, 120), b"IHDR" + bytes(8))


@pytest.mark.parametrize(("kind", "damaged"), [("jpg", NO_JPEG), ("png", NO_PNG)], ids=["decoded when looked at", "decoded by FFmpeg"])
def test_a_damaged_picture_of_a_stream_costs_no_other(caplog, kind, damaged):
    pictures = [red(100, kind), red(150, kind), damaged, red(200, kind)]
    with (
        closing(MjpegServer(pictures=pictures, bare=kind == "png", fps=100)) as server,
        closing(open_camera(settings(server.url))) as camera,
    ):
        frames = [camera.read() for _ in range(12)]
        assert server.connections == 1
    shades = [round(int(frame.image[60, 80, 0]), -1) for frame in frames]
    assert set(pairwise(shades)) == {(100, 150), (150, 200), (200, 100)}
    steps = [after.seq - before.seq for before, after in pairwise(frames)]
    assert steps == [2 if shade == 150 else 1 for shade in shades[:-1]]
    assert caplog.text.count("some pictures cannot be decoded") == 1


def test_a_stream_of_nothing_but_damaged_pictures_is_one_that_is_lost():
    pictures = [red(100), *[NO_JPEG] * 99]
    with (
        closing(MjpegServer(pictures=pictures, fps=100)) as server,
        closing(open_camera(settings(server.url))) as camera,
        pytest.raises(CameraError, match="pictures that cannot be decoded"),
    ):
        list(iter(camera.read, None))


def test_a_server_that_goes_away_and_comes_back_is_found_again():
    server = MjpegServer()
    with capturing(settings(server.url)) as (slot, health):
        assert slot.get(20) is not None
        server.close()
        wait_until(lambda: "camera" in health.problems())
        wait_until(lambda: "nothing listens" in health.problems().get("camera", ""))
        with closing(MjpegServer(port=server.port)):
            wait_until(lambda: "camera" not in health.problems())
            assert slot.get(20) is not None


def test_a_camera_that_is_not_there_at_first_is_waited_for():
    port = free_port()
    with capturing(settings(f"http://127.0.0.1:{port}/video")) as (slot, health):
        wait_until(lambda: "camera" in health.problems())
        with closing(MjpegServer(port=port)):
            assert slot.get(20) is not None
            assert health.problems() == {}


def test_the_end_is_not_held_up_by_a_stalled_stream():
    with closing(MjpegServer()) as server:
        with capturing(CameraSettings(source=server.url, stall_s=30.0)) as (slot, _):
            assert slot.get(20) is not None
            server.stalled.set()
            time.sleep(0.2)
            begun = time.monotonic()
        assert time.monotonic() - begun < 20, "it waited for the stalled read"


@pytest.mark.parametrize(
    ("status", "says"), [(401, "wants a login"), (403, "wants a login"), (404, "no stream at this path"), (500, "error 500")]
)
def test_a_refusal_is_said_as_the_server_means_it(status, says):
    with closing(MjpegServer(status=status)) as server, pytest.raises(CameraError, match=says):
        open_camera(settings(server.url))


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory):
    """The TLS of a camera that signed its certificate itself."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=camera", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@pytest.mark.parametrize(("status", "says"), [(401, "wants a login"), (404, "no stream at this path")])
def test_a_refusal_of_a_camera_that_signed_its_certificate_itself_is_not_blamed_on_the_certificate(self_signed, status, says):
    with closing(MjpegServer(status=status, tls=self_signed)) as server, pytest.raises(CameraError, match=says):
        open_camera(settings(server.url))


def test_a_camera_that_signed_its_certificate_itself_gives_pictures(self_signed):
    with closing(MjpegServer(tls=self_signed)) as server, closing(open_camera(settings(server.url))) as camera:
        assert camera.read() is not None


def test_a_login_that_is_refused_is_told_from_one_that_is_missing(monkeypatch):
    monkeypatch.setenv("EDGE_NODE_CAMERA_USERNAME", "me")
    monkeypatch.setenv("EDGE_NODE_CAMERA_PASSWORD", "secret")
    with closing(MjpegServer(status=401)) as server, pytest.raises(CameraError, match="refuses this login") as refused:
        open_camera(settings(server.url))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("login", "says"), [("me:p@ss", "no video that can be read"), ("me:other", r"refuses this login \(401\)$"), ("me", r"\(401\)$")]
)
def test_a_login_is_called_refused_only_after_the_camera_was_shown_it(login, says):
    with closing(MjpegServer(login="me:p@ss", page=b"<html>")) as server, pytest.raises(CameraError, match=says):
        open_camera(settings(server.url.replace("://", f"://{login.replace('@', '%40')}@")))


def test_a_password_is_not_shown_in_clear_to_a_camera_that_takes_it_otherwise():
    with closing(MjpegServer(login="me:secret", scheme="Digest")) as server:
        said = why_not(server.url.replace("://", "://me:secret@"), 2.0)
        assert said == "the camera refuses this login (401), or what it sends is no video that can be read"
        assert server.shown == [""]


def test_an_answer_that_comes_drop_by_drop_is_not_waited_for():
    ended = threading.Event()

    def drip(listener):
        connection, _ = listener.accept()
        connection.sendall(b"HTTP/1.0 404 Not found\r\n")
        while not ended.wait(0.1):
            connection.send(b"X")
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        said = why_not(f"http://127.0.0.1:{listener.getsockname()[1]}/video", 0.5)
        ended.set()
        thread.join()
    assert said == "the camera has no stream at this path (404)"


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_nobody_listening_is_said(scheme):
    port = free_port()
    with pytest.raises(CameraError, match=f"nothing listens on port {port} of 127.0.0.1"):
        open_camera(settings(f"{scheme}://127.0.0.1:{port}/video"))


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 64])
def test_an_unknown_host_is_said(host):
    assert why_not(f"rtsp://{host}/live", 1.0) == f"unknown host {host}"


def test_a_server_that_speaks_something_else_is_said():
    with closing(MjpegServer()) as server:
        answer = why_not(f"rtsp://127.0.0.1:{server.port}/video", 1.0)
    assert answer in ("the server there speaks neither RTSP nor HTTP", "the server answers with error 400")


def write_clip(path, frames):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
    for shade in range(frames):
        writer.write(np.full((48, 64, 3), shade * 5, np.uint8))
    writer.release()


def test_a_clip_on_a_web_server_plays_at_its_own_rate_and_ends(tmp_path):
    write_clip(tmp_path / "clip.avi", frames=30)
    with serving(tmp_path) as address, closing(open_camera(settings(f"{address}/clip.avi"))) as camera:
        assert camera.live
        frames = [(frame.seq, frame.media_ns, frame.captured_ns) for frame in iter(camera.read, None)]
    assert frames[-1][0] >= 28  # without seeking, FFmpeg may miss the last one
    assert (frames[-1][1] - frames[0][1]) // 1_000_000 == frames[-1][0] * 50
    assert frames[-1][2] - frames[0][2] >= frames[-1][1] - frames[0][1] - 1_000_000, "no frame comes before it is due"


def numbers_of(slot, most):
    """The numbers of the frames that come until the end, at most so many."""
    seqs = []
    with suppress(ClosedError):
        while len(seqs) < most:
            seqs.append(slot.get(20).seq)
    return seqs


def test_a_clip_on_a_web_server_whose_frames_are_further_apart_than_a_stall_is_played_to_its_end(tmp_path):
    write_matroska(tmp_path / "lapse.mkv", [0, 33, 66, 2500, 2533, 2566], 2600)
    with serving(tmp_path) as address, capturing(CameraSettings(source=f"{address}/lapse.mkv", stall_s=0.5)) as (slot, health):
        seqs = numbers_of(slot, most=10)
    assert seqs == sorted(set(seqs))
    assert 4 <= seqs[-1] <= 5  # without seeking, FFmpeg may miss the last one
    assert "camera_reopened" not in health.report().counters


def test_a_looped_clip_whose_web_server_goes_away_and_comes_back_is_played_again(tmp_path):
    write_clip(tmp_path / "clip.avi", frames=10)
    port = free_port()
    with capturing(settings(f"http://127.0.0.1:{port}/clip.avi", loop=True)) as (slot, health):
        with serving(tmp_path, port):
            assert slot.get(20) is not None
        wait_until(lambda: "nothing listens" in health.problems().get("camera", ""))
        with serving(tmp_path, port):
            wait_until(lambda: "camera" not in health.problems())
            assert slot.get(20) is not None


def test_a_clip_that_a_simple_web_server_cannot_serve_is_told_with_what_would_help(shared):
    with (
        serving(shared.clips) as address,
        closing(open_camera(settings(f"{address}/squats.mp4"))) as camera,
        pytest.raises(SourceUnusableError, match=r"the server sends no parts of a file \(Range\)"),
    ):
        camera.read()


@contextmanager
def serving(folder, port=0):
    """A plain web server of the files in ``folder``; gives its address."""
    with ThreadingHTTPServer(("127.0.0.1", port), functools.partial(SimpleHTTPRequestHandler, directory=str(folder))) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def rtsp_clip(tmp_path_factory):
    """Three seconds of video, 25 frames a second."""
    path = tmp_path_factory.mktemp("rtsp") / "clip.ts"
    write_transport_stream(path, frames=75)
    return transport_stream(path, seconds=3)


def test_rtsp_frames_carry_the_streams_own_times(rtsp_clip):
    with (
        closing(RtspServer(rtsp_clip)) as server,
        closing(open_camera(settings(f"rtsp://{server.address}/live"))) as camera,
    ):
        frames = [(camera.read(), time.monotonic_ns()) for _ in range(40)]
    apart_ms = np.diff([frame.captured_ns for frame, _ in frames]) / 1e6
    assert np.median(apart_ms) == pytest.approx(40.0, abs=0.01)
    assert all(frame.captured_ns <= arrived_ns for frame, arrived_ns in frames)
    assert all(frame.media_ns == frame.captured_ns for frame, _ in frames)


def test_a_stalled_rtsp_camera_is_opened_again(rtsp_clip):
    with closing(RtspServer(rtsp_clip)) as server, capturing(settings(f"rtsp://{server.address}/live")) as (slot, health):
        assert slot.get(20) is not None
        server.stalled.set()
        wait_until(lambda: "camera" in health.problems())
        server.stalled.clear()
        wait_until(lambda: health.report().counters.get("camera_reopened", 0) >= 1)
        assert server.plays >= 2


def test_an_rtsp_camera_gets_its_login_from_the_environment(rtsp_clip, monkeypatch):
    with closing(RtspServer(rtsp_clip, user="me:p@ss")) as server:
        url = f"rtsp://{server.address}/live"
        with pytest.raises(CameraError, match="wants a login"):
            open_camera(settings(url))
        monkeypatch.setenv("EDGE_NODE_CAMERA_USERNAME", "me")
        monkeypatch.setenv("EDGE_NODE_CAMERA_PASSWORD", "p@ss")
        with closing(open_camera(settings(url))) as camera:
            assert camera.read() is not None
            assert "ss" not in camera.description.removeprefix("rtsp://")


def test_a_clip_can_be_read_after_a_stream(shared):
    server = MjpegServer()
    capture = open_capture(parse_source(server.url), settings(server.url))
    capture.release()
    server.close()
    clip = cv2.VideoCapture(str(shared.clips / "squats.mp4"))
    assert clip.read()[0]


def test_frames_of_a_stream_pass_and_leave_their_numbers(rtsp_clip):
    with closing(RtspServer(rtsp_clip)) as server, closing(open_camera(settings(f"rtsp://{server.address}/live"))) as camera:
        first = camera.read()
        assert all(camera.skip() for _ in range(3))
        assert camera.read().seq == first.seq + 4


def test_jpeg_pictures_pass_undecoded_and_leave_their_numbers():
    health = Health()
    pictures = [red(100), red(150), *[NO_JPEG] * 5, red(200)]
    with closing(MjpegServer(pictures=pictures)) as server, closing(open_camera(settings(server.url), health=health)) as camera:
        first = next(frame for frame in iter(camera.read, None) if round(int(frame.image[60, 80, 0]), -1) == 150)
        assert all(camera.skip() for _ in range(5))
        after = camera.read()
    assert (after.seq, round(int(after.image[60, 80, 0]), -1)) == (first.seq + 6, 200)
    assert SKIPPED not in health.report().counters, "it was decoded: it cannot be"


def test_the_decoding_of_a_jpeg_picture_counts_as_age(monkeypatch):
    decoded_from_ns = []
    imdecode = cv2.imdecode

    def noted(*arguments):
        decoded_from_ns.append(time.monotonic_ns())
        return imdecode(*arguments)

    monkeypatch.setattr(cv2, "imdecode", noted)
    with closing(MjpegServer()) as server, closing(open_camera(settings(server.url))) as camera:
        frames = [camera.read() for _ in range(5)]
    assert len(decoded_from_ns) == 5
    assert all(frame.captured_ns <= from_ns for frame, from_ns in zip(frames, decoded_from_ns, strict=True))


def test_jpeg_pictures_of_an_rtsp_camera_carry_the_streams_own_times_too():
    pictures = [red(shade) for shade in range(0, 240, 4)]
    with (
        closing(RtspServer(jpeg_clip(pictures, fps=25))) as server,
        closing(open_camera(settings(f"rtsp://{server.address}/live"))) as camera,
    ):
        first = camera.read()
        assert all(camera.skip() for _ in range(5))
        frames = [camera.read() for _ in range(25)]
    assert [frame.seq for frame in frames] == list(range(first.seq + 6, first.seq + 31))
    shades = np.array([frame.image[60, 80].astype(int) for frame in frames])
    assert np.diff(shades[:, 0]) == pytest.approx(4, abs=2)
    assert np.all(shades[:, 1:] < 10)
    assert np.median(np.diff([frame.captured_ns for frame in frames])) == pytest.approx(40e6, abs=1e4)


def test_a_jpeg_picture_is_not_turned_by_what_it_says_of_the_way_it_was_held():
    orientation = struct.pack("!HHII2x", 0x0112, 3, 1, 6 << 16)
    exif = b"Exif\0\0MM\0*" + struct.pack("!IH", 8, 1) + orientation + bytes(4)
    turned = red(100)[:2] + b"\xff\xe1" + struct.pack("!H", 2 + len(exif)) + exif + red(100)[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (160, 120, 3)
    with closing(MjpegServer(pictures=[turned])) as server, closing(open_camera(settings(server.url))) as camera:
        assert camera.read().image.shape == (120, 160, 3)


def test_a_stream_that_ends_is_said_also_while_frames_are_skipped():
    server = MjpegServer()
    with closing(open_camera(settings(server.url))) as camera:
        camera.read()
        server.close()
        with pytest.raises(CameraError, match="ended or stopped"):
            any(not camera.skip() for _ in range(1000))
