"""Each answer is tried on the real thing before it is written down. A trial returns one line on what it found, or raises."""

import time

from edge_node.camera.factory import open_camera
from edge_node.camera.source import shown
from edge_node.config.models import Camera as CameraSettings
from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import Frame
from edge_node.engine.create import create_engine, create_unmixed_engine
from edge_node.errors import CameraError
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.sink.mqtt_trial import try_login

LOOKS = 5


def try_camera(settings: CameraSettings) -> tuple[str, Frame]:
    """What the camera gives, and one picture of it. Raises ``CameraError``."""
    camera = open_camera(settings)
    try:
        frame = camera.read()
    finally:
        camera.close()
    if frame is None:
        raise CameraError(f"{shown(settings.source)}: there is no picture in it")
    return f"gives pictures: {camera.description}", frame


def try_model(config: Config, frame: Frame) -> str:
    """The accelerator at work on a picture of the camera. Raises ``ModelError``, ``EngineError``."""
    health = Health()
    wanted = config.model
    engine = create_unmixed_engine(wanted) if wanted.expects_edgetpu else create_engine(wanted, health)
    try:
        estimator = Estimator(engine, Settings(lambda: config), health)
        started = time.perf_counter()
        for _ in range(LOOKS):
            people = estimator.process(frame)
        each_ms = (time.perf_counter() - started) * 1e3 / LOOKS
    finally:
        engine.close()
    seen = {0: "nobody", 1: "one person"}.get(len(people.people), f"{len(people.people)} people")
    return f"works: {each_ms:.0f} ms a picture on the {people.accelerator}, {seen} in view"


def try_broker(config: Config, password: str | None) -> str:
    """A broker takes us, and what it is spoken to in. Raises ``SinkError`` with the reason of each that does not."""
    taken = try_login(config, "setup", password)
    found = f"took the login: MQTT {taken.session.protocol}{', encrypted' if config.mqtt.tls.enabled else ''}"
    return f"{'; '.join(taken.refusals)}; the fallback {taken.session.place} {found}" if taken.refusals else found
