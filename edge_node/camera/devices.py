"""Which V4L2 devices there are, and which of them are cameras for us to open."""

import errno
import fcntl
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from edge_node.errors import CameraError, SourceUnusableError

VIDIOC_QUERYCAP = 0x80685600
"""From linux/videodev2.h: _IOR('V', 0, struct v4l2_capability)."""
CAPABILITY = struct.Struct("=16s32s32sIII12x")
VIDEO_CAPTURE = 0x00000001
DEVICE_CAPS = 0x80000000
NEVER_A_CAMERA = frozenset({errno.ENOTTY, errno.EISDIR})
"""What the system says of a device of another kind (``/dev/null``), a file or a folder."""

PI_INTERNAL_DRIVERS = (
    "bcm2835-codec",
    "bcm2835-isp",
    "bcm2835_mmal",
    "bm2835 mmal",
    "rpi-hevc-dec",
    "rpivid",
    "pispbe",
    "rp1-cfe",
    "unicam",
)
"""Parts of a Raspberry Pi's own video pipeline: nodes that no ordinary program can take pictures from."""


@dataclass(frozen=True, slots=True)
class VideoDevice:
    """One /dev/video node that gives pictures."""

    path: Path
    driver: str
    card: str


def device_nodes() -> list[Path]:
    """Every /dev/video*, by number."""
    return sorted(Path("/dev").glob("video[0-9]*"), key=lambda path: int(re.sub(r"\D", "", path.name)))


def query(path: Path) -> VideoDevice | None:
    """What a node says of itself; ``None`` when it gives no pictures (metadata, encoder). Raises ``OSError``."""
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    try:
        answer = fcntl.ioctl(handle, VIDIOC_QUERYCAP, bytes(CAPABILITY.size))
    finally:
        os.close(handle)
    driver, card, _bus, _version, capabilities, device_capabilities = CAPABILITY.unpack(answer)
    own = device_capabilities if capabilities & DEVICE_CAPS else capabilities
    if not own & VIDEO_CAPTURE:
        return None
    return VideoDevice(path, _text(driver), _text(card))


def cameras() -> list[VideoDevice]:
    """Cameras that can be opened by their node: USB ones first, then others; not the insides of a Pi's pipeline."""
    found = []
    for path in device_nodes():
        try:
            device = query(path)
        except OSError:
            continue  # not ours to read, or gone again: it is no candidate
        if device and not device.driver.startswith(PI_INTERNAL_DRIVERS):
            found.append(device)
    return sorted(found, key=lambda device: device.driver != "uvcvideo")


def check_device(path: Path) -> VideoDevice:
    """Say in one line why ``path`` cannot be a camera.

    Raises ``CameraError``: it may be plugged in later; ``SourceUnusableError`` for what is no camera and never will be.
    """
    try:
        device = query(path)
    except FileNotFoundError as error:
        raise CameraError(f"{path}: no such camera; {what_is_there()}") from error
    except PermissionError as error:
        raise CameraError(f"{path}: permission denied; add this user to the group video: usermod -aG video USER") from error
    except OSError as error:
        refusal = SourceUnusableError if error.errno in NEVER_A_CAMERA else CameraError
        raise refusal(f"{path}: not a camera ({error.strerror}); {what_is_there()}") from error
    if device is None:
        raise CameraError(f"{path}: gives no pictures (a camera's metadata or an encoder); {what_is_there()}")
    return device


def what_is_there() -> str:
    """The cameras of this machine, for a message."""
    found = cameras()
    if found:
        return "there are: " + ", ".join(f"{device.path} ({device.card})" for device in found)
    nodes = device_nodes()
    if nodes:
        return "no node of " + ", ".join(map(str, nodes)) + " is a camera this user may open"
    return "this machine has no /dev/video*"


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")
