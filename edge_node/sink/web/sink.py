"""The live page as a sink: poses go to whoever looks, and nothing is encoded while nobody does."""

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import orjson

from edge_node import __version__
from edge_node.address import address
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import Image, People, Region
from edge_node.health import Health
from edge_node.paths import secret
from edge_node.pose.skeleton import EDGES, KEYPOINTS
from edge_node.sink.messages import pose
from edge_node.sink.mqtt_node import About
from edge_node.sink.web.access import Access, is_loopback
from edge_node.sink.web.requests import Requests, described_keys
from edge_node.sink.web.server import PageServer, Viewer

log = logging.getLogger(__name__)

HEALTH_PERIOD_S = 1.0
POSE_PERIOD_S = 0.025
"""A screen shows no more than this; a clip that is processed faster is thinned out."""
IMAGE_WIDTH_PX = 640
LARGEST_JPEG_PX = 65_500
"""So many rows are the most that can be encoded."""
JPEG_QUALITY = 70


class WebSink:
    """Serves the live page while the node runs."""

    name = "web"

    def __init__(self, settings: Settings, health: Health, about: Callable[[], About], file: Path | None = None) -> None:
        """``about`` says which model and camera are at work. ``file``: the configuration to save to."""
        self._settings = settings
        self._health = health
        self._about = about
        self._config = settings.current.web
        self._requests = Requests(settings, file)
        self._server = PageServer(self._config, Access(self._config, self._token()), self._hello, self._requests.handle)
        self._told: Config | None = None
        self._next_health = self._next_pose = 0.0

    def start(self) -> None:
        """Listen. Raises ``SinkError`` when the port is taken or a certificate cannot be used."""
        port = self._server.start()
        scheme = "https" if self._config.certificate_file else "http"
        log.info("live page: %s://%s/", scheme, address(self._config.host, port))
        self._health.fact("web_port", port)

    def deliver(self, people: People) -> None:
        """Send one frame's people, and the picture to who wants it."""
        viewers = self._server.viewers
        now = time.monotonic()
        if not viewers or now < self._next_pose:
            return
        self._next_pose = max(self._next_pose + POSE_PERIOD_S, now)
        message = orjson.dumps(_pose_message(people)).decode()
        self._spread("pose", message, viewers)
        watching = frozenset(viewer for viewer in viewers if viewer.wants_image and not viewer.has("image"))
        if watching and people.image is not None:
            self._health.count("web_jpeg_encoded")
            self._spread("image", people.seq.to_bytes(8, "big") + _jpeg(people.image), watching)

    def flush(self) -> None:
        """Nothing is held back."""

    def tick(self) -> None:
        """Health once a second, settings when they changed."""
        viewers = self._server.viewers
        current = self._settings.current
        if current is not self._told:
            self._told = current
            keys = described_keys(current, self._settings.overlay)
            self._spread("settings", orjson.dumps({"type": "settings", "keys": keys}).decode(), viewers)
        if viewers and time.monotonic() >= self._next_health:
            self._next_health = time.monotonic() + HEALTH_PERIOD_S
            self._spread("health", self._health_message(len(viewers)), viewers)

    def finish(self, drain: bool) -> None:  # noqa: ARG002 - viewers see the newest; there is nothing to drain
        """Close every page."""
        self._server.stop()

    def stop_waiting(self) -> None:
        """It never waits."""

    def _spread(self, kind: str, message: str | bytes, viewers: frozenset[Viewer]) -> None:
        def put() -> None:
            for viewer in viewers:
                viewer.put(kind, message)

        self._server.call(put)

    def _hello(self) -> str:
        current, about = self._settings.current, self._about()
        hello: dict[str, Any] = {
            "type": "hello",
            "facts": {
                "node": current.node.name,
                "version": __version__,
                "model": about.model_name,
                "engine": about.engine,
                "camera": about.camera,
            },
            "keypoints": KEYPOINTS,
            "edges": EDGES,
            "show_image": self._config.show_image,
            "can_tune": self._config.allow_tuning,
            "keys": described_keys(current, self._settings.overlay),
        }
        return orjson.dumps(hello).decode()

    def _health_message(self, viewers: int) -> str:
        return orjson.dumps({"type": "health", "viewers": viewers, **_plain(asdict(self._health.report()))}).decode()

    def _token(self) -> str | None:
        """The token viewers need: the one given, else none on loopback and a new one, shown once in the log, beyond it."""
        given = secret("web-token")
        if is_loopback(self._config.host):
            return given
        if self._config.certificate_file is None:
            log.warning("live page: served in clear on %s; give web.certificate_file to encrypt it", self._config.host)
        if given is None:
            given = secrets.token_urlsafe(18)
            log.warning("live page: open it once with ?token=%s (set credential edge-node.web-token to choose your own)", given)
        return given


def _pose_message(people: People) -> dict[str, Any]:
    return {
        "type": "pose",
        "pose": pose(people),
        "regions": [_region(region, people.width_px, people.height_px) for region in people.regions],
        "stage_ms": {stage: round(ms, 2) for stage, ms in people.stage_ms.items()},
        "captured_wall_ms": (time.time_ns() - (time.monotonic_ns() - people.captured_ns)) / 1e6,
    }


def _region(region: Region, width_px: int, height_px: int) -> list[float]:
    """x, y, width, height, normalised to the frame."""
    sides = (region.left_px / width_px, region.top_px / height_px, region.side_px / width_px, region.side_px / height_px)
    return [round(side, 4) for side in sides]


def _jpeg(image: Image) -> bytes:
    height_px, width_px = image.shape[:2]
    scale = min(1.0, IMAGE_WIDTH_PX / width_px, LARGEST_JPEG_PX / height_px)
    small = cv2.resize(image, (max(1, round(scale * width_px)), max(1, round(scale * height_px))), interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)


def _plain(report: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in report.items()}
