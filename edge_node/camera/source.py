"""What the text of ``camera.source`` means. Nothing is opened here, so a configuration can be checked without a camera."""

import difflib
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from edge_node.errors import SourceUnusableError
from edge_node.filesystem import is_file
from edge_node.paths import expanded, secret

STREAM_SCHEMES = ("rtsp", "rtsps", "http", "https")
DEVICE_FOLDER = "/dev/"
ADDRESS_HINT = (
    "expected rtsp://USER:PASSWORD@HOST:PORT/PATH with a port up to 65535; of user and password write # / ? @ as %23 %2F %3F %40, "
    "or set EDGE_NODE_CAMERA_USERNAME and EDGE_NODE_CAMERA_PASSWORD"
)


@dataclass(frozen=True, slots=True)
class Auto:
    """The Pi camera, else the first USB camera."""


@dataclass(frozen=True, slots=True)
class PiCamera:
    """A camera of libcamera, by its number there."""

    number: int = 0


@dataclass(frozen=True, slots=True)
class Device:
    """A V4L2 device node."""

    path: Path


@dataclass(frozen=True, slots=True)
class Stream:
    """An RTSP or HTTP address; ``url`` may carry a password, ``shown`` never does."""

    url: str = field(repr=False)
    shown: str


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A video file, a picture, or a folder of pictures."""

    path: Path


@dataclass(frozen=True, slots=True)
class Synthetic:
    """The drawn scene: how many people take part in it at most, which of its variants, and whether joints are marked (0 or 1)."""

    people: int = 3
    seed: int = 1
    marks: int = 1


Source = Auto | PiCamera | Device | Stream | LocalPath | Synthetic


def parse_source(text: str | int) -> Source:
    """Read ``camera.source``. Raises ``SourceUnusableError`` for what can be no source, ``ConfigError`` for an unreadable password."""
    word = str(text).strip()
    if word == "auto":
        return Auto()
    if word.startswith("picamera2"):
        return _pi_camera(word)
    if word.partition("?")[0] == "synthetic":
        return _synthetic(word.partition("?")[2])
    if "://" in word:
        return _stream(word)
    if not word or word.startswith("-"):
        raise SourceUnusableError(
            f"camera.source: {word!r} is no source; use auto, picamera2, synthetic, 0, /dev/video0, rtsp://…, http://… or a path"
        )
    return _path(word)


def shown(text: str | int) -> str:
    """``camera.source`` as it may be said aloud: of an address neither login nor query. Raises as ``parse_source``."""
    source = parse_source(text)
    return source.shown if isinstance(source, Stream) else str(text)


def _path(word: str) -> Device | LocalPath:
    if word.isdecimal():
        return Device(Path(f"/dev/video{word}"))
    path = expanded(word)
    is_device = word.startswith(DEVICE_FOLDER) and not is_file(path, SourceUnusableError)  # /dev/shm is memory: it may hold clips
    return Device(path) if is_device else LocalPath(path)


def _pi_camera(word: str) -> PiCamera:
    _, colon, number = word.partition(":")
    if word == "picamera2":
        return PiCamera()
    if word.startswith("picamera2:") and colon and number.isdecimal():
        return PiCamera(int(number))
    raise SourceUnusableError(f"camera.source: {word!r}: use picamera2, or picamera2:1 for the second camera")


def _synthetic(options: str) -> Synthetic:
    known = {option.name for option in fields(Synthetic)}
    values = {}
    for key, value in parse_qsl(options, keep_blank_values=True):
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1) or sorted(known)
            raise SourceUnusableError(f"camera.source: synthetic has no option {key!r} (did you mean {' or '.join(near)}?)")
        if not value.isdecimal() or not 0 <= int(value) <= 1000:
            raise SourceUnusableError(f"camera.source: synthetic?{key}={value}: must be a whole number from 0 to 1000")
        values[key] = int(value)
    scene = Synthetic(**values)
    if scene.people > 16:
        raise SourceUnusableError(f"camera.source: synthetic?people={scene.people}: at most 16 people fit into the scene")
    if scene.marks > 1:
        raise SourceUnusableError(f"camera.source: synthetic?marks={scene.marks}: must be 0 or 1")
    return scene


def _stream(url: str) -> Stream:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:  # whose text may have the password in it
        raise SourceUnusableError(f"camera.source: not a usable address; {ADDRESS_HINT}") from None
    if "@" in parts.fragment:  # no stream has a fragment: what stands before it is the beginning of a login
        raise SourceUnusableError(f"camera.source: not a usable address; {ADDRESS_HINT}")
    if parts.scheme not in STREAM_SCHEMES or not parts.hostname:
        raise SourceUnusableError(f"camera.source: {parts.scheme}://… is no stream; use rtsp://HOST/PATH or http://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    login = _login(parts)
    with_login = urlunsplit(parts._replace(netloc=f"{login}@{host}{port}" if login else f"{host}{port}"))
    return Stream(url=with_login, shown=urlunsplit(parts._replace(netloc=host + port, query="", fragment="")))


def _login(parts: SplitResult) -> str:
    """``user:password`` of the address; what it does not say itself is taken from the secrets, a password for their own user only."""
    login = parts.netloc.rpartition("@")[0]
    username, password = secret("camera-username"), secret("camera-password")
    if not login:
        login = quote(username or "", safe="")
    elif parts.password is not None or username not in (None, unquote(login)):
        return login
    return f"{login}:{quote(password, safe='')}" if login and password else login
