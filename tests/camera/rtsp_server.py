"""A small real RTSP camera on localhost: MPEG-TS or JPEG in RTP, interleaved in the RTSP connection (RFC 2326, 2250, 2435). One client at a
time gets the whole clip in real time, from its beginning; with ``user`` it wants a login (basic)."""

import base64
import re
import socketserver
import struct
import threading
import time
from dataclasses import dataclass

import cv2
import numpy as np

TS_PACKET = 188
PACKETS_PER_RTP = 7
JPEG_BYTES_PER_RTP = 1400
TICKS_PER_S = 90_000
LAST_OF_PICTURE = 0x80


@dataclass(frozen=True)
class Clip:
    """RTP payloads of one type, each with its marker bit and when it is due, in seconds from the beginning."""

    payload_type: int
    packets: list[tuple[float, int, bytes]]


def transport_stream(path, seconds):
    """The transport stream at ``path``, which lasts so long."""
    data, step = path.read_bytes(), TS_PACKET * PACKETS_PER_RTP
    return Clip(33, [(seconds * start / len(data), 0, data[start : start + step]) for start in range(0, len(data), step)])


def jpeg_clip(pictures, fps):
    """JPEG pictures as OpenCV writes them: 4:2:0, with two tables of quantisation and the usual Huffman codes."""
    return Clip(26, [(number / fps, *packet) for number, jpeg in enumerate(pictures) for packet in _jpeg_packets(jpeg)])


def _jpeg_packets(jpeg):
    at = jpeg.index(b"\xff\xc0")
    height, width = struct.unpack("!HH", jpeg[at + 5 : at + 9])
    tables = b"".join(part[3:67] for part in jpeg.split(b"\xff\xdb")[1:3])
    at = jpeg.index(b"\xff\xda") + 2
    scan = jpeg[at + struct.unpack("!H", jpeg[at : at + 2])[0] : -2]
    for offset in range(0, len(scan), JPEG_BYTES_PER_RTP):
        header = struct.pack("!IBBBB", offset, 1, 255, width // 8, height // 8)
        quantisation = struct.pack("!HH", 0, len(tables)) + tables if offset == 0 else b""
        last = LAST_OF_PICTURE if offset + JPEG_BYTES_PER_RTP >= len(scan) else 0
        yield last, header + quantisation + scan[offset : offset + JPEG_BYTES_PER_RTP]


def write_transport_stream(path, frames, fps=25, size=(160, 120)):
    """A clip whose grey counts up, in a transport stream."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    for shade in range(frames):
        writer.write(np.full((size[1], size[0], 3), shade % 250, np.uint8))
    writer.release()


class RtspServer:
    def __init__(self, clip, user=None):
        self._clip, self._user = clip, user
        self.stalled = threading.Event()
        self.plays = 0
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                outer._serve(self)

        socketserver.ThreadingTCPServer.allow_reuse_address = True
        self._tcp = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._tcp.daemon_threads = True
        self.address = f"127.0.0.1:{self._tcp.server_address[1]}"
        threading.Thread(target=self._tcp.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self._tcp.shutdown()
        self._tcp.server_close()

    def _serve(self, handler):
        while True:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                line = handler.rfile.readline()
                if not line:
                    return
                request += line
            text = request.decode()
            method = text.split()[0]
            sequence = re.search(r"CSeq: *(\d+)", text, re.IGNORECASE)[1]
            status, headers, body = self._answer(method, text)
            answer = f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"
            handler.wfile.write(answer.encode())
            if method == "PLAY":
                self.plays += 1
                self._play(handler)
                return

    def _answer(self, method, request):
        if self._user and method != "OPTIONS" and f"Basic {base64.b64encode(self._user.encode()).decode()}" not in request:
            return "401 Unauthorized", 'WWW-Authenticate: Basic realm="camera"\r\n', ""
        if method == "OPTIONS":
            return "200 OK", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n", ""
        if method == "DESCRIBE":
            media = f"m=video 0 RTP/AVP {self._clip.payload_type}"
            sdp = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=clip\r\nt=0 0\r\n{media}\r\na=control:track1\r\n"
            return "200 OK", "Content-Type: application/sdp\r\n", sdp
        if method == "SETUP":
            return "200 OK", "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""
        return "200 OK", "Session: 1\r\n", ""

    def _play(self, handler):
        begun = time.monotonic()
        for number, (due_s, marker, payload) in enumerate(self._clip.packets):
            time.sleep(max(0, begun + due_s - time.monotonic()))
            while self.stalled.is_set():
                time.sleep(0.02)
            header = struct.pack("!BBHII", 0x80, marker | self._clip.payload_type, number & 0xFFFF, int(due_s * TICKS_PER_S), 1)
            packet = header + payload
            try:
                handler.wfile.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
            except OSError:
                return
