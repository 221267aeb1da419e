"""How the running node is: served as one JSON object on a Unix socket, and read back by ``edge-node status``.

The socket is ``status.sock`` in systemd's runtime directory for the service, else ``<node>.sock`` in the user's. A lock beside
it, released by the kernel however the process ends, keeps a second node of the same name from starting.
"""

import contextlib
import dataclasses
import errno
import fcntl
import json
import logging
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from edge_node import __version__, paths
from edge_node.errors import EdgeNodeError
from edge_node.filesystem import is_open_at
from edge_node.health import Health, HealthReport
from edge_node.temporary import usual_folder

log = logging.getLogger(__name__)

SERVICE_SOCKET = Path("/run/edge-node/status.sock")
ANSWER_TIMEOUT_S = 2.0
_LARGEST_ANSWER_BYTES = 1 << 20
_FIELDS = {"node", "version", "pid", "configuration"} | {field.name for field in dataclasses.fields(HealthReport)}
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_ASK_AGAIN_S = 0.5


class AlreadyRunningError(EdgeNodeError):
    """Another process runs the node of this name."""


class NoAnswerError(EdgeNodeError):
    """A node is there, but its socket gives no answer that can be read."""


class StatusSocket:
    """Serves the status of node ``name`` from a thread of its own, as a context manager.

    The answer holds ``node``, ``version``, ``pid``, ``configuration`` (the file's path, ``None`` without one) and the fields of
    ``HealthReport``; camera and broker are among its facts. Entering raises ``AlreadyRunningError`` when the node of this name
    runs already.
    """

    def __init__(self, name: str, health: Health, configuration: Path | None = None) -> None:
        self._name = name
        self._health = health
        self._configuration = configuration
        self._path = socket_path(name)
        self._lock_path = self._path.with_suffix(".lock")
        self._lock_file: int | None = None
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "StatusSocket":
        try:
            _make_own_directory(self._path.parent)
            self._lock_file = _lock(self._lock_path, self._name)
            self._listener = _listen(self._path)
        except OSError as error:  # people's joints are worth more than a status
            log.warning("edge-node status will not work: %s: %s", self._path, error)
            return self
        self._thread = threading.Thread(target=self._serve, args=(self._listener,), name="status", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listener is not None and self._thread is not None:
            _take_away(self._path)
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
            self._thread.join(ANSWER_TIMEOUT_S)
            self._listener.close()
        if self._lock_file is not None:
            _take_away(self._lock_path)
            os.close(self._lock_file)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError as error:
                if error.errno not in _NO_ROOM:  # shut down by __exit__
                    return
                time.sleep(_ASK_AGAIN_S)  # whoever asks is still waiting
                continue
            with client:
                try:
                    client.settimeout(ANSWER_TIMEOUT_S)
                    client.sendall(json.dumps(self._answer()).encode())
                except OSError as error:
                    log.debug("whoever asked for the status went away: %s", error)

    def _answer(self) -> dict[str, Any]:
        configuration = str(self._configuration.absolute()) if self._configuration else None
        own = {"node": self._name, "version": __version__, "pid": os.getpid(), "configuration": configuration}
        return own | dataclasses.asdict(self._health.report())


def socket_path(name: str) -> Path:
    """Where the node ``name`` of this user, or the service this process is, serves its status."""
    service = paths.service_runtime_directory()
    return service / SERVICE_SOCKET.name if service else _user_directory() / f"{name}.sock"


def running_sockets() -> list[Path]:
    """The sockets of the nodes that run here: the service's, then the user's own."""
    own = _user_directory()
    found = [SERVICE_SOCKET, *(sorted(own.glob("*.sock")) if _is_no_strangers(own) else ())]
    return [path for path in found if path.is_socket()]


def ask(path: Path, timeout_s: float = ANSWER_TIMEOUT_S) -> dict[str, Any] | None:
    """The status served at ``path``; ``None`` when nobody is there any more.

    Raises ``NoAnswerError`` when somebody is, but does not answer: a node that hangs.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(timeout_s)
            client.connect(str(path))
            answer = json.loads(_read_all(client))
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except TimeoutError:
        raise NoAnswerError(f"{path}: a node is there and gave no answer within {timeout_s:g} s; it hangs or the machine is busy") from None
    except (OSError, ValueError) as error:
        raise NoAnswerError(f"{path}: cannot be read: {error}") from None
    if not isinstance(answer, dict) or not answer.keys() >= _FIELDS:
        raise NoAnswerError(f"{path}: this is not the status of a node of version {__version__}")
    return answer


def _read_all(client: socket.socket) -> bytes:
    parts = bytearray()
    while part := client.recv(65536):
        parts += part
        if len(parts) > _LARGEST_ANSWER_BYTES:
            raise ValueError("the answer does not end")
    return bytes(parts)


def _take_away(path: Path) -> None:
    with contextlib.suppress(OSError):  # a folder that has become read-only is no reason for the node to end otherwise than it did
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)  # of a node that was killed: we hold its lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(0o666)  # whoever may log in may ask; the answer holds no secrets
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener


def _make_own_directory(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise PermissionError(f"{path} belongs to another user")


def _is_no_strangers(directory: Path) -> bool:
    """Whether it is there and belongs to this user, or to the owner of the folder it is in: in /tmp anybody may make one of that name."""
    try:
        return directory.stat().st_uid in (os.getuid(), directory.parent.stat().st_uid)
    except OSError:
        return False


def _lock(path: Path, name: str) -> int:
    """The open lock file. Raises ``AlreadyRunningError``."""
    file = _locked(path, name)
    while not is_open_at(path, file):  # its holder ended, and took it away, after we had opened it
        os.close(file)
        file = _locked(path, name)
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    return file


def _locked(path: Path, name: str) -> int:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(file, 32).decode(errors="replace").strip()
        os.close(file)
        raise AlreadyRunningError(
            f"node {name} is already running here (process {holder or 'unknown'}); "
            "look at it with edge-node status, or give this one another node.name"
        ) from None
    return file


def _user_directory() -> Path:
    return paths.user_runtime_directory() or usual_folder() / f"edge-node-{os.getuid()}"
