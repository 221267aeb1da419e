"""``edge-node demo``: the whole node on this machine, with a broker of its own; prints what a subscriber gets."""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edge_node import log, paths
from edge_node.client import Client
from edge_node.commands.argument_types import duration_s
from edge_node.commands.settings_arguments import overrides_of
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.data import People, Person
from edge_node.errors import EXIT_FAILED, EXIT_OK, EdgeNodeError, ModelError
from edge_node.fetch import Advice, advice, fetch, mirror_folder
from edge_node.interrupt import ended_in_order_when_terminated
from edge_node.local_broker import local_broker
from edge_node.models import MARKER, ModelFile, entry, find_model
from edge_node.pose.skeleton import INDEX
from edge_node.worker import Worker

MODEL = "movenet-lightning"
SAMPLE = ModelFile(
    file="squats.mp4",
    url="https://raw.githubusercontent.com/tensorflow/tfjs-models/f7e86d612969c0412a4a044c8d82d181bbc1ae5b/pose-detection/test_data/pose_squats.mp4",
    bytes=508341,
    sha256="ea9151e447b301985d5d65666551ef863b369a2e0f3a71ddd58abef2e722f96a",
)
"""One woman doing squats; from the test data of tfjs-models, Apache-2.0."""
MODEL_ADVICE = advice(mirror=None, folder="--directory")
SAMPLE_ADVICE = Advice("give a clip of your own with --source", "give a clip of your own with --source")
DRAWN = "synthetic"
DRAWN_S = 10.0
PRINT_S = 0.5
LAST_POSE_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--source", metavar="SOURCE", help="clip or camera to use (default: a sample clip, fetched once)")
    parser.add_argument("--directory", type=Path, metavar="DIR", help="folder of the model files (default: this node's own)")
    parser.add_argument(
        "--seconds",
        type=duration_s,
        metavar="S",
        help="end so long after the first pose (default: at the end of the clip; 10 s without one)",
    )
    parser.add_argument("--page", action="store_true", help="also serve the live page")


def run(arguments: argparse.Namespace) -> int:
    """Run the demonstration; 1 when no pose with a person in it arrived."""
    model, source = _real_parts(arguments)
    seconds = arguments.seconds or (DRAWN_S if _is_drawn(source) else None)
    with ended_in_order_when_terminated(), local_broker() as port:
        values = {
            "camera.source": source,
            "camera.realtime": True,
            "model.name": model,
            "model.directory": str(arguments.directory) if arguments.directory else None,
            "node.name": "demo",
            "mqtt.host": "127.0.0.1",
            "mqtt.port": port,
            "web.enabled": arguments.page,
        }
        settings = Settings(lambda: load(None, os.environ, overrides_of(values)))
        log.configure(settings.current.log)
        print(f"\nSubscribe from another terminal:  mosquitto_sub -p {port} -t 'edge_node/v1/demo/#' -v", flush=True)
        print(f"or see every node at a glance:    edge-node watch --port {port}\n", flush=True)
        return _run_node(settings, port, seconds)


def _run_node(settings: Settings, port: int, seconds: float | None) -> int:
    from edge_node.node import Node, Wish  # noqa: PLC0415 - the words above come first, the heavy imports then

    node = Node(settings)
    timer = threading.Timer(seconds or 0, node.ask, [Wish.STOP])
    timer.daemon = True
    subscriber = _Subscriber(port, timer.start if seconds else lambda: None, on_failure=lambda: node.ask(Wish.STOP))
    with subscriber:
        code = node.run()
        timer.cancel()
    if subscriber.error is not None:  # nobody reads what is printed any more, or the broker is gone
        raise subscriber.error
    print(f"\n{subscriber.poses} poses arrived, {subscriber.with_people} of them with people, p50 age {subscriber.age_ms:.0f} ms.")
    if code == EXIT_OK and subscriber.with_people == 0:
        print("Nobody was seen.", file=sys.stderr)
        return EXIT_FAILED
    return code


class _Subscriber:
    """Prints what arrives at the broker, twice a second. Calls ``on_first`` when the first pose is there, and ``on_failure`` when it
    cannot go on.
    """

    def __init__(self, port: int, on_first: Callable[[], None], on_failure: Callable[[], None]) -> None:
        self._on_first, self._on_failure = on_first, on_failure
        self._client = Client("127.0.0.1", port)
        self._worker = Worker("demo-subscriber", self._listen, self._ended)
        self._ages_ms: list[float] = []
        self._stopped = threading.Event()
        self.poses = 0
        self.with_people = 0
        self.error: BaseException | None = None

    @property
    def age_ms(self) -> float:
        """Median time from capture to here."""
        return sorted(self._ages_ms)[len(self._ages_ms) // 2] if self._ages_ms else 0.0

    def __enter__(self) -> "_Subscriber":
        self._client.__enter__()
        self._worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._worker.join(LAST_POSE_S + 1)
        self._client.close()

    def _listen(self) -> None:
        printed_s = 0.0
        while not self._stopped.is_set():
            for _, people in self._client.poses(timeout_s=0.2):
                if self.poses == 0:
                    self._on_first()
                self.poses += 1
                self.with_people += bool(people.people)
                self._ages_ms.append((time.monotonic_ns() - people.captured_ns) / 1e6)
                if time.monotonic() - printed_s >= PRINT_S:
                    printed_s = time.monotonic()
                    print(_line(people), flush=True)

    def _ended(self, error: BaseException | None) -> None:
        if error is not None:
            self.error = error
            self._on_failure()


def _line(people: People) -> str:
    return f"frame {people.seq:5d}  {people.accelerator}  " + ("   ".join(map(_person, people.people)) or "nobody")


def _person(person: Person) -> str:
    x, y, _ = person.keypoints[INDEX["nose"]]
    return f"person {person.id}: score {person.score:.2f}, nose at ({x:.2f}, {y:.2f})"


def _real_parts(arguments: argparse.Namespace) -> tuple[str, str]:
    """Model and source: the real ones where they are or can be fetched, else the built-in ones; says which."""
    if arguments.source and _is_drawn(arguments.source):  # the real model sees nobody in it
        print(f"This is the built-in marker model on the drawn scene, {arguments.source}.")
        return MARKER, str(arguments.source)
    try:
        _have_model(arguments.directory)
        source = arguments.source or str(_sample_clip())
    except EdgeNodeError as error:
        if arguments.source:
            raise
        print(f"{error}\nSo this is the built-in synthetic scene with the built-in marker model: no network, no files, no real people.")
        return MARKER, DRAWN
    print(f"This is the real model {MODEL} on {source}.")
    return MODEL, source


def _is_drawn(source: str) -> bool:
    """Whether it is the drawn scene, however that is to look; not a clip of a similar name."""
    return source.partition("?")[0] == DRAWN


def _have_model(directory: Path | None) -> None:
    try:
        find_model(MODEL, str(directory) if directory else None)
    except ModelError:
        print(f"Fetching the model {MODEL} …", flush=True)
        folder = paths.models_directory(str(directory) if directory else None)
        fetch(entry(MODEL).files["cpu"], folder, mirror_folder(None), lambda *_: None, MODEL_ADVICE)


def _sample_clip() -> Path:
    print("Fetching a sample clip …", flush=True)
    return fetch(SAMPLE, paths.cache_directory() / "clips", None, lambda *_: None, SAMPLE_ADVICE)
