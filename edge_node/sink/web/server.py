"""HTTP and WebSocket on one port, on a thread of its own with its own event loop.

Each viewer has room for one message: a newer pose or picture replaces one that was not sent yet, so a slow viewer sees fewer
frames and holds nobody back.
"""

import asyncio
import errno
import functools
import http
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from edge_node.address import address
from edge_node.config.models import Web
from edge_node.errors import SinkError
from edge_node.sink.certificate import file_trouble, load_own_certificate
from edge_node.sink.web.access import Access, Denied
from edge_node.sink.web.listening import listening_sockets

log = logging.getLogger(__name__)

SOCKET_PATH = "/live"
START_S = 5.0
OPEN_S = 5.0
"""A connection that has asked for nothing by then is closed."""
MAX_REQUEST_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 64 * 1024
_HOST_ADVICE = "give an address of this machine, or 0.0.0.0 for all of them"
_PAGE = Path(__file__).parent / "page"
_TYPES = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)
_SECURITY_HEADERS = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)


class Viewer:
    """One open page."""

    def __init__(self) -> None:
        self._wants_image = False
        self._waiting: dict[str, str | bytes] = {}
        self._news = asyncio.Event()

    @property
    def wants_image(self) -> bool:
        """What its viewer chose."""
        return self._wants_image

    def choose(self, image: bool) -> None:
        """From now on with camera pictures or without; one that waits is not sent any more."""
        self._wants_image = image
        if not image:
            self._waiting.pop("image", None)

    def put(self, kind: str, message: str | bytes) -> None:
        """Leave a message for the viewer; it replaces one of the same kind that was not sent yet."""
        if kind == "image" and not self._wants_image:
            return
        self._waiting[kind] = message
        self._news.set()

    def has(self, kind: str) -> bool:
        """Whether a message of this kind still waits."""
        return kind in self._waiting

    async def take(self) -> list[str | bytes]:
        """What waits, as soon as there is something."""
        await self._news.wait()
        self._news.clear()
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return waiting


class PageServer:
    """Serves the page and its viewers. ``start`` and ``stop`` are called from another thread than its own."""

    def __init__(
        self,
        config: Web,
        access: Access,
        welcome: Callable[[], str],
        handle: Callable[[Viewer, str | bytes], str | None],
    ) -> None:
        self._config = config
        self._access = access
        self._welcome = welcome
        self._handle = handle
        # Replaced as a whole on the server's thread, so that other threads may read it at any time.
        self._viewers: frozenset[Viewer] = frozenset()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="web-server", daemon=True)
        self._servers: list[Server] = []

    @property
    def viewers(self) -> frozenset[Viewer]:
        """Whoever looks at the moment."""
        return self._viewers

    def start(self) -> int:
        """Listen; gives the port. Raises ``SinkError`` when the address cannot be had or a certificate cannot be used."""
        tls = self._tls()
        try:  # on this thread: to resolve a name may take long
            listening = listening_sockets(self._config.host, self._config.port, self._config.max_viewers)
        except (OSError, UnicodeError) as error:
            raise SinkError(_why_not(self._config, error)) from None
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(listening, tls), self._loop).result(START_S)
        except OSError as error:
            self.stop()
            raise SinkError(_why_not(self._config, error)) from None
        return int(self._servers[0].sockets[0].getsockname()[1])

    def call(self, action: Callable[[], None]) -> None:
        """Do ``action`` on the server's thread, where viewers may be touched."""
        self._loop.call_soon_threadsafe(action)

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(START_S)
            self._end_loop()

    async def _listen(self, listening: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
        for one in listening:
            self._servers.append(await self._serve(one, tls))

    async def _serve(self, listening: socket.socket, tls: ssl.SSLContext | None) -> Server:
        return await serve(
            self._serve_viewer,
            sock=listening,
            ssl=tls,
            ssl_handshake_timeout=OPEN_S if tls else None,
            process_request=self._answer,
            open_timeout=OPEN_S,
            ping_interval=10,
            ping_timeout=10,
            close_timeout=1,
            max_size=MAX_REQUEST_BYTES,
            max_queue=4,
            write_limit=SEND_BUFFER_BYTES,
            compression=None,
            server_header=None,
            logger=_quiet_logger(),
        )

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for server in self._servers:
            await server.wait_closed()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """A response ends the request; ``None`` opens a WebSocket."""
        websocket = any(value.lower() == "websocket" for value in request.headers.get_all("Upgrade"))
        denied = self._access.check(request.method, request.path, request.headers, _address(connection), websocket)
        if denied is not None:
            return _denial(denied)
        path = request.path.partition("?")[0]
        if path == SOCKET_PATH and len(self._viewers) >= self._config.max_viewers:
            return _denial(Denied(http.HTTPStatus.SERVICE_UNAVAILABLE, f"all {self._config.max_viewers} places for viewers are taken"))
        if not websocket:
            return self._file(path, request)
        if path != SOCKET_PATH:
            return _denial(Denied(http.HTTPStatus.NOT_FOUND, "no such address"))
        return None

    def _file(self, path: str, request: Request) -> Response:
        token = self._access.token_in_query(request.path)
        if token is not None:
            secure = "; Secure" if self._config.certificate_file else ""
            cookie = f"{self._access.cookie(request.headers, token)}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000{secure}"
            return _response(http.HTTPStatus.SEE_OTHER, b"", "text/plain", {"Location": "/", "Set-Cookie": cookie})
        name = "index.html" if path == "/" else path.removeprefix("/")
        body = _page_files().get(name)
        if body is None:
            return _denial(Denied(http.HTTPStatus.NOT_FOUND, "no such address"))
        return _response(http.HTTPStatus.OK, body, _TYPES[Path(name).suffix])

    async def _serve_viewer(self, connection: ServerConnection) -> None:
        if len(self._viewers) >= self._config.max_viewers:  # others came in while the connection was being opened
            await connection.close(1013, "all places for viewers are taken")
            return
        # What waits in the kernel cannot be replaced by something newer, so little may wait there.
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        viewer = Viewer()
        self._viewers |= {viewer}
        viewer.put("hello", self._welcome())
        sending = asyncio.create_task(self._send(connection, viewer))
        try:
            async for message in connection:
                if not self._access.allows_message(_address(connection)):
                    await connection.close(1008, "too many messages")
                    return
                answer = self._handle(viewer, message)
                if answer is not None:
                    await connection.send(answer)
        except ConnectionClosed:
            pass
        finally:
            sending.cancel()
            self._viewers -= {viewer}

    async def _send(self, connection: ServerConnection, viewer: Viewer) -> None:
        try:
            while True:
                for message in await viewer.take():
                    await connection.send(message)
        except ConnectionClosed:
            return

    def _tls(self) -> ssl.SSLContext | None:
        if self._config.certificate_file is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            load_own_certificate(context, self._config.certificate_file, self._config.key_file)
        except (OSError, ssl.SSLError) as error:
            files = " with ".join(file for file in (self._config.certificate_file, self._config.key_file) if file is not None)
            raise SinkError(f"web.certificate_file: {files} cannot be used: {file_trouble(error)}") from None
        return context


@functools.cache
def _page_files() -> dict[str, bytes]:
    """Name to content of what the browser may ask for: read once, so that no request ever names a path on disk."""
    return {file.name: file.read_bytes() for file in _PAGE.iterdir() if file.suffix in _TYPES}


def _why_not(config: Web, error: OSError | UnicodeError) -> str:
    if isinstance(error, socket.gaierror | UnicodeError):  # UnicodeError: no name at all, such as a..b
        return f"web.host: unknown host {config.host}; {_HOST_ADVICE}"
    reason = f"{address(config.host, config.port)} cannot be listened on: {error.strerror or error}"
    if error.errno in (errno.EADDRINUSE, errno.EACCES):
        return f"web.port: {reason}; choose another port"
    return f"web.host: {reason}; {_HOST_ADVICE}"


def _address(connection: ServerConnection) -> str:
    """Where the viewer is, without the port; empty once the connection is gone."""
    return connection.remote_address[0] if connection.remote_address else ""


def _denial(denied: Denied) -> Response:
    if denied.status == http.HTTPStatus.UNAUTHORIZED:
        return _response(denied.status, _page_files()["token.html"].replace(b"REASON", denied.reason.encode()), _TYPES[".html"])
    return _response(denied.status, f"{denied.reason}\n".encode(), "text/plain; charset=utf-8")


def _response(status: http.HTTPStatus, body: bytes, kind: str, more: dict[str, str] | None = None) -> Response:
    headers = Headers({**_SECURITY_HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close", **(more or {})})
    return Response(status.value, status.phrase, headers, body)


def _quiet_logger() -> logging.Logger:
    """The library logs every refused handshake as an error; who was turned away is ours to say."""
    quiet = logging.getLogger("edge_node.websockets")
    quiet.setLevel(logging.CRITICAL)
    return quiet
