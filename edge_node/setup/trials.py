"""Each answer is tried on the real thing before it is written down. A trial returns one line on what it found, or raises."""

import secrets
import time

from edge_node.camera.factory import open_camera
from edge_node.camera.source import shown
from edge_node.config.models import Camera as CameraSettings
from edge_node.config.models import Config, Model, Mqtt
from edge_node.config.settings import Settings
from edge_node.data import Frame
from edge_node.engine.create import create_engine
from edge_node.errors import CameraError, SinkError
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.sink.mqtt_link import Link, tls_context
from edge_node.sink.mqtt_session import Login, Session
from edge_node.sink.outgoing import Incoming

BROKER_S = 12.0
"""Longer than a connection attempt with all its own time limits."""
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
    if wanted.accelerator == "edgetpu":
        wanted = Model.model_validate({**wanted.model_dump(), "require_edgetpu": True})
    engine = create_engine(wanted, health)
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


def try_broker(config: Mqtt, password: str | None) -> str:
    """The broker takes us, and what it is spoken to in. Raises ``SinkError`` with the reason it does not."""
    health = Health()
    name = f"edge_node-setup-{secrets.token_hex(4)}"
    login = Login(name, config.username, password, tls_context(config), config.keepalive_s, f"{name}/gone", b"", f"{name}/probe")
    link = Link(config, login, _Nobody(), health)
    link.start()
    try:
        deadline = time.monotonic() + BROKER_S
        while time.monotonic() < deadline:
            session = link.session
            if session is not None:
                return f"took the login: MQTT {session.protocol}{', encrypted' if login.tls else ''}"
            if "mqtt" in health.problems():
                raise SinkError(health.problems()["mqtt"])
            time.sleep(0.05)
    finally:
        link.stop(1.0)
    raise SinkError(f"the broker at {config.host}:{config.port} gave no answer within {BROKER_S:.0f} s")


class _Nobody:
    """Hears nothing: the trial only logs in."""

    def acknowledged(self, session: Session, message_id: int) -> None:
        del session, message_id

    def answered(self, session: Session) -> None:
        del session

    def received(self, message: Incoming) -> None:
        del message
