"""What went over the node's network card, from the files that qemu's filter-dump wrote (classic pcap, Ethernet)."""

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PICTURE_MARKS = {
    "JPEG": b"\xff\xd8\xff",
    "PNG": b"\x89PNG\r\n",
    "WebP": b"WEBPVP8",
    "H.264 parameter set": b"\x00\x00\x00\x01\x67",
    "MP4": b"ftypisom",
}


@dataclass
class Traffic:
    """``sent_bytes``: what the machine sent, TCP and UDP payload by ``protocol address:port``."""

    sent_bytes: Counter[str] = field(default_factory=Counter)
    pictures: Counter[str] = field(default_factory=Counter)
    streams: dict[str, bytearray] = field(default_factory=dict)


def read(files: list[Path], machine: str = "10.0.2.15") -> Traffic:
    """Everything that ``machine`` sent in the captures."""
    traffic = Traffic()
    for file in files:
        for protocol, source, target, payload in _packets(file):
            if source == machine and payload:
                traffic.sent_bytes[f"{protocol} {target}"] += len(payload)
                traffic.streams.setdefault(f"{protocol} {target}", bytearray()).extend(payload)
    for stream in traffic.streams.values():
        for name, mark in PICTURE_MARKS.items():
            traffic.pictures[name] += stream.count(mark)
    return traffic


def _packets(file: Path) -> Iterator[tuple[str, str, str, bytes]]:
    content = file.read_bytes()
    order = "<" if content[:4] == b"\xd4\xc3\xb2\xa1" else ">"
    at = 24
    while at + 16 <= len(content):
        (length,) = struct.unpack(order + "8xI4x", content[at : at + 16])
        yield from _ethernet(content[at + 16 : at + 16 + length])
        at += 16 + length


def _ethernet(frame: bytes) -> Iterator[tuple[str, str, str, bytes]]:
    if len(frame) < 34 or frame[12:14] != b"\x08\x00":
        return
    packet = frame[14:]
    header, total, protocol = 4 * (packet[0] & 15), int.from_bytes(packet[2:4], "big"), packet[9]
    source, target = (".".join(map(str, packet[i : i + 4])) for i in (12, 16))
    segment = packet[header:total]
    if protocol == 6:
        offset = 4 * (segment[12] >> 4)
        yield "TCP", source, f"{target}:{int.from_bytes(segment[2:4], 'big')}", segment[offset:]
    elif protocol == 17:
        yield "UDP", source, f"{target}:{int.from_bytes(segment[2:4], 'big')}", segment[8:]
