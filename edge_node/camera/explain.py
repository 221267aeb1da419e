"""Why a stream cannot be opened. FFmpeg only says that it cannot; this asks the server once, the way a person would."""

import base64
import re
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit, urlunsplit

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
LOGIN_HINT = "set EDGE_NODE_CAMERA_USERNAME and EDGE_NODE_CAMERA_PASSWORD, or put them into the address"


MOST_HEAD_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class _Answer:
    """``status``: ``None`` when it is no RTSP or HTTP at all. ``schemes``: the ways to log in that it offers, in small letters."""

    status: int | None
    schemes: frozenset[bytes]


def why_not(url: str, timeout_s: float) -> str:
    """One line for the user: what is wrong with ``url`` and what to do."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    shown = False
    try:
        answer = _ask(parts.scheme, host, port, _request(parts), timeout_s)
        # A password is shown in clear only to a server that takes it no other way.
        if answer.status == 401 and parts.username and answer.schemes == {b"basic"}:
            answer, shown = _ask(parts.scheme, host, port, _request(parts, _basic_login(parts)), timeout_s), True
    except (socket.gaierror, UnicodeError):  # UnicodeError: no name at all, such as a..b
        return f"unknown host {host}"
    except ConnectionRefusedError:
        return f"nothing listens on port {port} of {host}"
    except TimeoutError:
        return f"{host} does not answer on port {port}"
    except OSError as error:
        return f"cannot reach {host}: {error.strerror or error}"
    if answer.status == 401 and parts.username and not shown:
        return "the camera refuses this login (401), or what it sends is no video that can be read"
    return _meaning(answer.status, bool(parts.username))


def _request(parts: SplitResult, login: str = "") -> bytes:
    """The question for what is at the address; ``login`` is a line of its head."""
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme.startswith("rtsp"):
        bare = urlunsplit(parts._replace(netloc=host))
        return f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n{login}\r\n".encode()
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return f"GET {path} HTTP/1.0\r\nHost: {host}\r\n{login}\r\n".encode()


def _basic_login(parts: SplitResult) -> str:
    login = b":".join(unquote_to_bytes(text or "") for text in (parts.username, parts.password))
    return f"Authorization: Basic {base64.b64encode(login).decode()}\r\n"


def _ask(scheme: str, host: str, port: int, request: bytes, timeout_s: float) -> _Answer:
    with socket.create_connection((host, port), timeout_s) as plain:
        encrypted = scheme in ("https", "rtsps")
        with _unverified().wrap_socket(plain, server_hostname=host) if encrypted else plain as connection:
            connection.sendall(request)
            head = _head(connection, timeout_s)
    status = re.match(rb"(?:RTSP|HTTP)/\d\.\d (\d{3})", head)
    schemes = re.findall(rb"^WWW-Authenticate: *(\w+)", head, re.IGNORECASE | re.MULTILINE)
    return _Answer(int(status[1]) if status else None, frozenset(scheme.lower() for scheme in schemes))


def _unverified() -> ssl.SSLContext:
    """As FFmpeg takes it: cameras sign their certificates themselves, and one that it does not look at is no reason."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _head(connection: socket.socket, timeout_s: float) -> bytes:
    """What comes before the first empty line, or the first of what never has one, or comes drop by drop."""
    until_s = time.monotonic() + timeout_s
    head = connection.recv(1024)
    while head.startswith((b"RTSP/", b"HTTP/")) and b"\r\n\r\n" not in head and len(head) < MOST_HEAD_BYTES:
        if time.monotonic() > until_s:
            break
        piece = connection.recv(1024)
        if not piece:
            break
        head += piece
    return head


def _meaning(status: int | None, with_login: bool) -> str:
    if status is None:
        return "the server there speaks neither RTSP nor HTTP"
    if status in (401, 403):
        return f"the camera refuses this login ({status})" if with_login else f"the camera wants a login ({status}): {LOGIN_HINT}"
    if status == 404:
        return "the camera has no stream at this path (404)"
    if status >= 400:
        return f"the server answers with error {status}"
    return "the server answers, but what it sends is no video that can be read"
