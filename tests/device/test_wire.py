"""What the device test reads out of a capture: a picture on the wire must show."""

import importlib.util
import struct
from pathlib import Path

import pytest


@pytest.fixture
def wire():
    spec = importlib.util.spec_from_file_location("wire", Path(__file__).with_name("wire.py"))
    module = importlib.util.module_from_spec(spec)
    __import__("sys").modules["wire"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def packet(source, target, port, payload, protocol=6):
    body = struct.pack(">HH", 40000, port)
    body += (b"\0" * 8 + b"\x50" + b"\0" * 7 if protocol == 6 else b"\0" * 4) + payload
    addresses = bytes(map(int, source.split("."))) + bytes(map(int, target.split(".")))
    header = b"\x45\0" + (20 + len(body)).to_bytes(2, "big") + b"\0" * 5 + bytes([protocol]) + b"\0\0" + addresses
    return b"\0" * 12 + b"\x08\x00" + header + body


def capture(path, *packets):
    head = b"\xd4\xc3\xb2\xa1" + b"\0" * 20
    path.write_bytes(head + b"".join(struct.pack("<IIII", 0, 0, len(p), len(p)) + p for p in packets))
    return path


def test_bytes_are_counted_by_where_they_went(wire, tmp_path):
    file = capture(
        tmp_path / "a.pcap",
        packet("10.0.2.15", "10.0.2.2", 1883, b'{"v":1}'),
        packet("10.0.2.15", "10.0.2.2", 1883, b'{"v":1}'),
        packet("10.0.2.15", "192.0.2.7", 53, b"query", protocol=17),
        packet("10.0.2.2", "10.0.2.15", 40000, b"to the machine, not from it"),
    )
    traffic = wire.read([file])
    assert traffic.sent_bytes == {"TCP 10.0.2.2:1883": 14, "UDP 192.0.2.7:53": 5}
    assert not any(traffic.pictures.values())


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WebP", "MP4", "H.264 parameter set"])
def test_picture_is_seen_also_when_it_is_cut_over_two_packets(wire, tmp_path, name):
    content = b"before" + wire.PICTURE_MARKS[name] + b"after"
    halves = [packet("10.0.2.15", "10.0.2.2", 1883, part) for part in (content[:8], content[8:])]
    assert wire.read([capture(tmp_path / "a.pcap", *halves)]).pictures[name] == 1
