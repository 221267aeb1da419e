"""V4L2 devices: what is said of those that are not there or no cameras."""

import pytest

from edge_node.camera import devices
from edge_node.camera.factory import open_camera
from edge_node.config.models import Camera as CameraSettings
from edge_node.errors import CameraError, SourceUnusableError


def refused(source):
    with pytest.raises(CameraError) as error:
        open_camera(CameraSettings(source=source))
    assert not isinstance(error.value, SourceUnusableError), "a camera may be plugged in later"
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_device_says_which_cameras_there_are():
    text = refused("/dev/video97")
    assert text.startswith("/dev/video97: no such camera; ")
    assert devices.what_is_there() in text


def test_an_index_is_a_device():
    assert refused(97).startswith("/dev/video97: no such camera")


@pytest.mark.parametrize("source", ["/dev/null", "/dev/fd", "/dev/shm"])
def test_what_is_there_and_no_camera_is_not_waited_for(source):
    with pytest.raises(SourceUnusableError, match=rf"^{source}: not a camera \("):
        open_camera(CameraSettings(source=source))


def test_permission_denied_names_the_group(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(devices, "query", denied)
    assert "usermod -aG video" in refused("/dev/video0")


def test_a_node_that_gives_no_pictures_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "query", lambda _: None)
    assert "gives no pictures" in refused("/dev/video0")


def test_capabilities_are_read_as_the_kernel_gives_them(monkeypatch):
    answer = devices.CAPABILITY.pack(b"uvcvideo", b"HD Webcam", b"usb-1", 0x60000, 0x84A00001, 0x04200001)
    monkeypatch.setattr(devices.fcntl, "ioctl", lambda *_: answer)
    device = devices.query("/dev/null")
    assert (device.driver, device.card) == ("uvcvideo", "HD Webcam")
    metadata = devices.CAPABILITY.pack(b"uvcvideo", b"HD Webcam", b"usb-1", 0x60000, 0x84A00001, 0x04A00000)
    monkeypatch.setattr(devices.fcntl, "ioctl", lambda *_: metadata)
    assert devices.query("/dev/null") is None
