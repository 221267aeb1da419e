"""Small Matroska files whose frames stand at any times: OpenCV writes none but those of a steady rate."""

import struct

import cv2
import numpy as np


def write_matroska(path, times_ms, duration_ms, size=(64, 48)):
    """MJPEG frames at ``times_ms``, in a container that says it lasts ``duration_ms``."""
    head = _element(
        0x1A45DFA3,
        _number(0x4286, 1) + _number(0x42F7, 1) + _number(0x42F2, 4) + _number(0x42F3, 8),
        _element(0x4282, b"matroska") + _number(0x4287, 4) + _number(0x4285, 2),
    )
    info = _element(0x1549A966, _number(0x2AD7B1, 1_000_000), _element(0x4489, struct.pack(">d", duration_ms)))
    video = _element(0xE0, _number(0xB0, size[0]) + _number(0xBA, size[1]))
    rate = _number(0x23E383, 33_000_000)
    entry = _element(0xAE, _number(0xD7, 1) + _number(0x73C5, 1) + _number(0x83, 1) + _element(0x86, b"V_MJPEG") + video + rate)
    clusters = (_cluster(number, time_ms, size) for number, time_ms in enumerate(times_ms))
    path.write_bytes(head + _element(0x18538067, info, _element(0x1654AE6B, entry), *clusters))


def _cluster(number, time_ms, size):
    _, jpeg = cv2.imencode(".jpg", np.full((size[1], size[0], 3), number * 7 % 255, np.uint8))
    return _element(0x1F43B675, _number(0xE7, time_ms), _element(0xA3, b"\x81\x00\x00\x80" + jpeg.tobytes()))


def _element(name, *parts):
    content = b"".join(parts)
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + (len(content) | 1 << 56).to_bytes(8, "big") + content


def _number(name, value):
    return _element(name, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))
