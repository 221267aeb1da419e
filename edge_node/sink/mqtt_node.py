"""What the node says of itself: ``status``, ``info`` and ``health``."""

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from edge_node import __version__
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.health import NODE, Health
from edge_node.pose.skeleton import EDGES, KEYPOINTS
from edge_node.sink import messages
from edge_node.sink.messages import SCHEMA_ID, VERSION, encode, topic
from edge_node.sink.outgoing import Incoming, Outgoing

STATUS_INTERVAL_S = 1.0
INFO_INTERVAL_S = 1.0
FIRST_HEALTH_S = 5.0
HEALTH_OUTLIVES = 3
"""A health message expires after so many intervals: its absence means something."""


@dataclass(frozen=True, slots=True)
class About:
    """What ``info`` says of this run, besides what is known anyway."""

    model_name: str
    model_sha256: str
    engine: str
    camera: str


def health_expiry_s(interval_s: float) -> int:
    """When a health message of a node that says one every ``interval_s`` expires."""
    return max(int(HEALTH_OUTLIVES * interval_s), 10)


class NodeSpeaker:
    """Speaks for the node. ``about`` is asked about once a second; ``boot`` is the same in all messages of this run."""

    subscriptions = ()

    def __init__(self, settings: Settings, health: Health, about: Callable[[], About]) -> None:
        self._settings = settings
        self._health = health
        self._about = about
        self.boot = uuid.uuid4().hex
        self._problems: dict[str, str] | None = None
        self._info: messages.Info | None = None
        self._status_due_s = self._info_due_s = self._health_due_s = 0.0
        self._health_is_first = True

    def will(self) -> bytes:
        """What the broker is to say when it loses the node."""
        return encode(self._status("offline"))

    def connected(self) -> Iterable[Outgoing]:
        self._problems = self._info = None
        self._status_due_s = self._info_due_s = self._health_due_s = 0.0
        self._health_is_first = True
        return self.tick()

    def saw(self, people: People) -> Iterable[Outgoing]:  # noqa: ARG002 - nothing to say of a single frame
        return ()

    def tick(self) -> Iterable[Outgoing]:
        now_s = time.monotonic()
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + STATUS_INTERVAL_S
            yield from self._status_if_changed()
        if now_s >= self._info_due_s:
            self._info_due_s = now_s + INFO_INTERVAL_S
            yield from self._info_if_changed()
        if now_s >= self._health_due_s:
            interval_s = self._settings.current.mqtt.health_interval_s
            # The first after connecting may be of a node that has just begun: the next comes soon.
            self._health_due_s = now_s + (min(interval_s, FIRST_HEALTH_S) if self._health_is_first else interval_s)
            self._health_is_first = False
            yield self._outgoing("health", encode(self._health_now()), 0, health_expiry_s(interval_s))

    def heard(self, message: Incoming) -> Iterable[Outgoing]:  # noqa: ARG002 - nothing is asked of it
        return ()

    def finish(self) -> Iterable[Outgoing]:
        status: messages.Status = {**self._status("offline"), "ts": _now()}
        if NODE not in self._health.problems():
            status["reason"] = "stopped"
        return [self._outgoing("status", encode(status), 1)]

    def _status_if_changed(self) -> Iterable[Outgoing]:
        problems = self._health.problems()
        if problems != self._problems:
            self._problems = problems
            yield self._outgoing("status", encode({**self._status("online"), "ts": _now(), "problems": problems}), 1)

    def _info_if_changed(self) -> Iterable[Outgoing]:
        info = self._info_now()
        if self._info is None or {**info, "ts": 0} != {**self._info, "ts": 0}:
            self._info = info
            yield self._outgoing("info", encode(info), 1)

    def _outgoing(self, suffix: str, payload: bytes, qos: Literal[0, 1], expiry_s: int | None = None) -> Outgoing:
        return Outgoing(topic(self._settings.current.node.name, suffix), payload, qos, retain=True, expiry_s=expiry_s)

    def _status(self, state: Literal["online", "offline"]) -> messages.Status:
        return {"v": VERSION, "state": state, "boot": self.boot, "version": __version__}

    def _info_now(self) -> messages.Info:
        config = self._settings.current
        about = self._about()
        return {
            "v": VERSION,
            "ts": _now(),
            "node": config.node.name,
            "boot": self.boot,
            "version": __version__,
            "model": {"name": about.model_name, "sha256": about.model_sha256},
            "accelerator": self._health.accelerator or "cpu",
            "engine": about.engine,
            "camera": about.camera,
            "keypoints": list(KEYPOINTS),
            "skeleton": [[int(a), int(b)] for a, b in EDGES],
            "format": config.mqtt.format,
            "schema": SCHEMA_ID,
            "config_hash": hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16],
        }

    def _health_now(self) -> messages.Health:
        report = self._health.report()
        return {
            "v": VERSION,
            "ts": _now(),
            "boot": self.boot,
            "uptime_s": round(report.uptime_s, 1),
            "fps": round(report.fps, 2),
            "frames": report.frames,
            "people": report.people,
            "accelerator": report.accelerator or "cpu",
            "stages": {name: {"p50_ms": p.p50_ms, "p99_ms": p.p99_ms, "max_ms": p.max_ms} for name, p in report.stages.items()},
            "counters": dict(report.counters),
            "facts": dict(report.facts),
            "problems": dict(report.problems),
        }


def _now() -> float:
    return round(time.time(), 3)
