"""The page's server: what it answers to whom, and that no viewer holds anything back."""

import asyncio
import contextlib
import http.client
import json
import re
import resource
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from edge_node.config.load import load
from edge_node.config.save import Change, write
from edge_node.data import People
from edge_node.errors import SinkError
from edge_node.sink.web.access import COOKIE
from edge_node.sink.web.listening import BESIDE_VIEWERS, Room
from edge_node.sink.web.server import Viewer
from edge_node.tuning import BURST, TOO_MANY

Serve = Callable[..., Any]
Standing = Callable[..., People]


def get(port: int, path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def view(port: int, **headers: str) -> ClientConnection:
    origin = headers.pop("Origin", f"http://127.0.0.1:{port}")
    return connect(f"ws://127.0.0.1:{port}/live", origin=origin, additional_headers=headers, compression=None, max_size=None)


def next_of(viewer: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = viewer.recv(timeout=5)
        if isinstance(message, str) and (found := json.loads(message))["type"] == kind:
            return dict(found)


def ask(viewer: ClientConnection, **request: Any) -> dict[str, Any]:
    viewer.send(json.dumps({"id": 1, **request}))
    return next_of(viewer, "result")


def refused(port: int, **headers: str) -> int:
    with pytest.raises(InvalidStatus) as caught:
        view(port, **headers)
    return int(caught.value.response.status_code)


def test_the_page_and_its_parts_are_served_with_a_strict_policy(serve: Serve) -> None:
    page = serve()
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css"), ("/icon.svg", "image/svg+xml")):
        answer = get(page.port, path)
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (200, kind)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/none", "/../sink.py", "/%2e%2e/sink.py", "//etc/passwd", "/page/app.js", "/live/x"])
def test_only_the_pages_own_files_can_be_asked_for(serve: Serve, path: str) -> None:
    assert get(serve().port, path).status == 404


def test_only_get_is_served(serve: Serve) -> None:
    page = serve()
    assert [get(page.port, method=method).status for method in ("DELETE", "HEAD", "OPTIONS", "POST")] == [405] * 4
    with socket.create_connection(("127.0.0.1", page.port), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(64) == b""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("127.0.0.1", 200),
        ("[::1]:1", 200),
        ("192.168.1.9:8470", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("[::1", 421),
        ("", 421),
    ],
)
def test_a_name_that_is_not_ours_is_misdirected(serve: Serve, host: str, status: int) -> None:
    assert get(serve().port, Host=host).status == status


def raw(port: int, *lines: bytes) -> int:
    """The status of a request as it stands."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"\r\n".join((*lines, b"", b"")))
        return int(connection.recv(64).split()[1])


UPGRADE = (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"GET / HTTP/1.1", b"Host: localhost", b"Host: localhost"], 421),
        ([b"GET / HTTP/1.1"], 421),
        ([b"GET / HTTP/1.1", b"Host: a", b"Origin: http://a", b"Origin: http://a"], 421),
        ([b"GET / HTTP/1.1", b"Host: localhost", b"Origin: http://localhost", b"Origin: http://localhost"], 403),
        (
            [
                b"GET /live HTTP/1.1",
                b"Host: localhost",
                b"Origin: http://localhost",
                *UPGRADE,
                b"Upgrade: websocket",
                b"Cookie: edge_node_token=right",
            ],
            426,
        ),
        ([b"GET / HTTP/1.1", b"Host: localhost", b"Cookie: edge_node_token=\xff"], 401),
        ([b"GET / HTTP/1.1", b"Host: localhost", b"Cookie: edge_node_token=right", b"Cookie: edge_node_token=right"], 401),
        ([b"GET //[?token=wrong HTTP/1.1", b"Host: localhost"], 401),
        ([b"GET / HTTP/1.1", b"Host: localhost", b'Cookie: of_another={"a": [1]}; edge_node_token=right'], 200),
        ([b"GET / HTTP/1.1", b"Host: localhost:8470", b"Cookie: edge_node_token_8470=right; edge_node_token=wrong"], 200),
        ([b"GET / HTTP/1.1", b"Host: localhost:8471", b"Cookie: edge_node_token_8470=right"], 401),
        ([b"GET / HTTP/1.1", b"Host: localhost:99999", b"Cookie: edge_node_token=right"], 421),
        ([b"GET / HTTP/1.1", b"Host: localhost:x", b"Cookie: edge_node_token=right"], 421),
    ],
)
def test_headers_that_stand_twice_or_are_none_are_turned_away_like_wrong_ones(serve: Serve, lines: list[bytes], status: int) -> None:
    assert raw(serve(token="right").port, *lines) == status


@pytest.mark.parametrize("token", ["two words", "a;b", 'a"b', "a,b", "a\\b", "grün", "a+b%41&c=d"])
def test_a_token_of_ones_own_may_have_any_characters(serve: Serve, token: str) -> None:
    page = serve("web.host=0.0.0.0", token=token)
    answer = get(page.port, f"/?token={quote(token)}")
    assert answer.status == 303
    assert get(page.port, Cookie=answer.headers["Set-Cookie"].partition(";")[0]).status == 200


def idle_connections(port: int, address: str, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), timeout=5, source_address=(address, 0)) for _ in range(count)]


def still_open(connections: list[socket.socket]) -> int:
    """How many of them the server has not closed."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection, select.POLLIN)
    time.sleep(0.5)
    return len(connections) - len(poll.poll(0))


def test_idle_connections_of_one_address_leave_room_for_others_and_for_those_who_look(serve: Serve) -> None:
    page = serve("web.max_viewers=10")
    most = 10 + BESIDE_VIEWERS
    with view(page.port) as viewer:
        flood = idle_connections(page.port, "127.0.0.2", 200)
        assert still_open(flood) == most // 2
        assert get(page.port).status == 200
        flood += idle_connections(page.port, "127.0.0.3", 200)
        assert most - 2 <= still_open(flood) + 1 <= most
        assert ask(viewer, type="set", key="pose.max_people", value=3)["ok"] is True
    for connection in flood:
        connection.close()
    time.sleep(0.5)
    assert get(page.port, "/icon.svg").status == 200


def test_where_few_descriptors_are_allowed_the_page_takes_half_of_them_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (20, 20))
    room = Room(max_viewers=32)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(socket.socket()) for _ in range(20)]
        assert sum(room.admit(connection, str(number)) for number, connection in enumerate(connections)) == 10
        connections[0].close()
        assert room.admit(connections[-1], "another")


def test_a_page_on_a_name_is_served_at_each_of_its_addresses_with_one_port(serve: Serve) -> None:
    page = serve("web.host=localhost")
    addresses = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    for address in addresses:
        with contextlib.suppress(OSError), socket.create_connection((address, page.port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(64).split()[1] == b"200"
    assert get(page.port).status == 200


def test_a_flood_of_changes_is_refused_and_a_later_one_is_done(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.tuning.PER_SECOND", 0.0)  # however long this machine takes for the flood
    page = serve(state=tmp_path)
    with view(page.port) as one, view(page.port) as other:
        answers = [ask(one, type="set", key="pose.max_people", value=1 + number % 2) for number in range(2 * BURST)]
        assert [answer["ok"] for answer in answers[:BURST]] == [True] * BURST
        assert answers[-1]["reason"] == TOO_MANY
        assert ask(other, type="reset")["reason"] == TOO_MANY
        monkeypatch.setattr("edge_node.tuning.PER_SECOND", 1000.0)
        time.sleep(0.01)
        assert ask(other, type="set", key="pose.max_people", value=3)["ok"] is True


def send_for_ever(viewer: ClientConnection, message: str) -> None:
    while True:
        viewer.send(message)


def test_a_viewer_who_floods_the_node_with_messages_is_closed_and_others_stay(serve: Serve, standing: Standing) -> None:
    page = serve()
    with view(page.port) as flooding, view(page.port) as other:
        with pytest.raises(ConnectionClosed):
            send_for_ever(flooding, "[" * 1000)
        page.show(standing(3))
        assert next_of(other, "pose")["pose"]["seq"] == 3


def test_a_further_name_can_be_allowed(serve: Serve) -> None:
    assert get(serve("web.allowed_hosts=[cam.example]").port, Host="cam.example").status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://["])
def test_another_pages_requests_are_forbidden(serve: Serve, origin: str) -> None:
    page = serve()
    assert get(page.port, Origin=origin).status == 403
    assert refused(page.port, Origin=origin) == 403


def test_beyond_loopback_a_token_is_needed_and_becomes_a_cookie(serve: Serve) -> None:
    page = serve("web.host=0.0.0.0", token="right")
    assert get(page.port).status == 401
    assert get(page.port, "/?token=wrong").status == 401
    assert [get(page.port, path).status for path in ("/style.css", "/icon.svg", "/app.js", "/style.css/x")] == [200, 200, 401, 401]
    assert refused(page.port) == 401
    answer = get(page.port, "/?token=right")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert get(page.port, Cookie=f"{COOKIE}_{page.port}=right").status == 200
    with view(page.port, Cookie=f"{COOKIE}_{page.port}=right") as viewer:
        assert next_of(viewer, "hello")["facts"]["node"] == "hall"


def test_a_token_is_made_up_and_shown_once_when_none_is_given(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    page = serve("web.host=0.0.0.0")
    token = next(r.getMessage().split("?token=")[1].split()[0] for r in caplog.records if "?token=" in r.getMessage())
    assert get(page.port, f"/?token={token}").status == 303


def test_an_empty_token_opens_the_page_to_nobody(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    page = serve("web.host=0.0.0.0", token="")
    assert "?token=" in caplog.text
    assert get(page.port, Cookie=f"{COOKIE}_{page.port}=").status == 401
    assert get(page.port, "/?token=").status == 401
    assert refused(page.port, Cookie=f"{COOKIE}_{page.port}=") == 401


@pytest.mark.parametrize(("host", "told"), [("0.0.0.0", True), ("127.0.0.1", False)])
def test_a_page_in_clear_beyond_loopback_is_said_also_with_a_token_of_ones_own(
    serve: Serve, caplog: pytest.LogCaptureFixture, host: str, told: bool
) -> None:
    serve(f"web.host={host}", token="right")
    assert ("served in clear" in caplog.text) is told


def test_guessing_tokens_runs_dry(serve: Serve) -> None:
    page = serve("web.host=0.0.0.0", token="right")
    answers = [get(page.port, f"/?token=wrong{n}").status for n in range(8)]
    assert answers[0] == 401
    assert answers[-1] == 429


def test_a_flood_of_requests_is_turned_away(serve: Serve) -> None:
    page = serve()
    assert 429 in [get(page.port, "/icon.svg").status for _ in range(250)]


def test_no_more_viewers_than_there_are_places(serve: Serve) -> None:
    page = serve("web.max_viewers=2")
    with view(page.port), view(page.port):
        assert refused(page.port) == 503
    assert get(page.port).status == 200


def test_a_port_in_use_is_told(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SinkError, match=f"127.0.0.1:{port} cannot be listened on: .*choose another port"):
            serve(f"web.port={port}")


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b"])
def test_an_unknown_host_is_told(serve: Serve, host: str) -> None:
    with pytest.raises(SinkError, match=f"web.host: unknown host {host}"):
        serve(f"web.host={host}", token="right")


def test_a_host_of_another_machine_is_told(serve: Serve) -> None:
    with pytest.raises(SinkError, match=r"^web.host: 192.0.2.1:0 cannot be listened on: .*; give an address of this machine"):
        serve("web.host=192.0.2.1", token="right")


def test_a_certificate_that_cannot_be_used_is_told(serve: Serve) -> None:
    with pytest.raises(SinkError, match=r"web.certificate_file: /none.pem cannot be used"):
        serve("web.certificate_file=/none.pem")
    told = f"web.certificate_file: {__file__} with /none.key cannot be used: "
    with pytest.raises(SinkError, match=f"^{re.escape(told)}not a PEM file that can be used$"):
        serve(f"web.certificate_file={__file__}", "web.key_file=/none.key")


def test_a_viewer_gets_the_poses_as_they_come(serve: Serve, standing: Standing) -> None:
    page = serve()
    with view(page.port) as viewer:
        next_of(viewer, "hello")
        for seq in range(5):
            page.show(standing(seq))
            message = next_of(viewer, "pose")
            assert message["pose"]["seq"] == seq
            assert len(message["pose"]["people"][0]["keypoints"]) == 51
            assert message["regions"] == [[0.1562, 0.1042, 0.4688, 0.625]]


def test_health_and_problems_reach_the_viewer(serve: Serve, standing: Standing) -> None:
    page = serve()
    page.health.problem("camera", "no frame for 5 s")
    with view(page.port) as viewer:
        next_of(viewer, "hello")
        page.show(standing(0))
        assert next_of(viewer, "health")["problems"] == {"camera": "no frame for 5 s"}


def test_a_key_is_tuned_reset_and_refused_with_the_reason(serve: Serve) -> None:
    page = serve()
    with view(page.port) as viewer:
        assert ask(viewer, type="set", key="pose.max_people", value=2)["value"] == 2
        assert page.settings.current.pose.max_people == 2
        page.sink.tick()
        tuned = [key["path"] for key in next_of(viewer, "settings")["keys"] if key["tuned"]]
        assert tuned == ["pose.max_people"]
        assert "less than or equal to 32" in ask(viewer, type="set", key="pose.max_people", value=99)["reason"]
        assert "needs a restart" in ask(viewer, type="set", key="camera.source", value="http://elsewhere")["reason"]
        assert "needs a restart" in ask(viewer, type="set", key="web.show_image", value=True)["reason"]
        assert ask(viewer, type="reset", key="pose.max_people")["ok"] is True
        assert page.settings.current == page.settings.file


def test_a_change_that_cannot_be_kept_is_refused_and_the_page_stays(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    page = serve(state=tmp_path / "file" / "state")
    with view(page.port) as viewer:
        for request in ({"type": "set", "key": "pose.max_people", "value": 2}, {"type": "reset"}):
            assert "cannot be kept: Not a directory" in ask(viewer, **request)["reason"]
        assert page.settings.current == page.settings.file


def test_zones_are_set_and_bad_ones_refused(serve: Serve) -> None:
    page = serve()
    with view(page.port) as viewer:
        zone = {"name": "bed", "polygon": [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]}
        assert ask(viewer, type="set", key="state.zones", value=[zone])["value"] == [zone]
        assert page.settings.current.state.zones[0].name == "bed"
        assert "at least 3" in ask(viewer, type="set", key="state.zones", value=[{"name": "x", "polygon": [[0, 0]]}])["reason"]


def test_saving_shows_the_difference_before_it_writes(serve: Serve) -> None:
    page = serve()
    before = page.file.read_text()
    with view(page.port) as viewer:
        ask(viewer, type="set", key="pose.max_people", value=2)
        shown = ask(viewer, type="save")["value"]
        assert "+  max_people: 2" in shown
        assert page.file.read_text() == before
        assert ask(viewer, type="save", shown=shown)["value"] == shown
    assert load(page.file, {}).pose.max_people == 2
    assert page.settings.overlay == {}
    assert page.settings.current.pose.max_people == 2


def test_a_file_that_is_better_changed_by_hand_is_told_and_the_page_stays(serve: Serve) -> None:
    page = serve()
    page.file.write_text("camera: {source: http://camera/?size=1}\n")
    with view(page.port) as viewer:
        ask(viewer, type="set", key="pose.max_people", value=2)
        assert ask(viewer, type="save")["reason"].endswith("better changed by hand; set it to 2 there")
        assert ask(viewer, type="reset")["value"] is None


def test_what_stands_over_the_file_is_told_at_saving_and_takes_no_tuned_value_back(serve: Serve) -> None:
    page = serve("pose.max_people=3")
    with view(page.port) as viewer:
        ask(viewer, type="set", key="pose.max_people", value=2)
        ask(viewer, type="set", key="pose.nms", value="parametric")
        saved = ask(viewer, type="save", shown=ask(viewer, type="save")["value"])
    assert (saved["ok"], saved["overruled"]) == (True, ["pose.max_people"])
    assert load(page.file, {}).pose.max_people == 2
    assert page.settings.overlay == {"pose.max_people": 2}
    assert (page.settings.current.pose.max_people, page.settings.current.pose.nms) == (2, "parametric")


def test_only_the_difference_that_was_shown_is_saved(serve: Serve) -> None:
    page = serve()
    before = page.file.read_text()
    with view(page.port) as viewer, view(page.port) as other:
        ask(viewer, type="set", key="pose.max_people", value=2)
        shown = ask(viewer, type="save")["value"]
        ask(other, type="set", key="log.level", value="debug")
        for seen in (shown, True, ""):
            assert ask(viewer, type="save", shown=seen)["reason"].startswith("not saved: what would change is no longer what was shown")
    assert page.file.read_text() == before
    assert page.settings.current.pose.max_people == 2


def test_what_is_tuned_while_the_file_is_written_stays_tuned(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    page = serve()

    def write_slowly(change: Change) -> None:
        write(change)
        page.settings.set("pose.max_people", 3)
        page.settings.set("log.level", "debug")

    monkeypatch.setattr("edge_node.sink.web.requests.write", write_slowly)
    page.settings.set("pose.max_people", 2)
    page.settings.set("pose.nms", "parametric")
    with view(page.port) as viewer:
        ask(viewer, type="save", shown=ask(viewer, type="save")["value"])
    assert page.settings.overlay == {"pose.max_people": 3, "log.level": "debug"}
    assert page.settings.current.pose.max_people == 3


def test_tuning_can_be_switched_off(serve: Serve) -> None:
    page = serve("web.allow_tuning=false")
    with view(page.port) as viewer:
        assert "switched off" in ask(viewer, type="set", key="pose.max_people", value=2)["reason"]
    assert page.settings.current.pose.max_people == 6


NONSENSE = [
    "",
    "{",
    "[]",
    "1",
    '{"type": "exec"}',
    '{"type": "set"}',
    '{"type": "set", "key": ["a"]}',
    '{"type": "reset", "key": 1}',
    b"\x00",
]


@pytest.mark.parametrize("message", NONSENSE)
def test_what_makes_no_sense_is_answered_and_harmless(serve: Serve, message: str | bytes) -> None:
    page = serve()
    with view(page.port) as viewer:
        viewer.send(message)
        assert next_of(viewer, "result")["ok"] is False
        assert ask(viewer, type="set", key="pose.max_people", value=3)["ok"] is True


def test_an_oversized_request_ends_that_connection_only(serve: Serve) -> None:
    page = serve()
    with view(page.port) as other:
        with view(page.port) as viewer:
            viewer.send("x" * 100_000)
            with pytest.raises(ConnectionClosed):
                next_of(viewer, "never")
        assert ask(other, type="set", key="pose.max_people", value=3)["ok"] is True


def test_no_picture_is_encoded_unless_allowed_and_watched(serve: Serve, standing: Standing) -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    page = serve("web.show_image=true")
    page.show(standing(0, image=image))
    with view(page.port) as viewer:
        next_of(viewer, "hello")
        page.show(standing(1, image=image))
        assert "web_jpeg_encoded" not in page.health.report().counters
        viewer.send(json.dumps({"type": "view", "image": True}))
        ask(viewer, type="none")
        page.show(standing(2, image=image))
        while isinstance(picture := viewer.recv(timeout=5), str):
            pass
        assert int.from_bytes(picture[:8], "big") == 2
        assert picture[8:10] == b"\xff\xd8"
    assert page.health.report().counters["web_jpeg_encoded"] == 1


@pytest.mark.parametrize("shape", [(1, 3000, 3), (3000, 1, 3), (66_000, 20, 3)])
def test_a_picture_of_any_shape_can_be_shown(serve: Serve, standing: Standing, shape: tuple[int, ...]) -> None:
    page = serve("web.show_image=true")
    with view(page.port) as viewer:
        viewer.send(json.dumps({"type": "view", "image": True}))
        ask(viewer, type="none")
        page.show(standing(0, image=np.zeros(shape, np.uint8)))
        while isinstance(picture := viewer.recv(timeout=5), str):
            pass
        assert picture[8:10] == b"\xff\xd8"


def test_a_picture_that_waits_is_not_sent_to_a_viewer_who_switched_them_off() -> None:
    viewer = Viewer()
    viewer.put("image", b"not asked for")
    viewer.choose(image=True)
    viewer.put("image", b"asked for")
    viewer.put("pose", "a pose")
    viewer.choose(image=False)
    viewer.put("image", b"already encoded")
    assert asyncio.run(viewer.take()) == ["a pose"]


def test_a_viewer_who_asks_for_pictures_that_are_not_allowed_gets_none(serve: Serve, standing: Standing) -> None:
    page = serve()
    with view(page.port) as viewer:
        viewer.send(json.dumps({"type": "view", "image": True}))
        ask(viewer, type="none")
        page.show(standing(0, image=np.zeros((480, 640, 3), np.uint8)))
        next_of(viewer, "pose")
    assert "web_jpeg_encoded" not in page.health.report().counters


def test_a_viewer_that_never_reads_gets_fewer_frames_and_holds_nobody_back(serve: Serve, standing: Standing) -> None:
    page = serve()
    with socket.create_connection(("127.0.0.1", page.port)) as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host = f"127.0.0.1:{page.port}"
        stuck.sendall(
            f"GET /live HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        with view(page.port) as viewer:
            next_of(viewer, "hello")
            deadline = time.monotonic() + 5
            while len(page.sink._server.viewers) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            for seq in range(100):
                page.show(standing(seq, count=8))
                assert next_of(viewer, "pose")["pose"]["seq"] == seq
            stuck_viewers = [v for v in page.sink._server.viewers if v.has("pose")]
            assert len(stuck_viewers) == 1
            assert len(stuck_viewers[0]._waiting) <= 4
