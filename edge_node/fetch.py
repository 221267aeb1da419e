"""Getting a model file: from its address or from a mirror folder, resumed where it broke off, and never half a file in place."""

import contextlib
import errno
import fcntl
import http
import os
import shutil
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import IO

from edge_node.errors import ModelError
from edge_node.filesystem import is_file, is_folder, is_open_at
from edge_node.models import ModelFile, why_wrong

MIRROR_VARIABLE = "EDGE_NODE_MODEL_MIRROR"
"""Environment variable: a folder that has the files under their own names."""

ANSWER_S = 5.0
"""An address that does not answer within this is given up; so is a transfer that stands still for so long."""
_PIECE_BYTES = 64 * 1024

Progress = Callable[[int, int], None]
"""Called with bytes there and bytes in all."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What whoever fetches can be told to do, in the options of the command at hand."""

    origin: str
    """Where the address does not answer."""
    folder: str
    """Where the folder cannot take the file."""


def advice(*, mirror: str | None, folder: str) -> Advice:
    """For a model's file. ``mirror`` and ``folder``: the options that name one, as far as there are any."""
    names = " or ".join(name for name in (mirror, MIRROR_VARIABLE) if name)
    return Advice(f"a folder that has the file can be given with {names}", f"choose another {folder}")


def mirror_folder(given: Path | None) -> Path | None:
    """The folder given, else the one of the environment; ``None`` means the network. Raises ``ModelError`` when it is not there."""
    named = os.environ.get(MIRROR_VARIABLE)
    mirror = given or (Path(named) if named else None)
    if mirror is not None and not is_folder(mirror, ModelError):
        raise ModelError(f"mirror {mirror}: no such folder")
    return mirror


def fetch(file: ModelFile, folder: Path, mirror: Path | None, progress: Progress, advice: Advice) -> Path:
    """Put ``file`` into ``folder``, verified; returns its path.

    What is there and right already is left alone. A download that broke off goes on where it was (HTTP Range). The file
    appears under its name only when it is whole and its sha256 is right, readable for everybody. What root fetches belongs to the
    owner of the folder it is put into. Raises ``ModelError`` that says what to do.
    """
    path = folder / file.file
    part = _part_of(path)
    with _told_plainly(file, folder, advice):
        while not _is_right(path, file):
            _make(folder)
            with _opened(part) as output:
                _lock(output, path)
                if is_open_at(part, output.fileno()):  # else another fetch put it in place after we had opened it
                    _fill(output, file, mirror, progress, advice, part=part)
                    _hand_over(output.fileno(), folder, 0o644)
                    part.replace(path)
                    return path
    progress(file.bytes, file.bytes)
    return path


def _is_right(path: Path, file: ModelFile) -> bool:
    return path.is_file() and why_wrong(path.read_bytes(), file) is None


def _fill(output: IO[bytes], file: ModelFile, mirror: Path | None, progress: Progress, advice: Advice, *, part: Path) -> None:
    """The whole content of ``file`` into ``output``, which is open at ``part``; what a later fetch could not use is taken away."""
    try:
        _transfer(file, output, mirror, progress, advice)
    finally:
        output.flush()
        if output.tell() == 0:
            part.unlink()
    os.fsync(output.fileno())
    output.seek(0)
    why = why_wrong(output.read(), file)
    if why:
        part.unlink(missing_ok=True)
        raise ModelError(f"{_origin(file, mirror)}: what came {why}; it is not used")


def _make(folder: Path) -> None:
    """``folder`` and what is missing above it. What root makes is not left to root alone."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return
    for made in reversed(missing):
        descriptor = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _hand_over(descriptor, made.parent, 0o755)
        finally:
            os.close(descriptor)


def _hand_over(descriptor: int, folder: Path, mode: int) -> None:
    """Whatever the umask: of this ``mode``, and by root of the owner of the ``folder`` it is in, such as the service's user."""
    with contextlib.suppress(PermissionError):  # a file system that knows no owners, or whose server takes root for nobody
        os.fchmod(descriptor, mode)
        if os.geteuid() == 0:
            owner = folder.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


@contextlib.contextmanager
def _told_plainly(file: ModelFile, folder: Path, advice: Advice) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                _part_of(folder / file.file).unlink()  # a full disk troubles more than this program
            free = shutil.disk_usage(folder).free if folder.is_dir() else 0
            needed = f"{file.bytes / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB free"
            raise ModelError(f"{folder}: no space left for {file.file}: {needed}; free some or {advice.folder}") from error
        raise ModelError(f"{error.filename or folder}: {error.strerror or error}; {advice.folder}") from error


def _part_of(path: Path) -> Path:
    """What is there of ``path`` while it is fetched."""
    return path.with_name(path.name + ".part")


def _opened(part: Path) -> IO[bytes]:
    """``part``, to be read and added to. Root fetches into folders of the service's user, whose links are not followed."""
    return os.fdopen(os.open(part, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644), "a+b")


def _lock(output: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(output, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ModelError(f"{path}: another fetch of this file is at work") from error


def _transfer(file: ModelFile, output: IO[bytes], mirror: Path | None, progress: Progress, advice: Advice) -> None:
    if mirror is not None:
        output.truncate(0)
        source = mirror / file.file
        if not is_file(source, ModelError):
            raise ModelError(f"mirror {mirror}: {file.file} is not there")
        with source.open("rb") as content:
            _copy(content.read, output, 0, file.bytes, progress)
        return
    there = output.tell()
    if there >= file.bytes:
        output.truncate(0)
        there = 0
    with _answer(file, there, advice) as response:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:  # the server begins at the beginning
            output.truncate(0)
            there = 0
        try:
            _copy(response.read, output, there, file.bytes, progress)
        except (HTTPException, TimeoutError, ConnectionError) as error:
            raise ModelError(f"{file.url}: the transfer broke off ({_said(error)}); fetch again, it goes on from there") from error
    if output.tell() < file.bytes:
        raise ModelError(
            f"{file.url}: the transfer broke off after {output.tell()} of {file.bytes} bytes; fetch again, it goes on from there"
        )


def _copy(read: Callable[[int], bytes], output: IO[bytes], there: int, whole: int, progress: Progress) -> None:
    progress(there, whole)
    while there <= whole and (piece := read(_PIECE_BYTES)):
        output.write(piece)
        there += len(piece)
        progress(min(there, whole), whole)
    output.flush()


def _answer(file: ModelFile, there: int, advice: Advice) -> HTTPResponse:
    """The open response of the server, within ``ANSWER_S``, name lookup included: that knows no deadline of its own."""
    outcome: list[HTTPResponse | Exception] = []
    asking = threading.Thread(target=_ask, args=(file, there, outcome), name="fetch", daemon=True)
    asking.start()
    asking.join(ANSWER_S)
    result = outcome[0] if outcome else TimeoutError(f"no answer within {ANSWER_S:.0f} s")
    if isinstance(result, Exception):
        raise ModelError(f"{file.url}: {_said(result)}; is there a network? Without one, {advice.origin}") from result
    return result


def _ask(file: ModelFile, there: int, outcome: list[HTTPResponse | Exception]) -> None:
    request = urllib.request.Request(file.url, headers={"Range": f"bytes={there}-"} if there else {})  # noqa: S310 - of the manifest
    try:
        outcome.append(urllib.request.urlopen(request, timeout=ANSWER_S))  # noqa: S310 - of the manifest
    except (OSError, HTTPException, ValueError) as error:
        outcome.append(error)


def _said(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError) else error
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__


def _origin(file: ModelFile, mirror: Path | None) -> str:
    return str(mirror / file.file) if mirror is not None else file.url
