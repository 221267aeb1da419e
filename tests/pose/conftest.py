"""The real model on the real engine, and frames of the real clips."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_node.config.load import override
from edge_node.config.models import Config, Model
from edge_node.config.settings import Settings
from edge_node.data import Frame, Image, People
from edge_node.engine.cpu import CpuEngine, open_cpu_engine
from edge_node.health import Health
from edge_node.pose.estimator import Estimator


@pytest.fixture(scope="session")
def engine(shared) -> Iterator[CpuEngine]:
    engine = open_cpu_engine(Model(name=str(shared.models / "movenet_single_pose_lightning_ptq.tflite"), threads=2))
    yield engine
    engine.close()


def read_image(path: Path) -> Image:
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


def clip(path: Path, first: int = 0, last: int = 10_000, step: int = 1) -> Iterator[Frame]:
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    for number in range(last):
        if not capture.grab():
            return
        if number >= first and (number - first) % step == 0:
            image = np.ascontiguousarray(capture.retrieve()[1][:, :, ::-1])
            media_ns = round((number + 1) / fps * 1e9)
            yield Frame(image, number, media_ns, media_ns, media_ns / 1e9)


def estimator(engine, **keys) -> Estimator:
    return Estimator(engine, Settings(lambda: override(Config(), keys)), Health())


def followed(engine, frames, **keys) -> list[People]:
    node = estimator(engine, **keys)
    return [node.process(frame) for frame in frames]


def identities(people: list[People]) -> set[int]:
    return {person.id for frame in people for person in frame.people}
