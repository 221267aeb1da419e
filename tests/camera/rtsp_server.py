"""A small real RTSP camera on localhost: MPEG-TS in RTP, interleaved in the RTSP connection (RFC 2326, 2250). One client at a time gets
the whole clip in real time, from its beginning; with ``user`` it wants a login (basic)."""

import base64
import re
import socketserver
import struct
import threading
import time

import cv2
import numpy as np

TS_PACKET = 188
PACKETS_PER_RTP = 7


def write_transport_stream(path, frames, fps=25, size=(160, 120)):
    """A clip whose grey counts up, in a transport stream."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
    assert writer.isOpened()
    for shade in range(frames):
        writer.write(np.full((size[1], size[0], 3), shade % 250, np.uint8))
    writer.release()


class RtspServer:
    def __init__(self, clip, seconds, user=None):
        self._data, self._seconds, self._user = clip.read_bytes(), seconds, user
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
            sdp = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=clip\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:track1\r\n"
            return "200 OK", "Content-Type: application/sdp\r\n", sdp
        if method == "SETUP":
            return "200 OK", "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""
        return "200 OK", "Session: 1\r\n", ""

    def _play(self, handler):
        step = TS_PACKET * PACKETS_PER_RTP
        begun = time.monotonic()
        for number, start in enumerate(range(0, len(self._data), step)):
            due = begun + self._seconds * start / len(self._data)
            time.sleep(max(0, due - time.monotonic()))
            while self.stalled.is_set():
                time.sleep(0.02)
            payload = self._data[start : start + step]
            header = struct.pack("!BBHII", 0x80, 33, number & 0xFFFF, int((due - begun) * 90_000), 1)
            packet = header + payload
            try:
                handler.wfile.write(struct.pack("!cBH", b"$", 0, len(packet)) + packet)
            except OSError:
                return
