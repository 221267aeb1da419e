"""Why a stream cannot be opened. FFmpeg only says that it cannot; this asks the server once, the way a person would."""

import re
import socket
import ssl
from urllib.parse import urlsplit, urlunsplit

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
LOGIN_HINT = "set EDGE_NODE_CAMERA_USERNAME and EDGE_NODE_CAMERA_PASSWORD, or put them into the address"


def why_not(url: str, timeout_s: float) -> str:
    """One line for the user: what is wrong with ``url`` and what to do."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    try:
        status = _ask(parts.scheme, host, port, _request(url), timeout_s)
    except (socket.gaierror, UnicodeError):  # UnicodeError: no name at all, such as a..b
        return f"unknown host {host}"
    except ConnectionRefusedError:
        return f"nothing listens on port {port} of {host}"
    except TimeoutError:
        return f"{host} does not answer on port {port}"
    except OSError as error:
        return f"cannot reach {host}: {error.strerror or error}"
    return _meaning(status, bool(parts.username))


def _request(url: str) -> bytes:
    """The question for what is at the address, without the login."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    if parts.scheme.startswith("rtsp"):
        bare = urlunsplit(parts._replace(netloc=host))
        return f"DESCRIBE {bare} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n".encode()
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    return f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()


def _ask(scheme: str, host: str, port: int, request: bytes, timeout_s: float) -> int | None:
    """The status of the answer; ``None`` when it is no RTSP or HTTP at all."""
    with socket.create_connection((host, port), timeout_s) as plain:
        encrypted = scheme in ("https", "rtsps")
        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) if encrypted else plain as connection:
            connection.sendall(request)
            answer = connection.recv(1024)
    status = re.match(rb"(?:RTSP|HTTP)/\d\.\d (\d{3})", answer)
    return int(status[1]) if status else None


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
