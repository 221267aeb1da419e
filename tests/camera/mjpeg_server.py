"""A small real camera server: MJPEG over HTTP on localhost, which can stall, hang up, refuse and come back."""

import base64
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

BOUNDARY = b"frame"
MULTIPART = "multipart/x-mixed-replace; boundary=frame"


class MjpegServer:
    """Serves ``pictures`` (JPEG) again and again at ``fps``, or a picture whose red counts up.

    ``stalled`` keeps the connection and sends nothing; ``status`` is the answer. With ``login`` (``user:password``) it wants that,
    in the way of ``scheme``, of which it understands Basic only. ``page`` is sent in place of pictures. With ``tls`` it speaks HTTPS.
    ``bare`` pictures, of any format, follow one another with nothing between them.
    """

    def __init__(self, fps=30, status=200, port=0, pictures=(), *, login=None, scheme="Basic", page=b"", tls=None, bare=False):
        self.fps, self.status, self.pictures = fps, status, pictures
        self.login, self.scheme, self.page, self.bare = login, scheme, page, bare
        self.shown = []
        self.stalled = threading.Event()
        self.connections = 0
        self._closing = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server._serve(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        if tls:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/video"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        """Hang up and listen no more."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()

    def _serve(self, handler):
        self.connections += 1
        shown = handler.headers.get("Authorization", "")
        self.shown.append(shown)
        if self.login and shown != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", f'{self.scheme} realm="camera"')
            handler.end_headers()
            return
        handler.send_response(self.status)
        handler.send_header("Content-Type", "text/html" if self.page else "video/x-unknown" if self.bare else MULTIPART)
        handler.end_headers()
        handler.wfile.write(self.page)
        if self.page or self.status != 200:
            return
        number = 0
        while not self._closing.wait(1 / self.fps):
            if self.stalled.is_set():
                continue
            jpeg = self.pictures[number % len(self.pictures)] if self.pictures else red(number % 256)
            head = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (BOUNDARY, len(jpeg))
            try:
                handler.wfile.write(jpeg if self.bare else head + jpeg + b"\r\n")
            except OSError:
                return
            number += 1


def red(strength, kind="jpg"):
    """A small JPEG, or other ``kind`` of picture, of one colour."""
    _, picture = cv2.imencode(f".{kind}", np.full((120, 160, 3), (0, 0, strength), np.uint8))
    return picture.tobytes()


def free_port():
    """A port on which nothing listens."""
    server = MjpegServer()
    server.close()
    time.sleep(0.05)
    return server.port
