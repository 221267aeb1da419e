"""The synthetic scene as a live camera: one picture each 1 / ``camera.fps`` s, whether anybody takes it or not."""

import time

import cv2

from edge_node.camera import source
from edge_node.camera.figures import Scene
from edge_node.camera.opencv import FLIP_CODES
from edge_node.camera.pool import ImagePool
from edge_node.camera.stamps import NS_PER_S, sleep_until
from edge_node.config.models import Camera as CameraSettings
from edge_node.data import Frame


class SyntheticCamera:
    """Frame ``seq`` shows the scene at ``seq / camera.fps`` seconds. A picture that comes too late is left out, as a real camera would."""

    live = True
    due_ns = 0

    def __init__(self, scene: source.Synthetic, settings: CameraSettings, first_seq: int) -> None:
        self._settings = settings
        self._scene = Scene(settings.width, settings.height, scene.people, scene.seed, bool(scene.marks))
        self._interval_ns = round(NS_PER_S / settings.fps)
        self._seq = first_seq
        self._started_ns = time.monotonic_ns() - first_seq * self._interval_ns
        self._flip = FLIP_CODES.get((settings.hflip, settings.vflip))
        self._pool = ImagePool()
        self.description = f"synthetic {settings.width}x{settings.height} {settings.fps:g} fps, {scene.people} people, seed {scene.seed}"

    def read(self) -> Frame | None:
        """The next picture, when it is due; captured when it was due."""
        seq, due_ns = self._next()
        image = self._pool.take(self._settings.height, self._settings.width)
        self._scene.render(seq / self._settings.fps, image)
        if self._flip is not None:
            cv2.flip(image, self._flip, dst=image)
        ts = time.time() - (time.monotonic_ns() - due_ns) / NS_PER_S
        return Frame(image=image, seq=seq, captured_ns=due_ns, media_ns=due_ns, ts=ts)

    def skip(self) -> bool:
        self._next()
        return True

    def _next(self) -> tuple[int, int]:
        """Wait for the next picture; its number and when it was due."""
        newest = (time.monotonic_ns() - self._started_ns) // self._interval_ns
        seq = max(self._seq, newest)
        self._seq = seq + 1
        due_ns = self._started_ns + seq * self._interval_ns
        sleep_until(due_ns)
        return seq, due_ns

    def close(self) -> None:
        """Nothing is held."""
