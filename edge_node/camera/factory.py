"""Opens whatever ``camera.source`` names. Each kind of source is imported only when it is asked for."""

import functools
import logging

from edge_node.camera import Camera, devices
from edge_node.camera import source as sources
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import CameraError, SourceUnusableError
from edge_node.health import Health

log = logging.getLogger(__name__)


def open_camera(settings: CameraSettings, first_seq: int = 0, health: Health | None = None) -> Camera:
    """An open camera whose frames are numbered from ``first_seq``; pictures that cannot be decoded are counted in ``health``.

    Raises ``CameraError`` when it cannot be opened now, ``SourceUnusableError`` when it never can.
    """
    health = health or Health()
    source = sources.parse_source(settings.source)
    if isinstance(source, sources.Auto):
        source = choose()
        _tell_taken(_name(source))
    match source:
        case sources.PiCamera(number):
            from edge_node.camera.picamera import PiCamera  # noqa: PLC0415 - needs libcamera

            return PiCamera(number, settings, first_seq)
        case sources.Device(path):
            from edge_node.camera.v4l2 import DeviceCamera  # noqa: PLC0415 - imports OpenCV

            return DeviceCamera(path, settings, first_seq, health)
        case sources.Stream():
            return _open_stream(source, settings, first_seq, health)
        case sources.LocalPath(path):
            from edge_node.camera.files import open_path  # noqa: PLC0415 - imports OpenCV

            return open_path(path, settings, first_seq, health)
        case sources.Synthetic():
            from edge_node.camera.synthetic import SyntheticCamera  # noqa: PLC0415 - imports OpenCV

            return SyntheticCamera(source, settings, first_seq)


def choose() -> sources.PiCamera | sources.Device:
    """The Pi camera, else the first USB camera, else any other. Raises ``CameraError`` when there is none."""
    from edge_node.camera.picamera import camera_numbers  # noqa: PLC0415 - looks for libcamera

    numbers, none_because = [], "no Pi camera"
    try:
        numbers = camera_numbers()
    except SourceUnusableError as error:
        none_because = str(error).partition("; ")[0]  # what to do about it is in the log
        _tell_unusable(str(error))
    if numbers:
        return sources.PiCamera(numbers[0])
    found = devices.cameras()
    if found:
        return sources.Device(found[0].path)
    raise CameraError(
        f"no camera found: {none_because}, and {devices.what_is_there()}; try camera.source=synthetic, a clip or an rtsp:// address"
    )


@functools.lru_cache(maxsize=1)
def _tell_taken(name: str) -> None:
    """Once until it is another: a camera is looked for at every attempt."""
    log.info("camera.source auto: took %s", name)


@functools.lru_cache(maxsize=1)
def _tell_unusable(reason: str) -> None:
    """The same."""
    log.warning("%s", reason)


def _open_stream(stream: sources.Stream, settings: CameraSettings, first_seq: int, health: Health) -> Camera:
    from edge_node.camera.files import VideoFile  # noqa: PLC0415 - imports OpenCV
    from edge_node.camera.stream import StreamCamera, is_finite, open_capture  # noqa: PLC0415 - the same

    capture = open_capture(stream, settings)
    if not is_finite(capture):
        return StreamCamera(stream, capture, settings, first_seq, health)
    capture.release()
    return VideoFile(stream.url, stream.shown, settings.model_copy(update={"realtime": True}), first_seq, health)


def _name(source: sources.PiCamera | sources.Device) -> str:
    return f"the Pi camera {source.number}" if isinstance(source, sources.PiCamera) else str(source.path)
