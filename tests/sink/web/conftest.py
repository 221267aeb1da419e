"""A live page with hand-made people, for the tests around it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_node.config.files import commented_yaml
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import People, Person, Region
from edge_node.health import Health
from edge_node.sink.mqtt_node import About
from edge_node.sink.web.sink import POSE_PERIOD_S, WebSink

ABOUT = About("movenet-lightning", "0" * 64, "an engine", "a made-up scene")


@dataclass
class Page:
    """A sink that serves, and what is behind it."""

    sink: WebSink
    settings: Settings
    health: Health
    port: int
    file: Path

    def show(self, people: People) -> None:
        time.sleep(POSE_PERIOD_S)  # more often than this, viewers are not told
        self.sink.deliver(people)
        self.sink.tick()


def standing(seq: int, x: float = 0.5, image: Any = None, count: int = 1) -> People:
    """``count`` people side by side around ``x``, every joint at a place of its own."""
    everyone = []
    for number in range(count):
        keypoints = np.ones((17, 3), np.float32)
        keypoints[:, 0] = x + 0.2 * number + 0.05 * np.sin(np.arange(17))
        keypoints[:, 1] = np.linspace(0.2, 0.8, 17)
        box = (float(keypoints[:, 0].min()), 0.2, float(keypoints[:, 0].max()), 0.8)
        everyone.append(Person(id=number + 1, score=0.9, box=box, keypoints=keypoints))
    now_ns = time.monotonic_ns()
    return People(
        seq=seq,
        captured_ns=now_ns,
        media_ns=now_ns,
        ts=time.time(),
        width_px=640,
        height_px=480,
        accelerator="cpu",
        people=tuple(everyone),
        regions=(Region(100, 50, 300),),
        stage_ms={"invoke": 4.0, "decode": 0.2},
        image=image,
    )


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Start pages; ``serve("web.show_image=true", token="…")``."""
    started: list[WebSink] = []
    file = tmp_path / "edge-node.yaml"

    def start(*overrides: str, token: str | None = None, state: Path | None = None) -> Page:
        if token is not None:
            monkeypatch.setenv("EDGE_NODE_WEB_TOKEN", token)
        file.write_text(commented_yaml())
        settings = Settings(lambda: load(file, {}, ["node.name=hall", "web.enabled=true", "web.port=0", *overrides]), state)
        health = Health()
        sink = WebSink(settings, health, lambda: ABOUT, file)
        sink.start()
        started.append(sink)
        return Page(sink, settings, health, int(health.report().facts["web_port"]), file)

    yield start
    for sink in started:
        sink.finish(drain=False)


@pytest.fixture(name="standing")
def _standing() -> Callable[..., People]:
    return standing
