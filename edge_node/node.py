"""The whole system on one page: what is started in which order, which thread hands what to which, and how it all ends.

    camera ──► Latest[Frame] ──► estimator ──► a slot per sink ──► mqtt, record, web
    (thread)     newest only      (thread)                        (a thread each)

The main thread starts everything, then waits for what comes: a signal, the end of a file, the failure of a thread.
"""

import contextlib
import logging
import queue
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path
from types import FrameType

from edge_node import log as logging_setup
from edge_node import soc
from edge_node.camera.capture import Capture
from edge_node.camera.source import shown
from edge_node.config.settings import Settings
from edge_node.data import Frame
from edge_node.engine.create import create_engine
from edge_node.errors import EXIT_FAILED, EXIT_OK, ConfigError, EdgeNodeError, SinkError
from edge_node.health import NODE, Health
from edge_node.memory import give_back, settle
from edge_node.models import find_model
from edge_node.pose.estimator import Estimator
from edge_node.sink import Sink
from edge_node.sink.mqtt_node import About
from edge_node.sink.thread import SinkThread
from edge_node.slot import Latest
from edge_node.status_socket import StatusSocket
from edge_node.systemd import Notifier
from edge_node.worker import Worker

log = logging.getLogger(__name__)

TICK_S = 1.0
STOP_S = 1.5
"""A stopped node is gone within two seconds; so long may its threads take together."""
DRAIN_S = 60.0
"""At the end of a file the last poses may take so long to be delivered."""
LOOK_S = 0.02
"""So often it is looked whether they were."""
GIVE_BACK_S = 60.0
"""So often freed memory is given back to the system."""


class Wish(Enum):
    """What the main thread is asked for."""

    STOP = auto()
    RESTART = auto()
    RELOAD = auto()
    END_OF_INPUT = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """A thread ended with an error."""

    thread: str
    error: BaseException


class Node:
    """One node: made from its settings, run once, on the main thread."""

    def __init__(self, settings: Settings, frame_limit: int | None = None, file: Path | None = None) -> None:
        """``frame_limit``: end after so many frames. ``file``: the configuration file, to which viewers may save."""
        self._settings = settings
        self._frame_limit = frame_limit
        self._file = file
        self._health = Health()
        self._notifier = Notifier()
        # A SimpleQueue, because its put is safe in a signal handler.
        self._inbox: queue.SimpleQueue[Wish | Failure] = queue.SimpleQueue()
        self._stop_asked = False  # for the same reason no Event
        self._frames: Latest[Frame] = Latest()
        self._sinks: list[SinkThread] = []
        self._logging = settings.current.log
        self._gave_back_s = time.monotonic()
        web = settings.current.web
        self._wants_pictures = web.enabled and web.show_image
        self.restart_wanted = False

    @property
    def health(self) -> Health:
        """What the node knows of itself."""
        return self._health

    def ask(self, wish: Wish) -> None:
        """Ask the node for something, from any thread or signal handler."""
        if wish is Wish.STOP:
            self._stop_asked = True
        self._inbox.put(wish)

    def run(self) -> int:
        """Start everything, wait, stop everything; returns the exit code. Raises ``EdgeNodeError`` when it cannot start."""
        config = self._settings.current
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._signals())
            stack.enter_context(StatusSocket(config.node.name, self._health, self._file))
            capture = Capture(config.camera, self._frames, self._health, alive=self._notifier.watchdog)
            model = find_model(config.model.name, config.model.directory)
            live = not capture.lossless
            engine = create_engine(config.model, self._health, live=live, give_up=lambda: self._stop_asked)
            stack.callback(engine.close)
            log.info("model: %s, %s", model.name, engine.description)
            self._start_sinks(lambda: About(model.name, model.sha256, engine.description, self._camera()), capture.lossless)
            estimator = Estimator(engine, self._settings, self._health, live=live, prepare_next=self._frames.make_room)
            workers = [
                Worker("estimator", lambda: self._estimate(estimator), lambda error: self._ended("estimator", error)),
                Worker("camera", lambda: capture.run(estimator.wanted_from_ns), lambda error: self._ended("camera", error)),
            ]
            settle()
            for worker in workers:
                worker.start()
            self._notifier.allow_silence(capture.silent_at_most_s)
            self._notifier.ready()
            ending = self._wait()
            capture.stop()
            if ending is Wish.END_OF_INPUT:
                ending = self._drain()
            if ending is not Wish.RESTART:  # systemd would wait for the end of this process, and kill what it became
                self._notifier.stopping()
            self._stop(workers)
        return self._exit_code(ending, self._failures())

    def _start_sinks(self, about: Callable[[], About], lossless: bool) -> None:
        try:
            for sink, waited_for in self._wanted_sinks(about, lossless):
                thread = SinkThread(sink, self._health, waited_for, self._failed(sink.name))
                thread.start()
                self._sinks.append(thread)
        except EdgeNodeError:
            self._stop([])
            raise

    def _wanted_sinks(self, about: Callable[[], About], lossless: bool) -> Iterator[tuple[Sink, bool]]:
        """The sinks the configuration asks for, each imported only then (that keeps the start short), and whether the loop waits for it."""
        config = self._settings.current
        if config.mqtt.enabled:
            from edge_node.sink.mqtt import mqtt_sink  # noqa: PLC0415 - only what is asked for

            actions = {"restart": lambda: self.ask(Wish.RESTART)}
            waiting = self._notifier.watchdog  # of a file; a live camera waits for no broker
            sink = mqtt_sink(self._settings, self._health, about, lossless=lossless, actions=actions, waiting=waiting)
            yield sink, lossless
        if config.record.path:
            from edge_node.sink.record import RecordSink  # noqa: PLC0415 - the same

            yield RecordSink(config.record, self._health), lossless
        if config.web.enabled:
            from edge_node.sink.web.sink import WebSink  # noqa: PLC0415 - the same

            yield WebSink(self._settings, self._health, about, self._file), False

    def _camera(self) -> str:
        return str(self._health.fact_of("camera") or shown(self._settings.current.camera.source))

    def _estimate(self, estimator: Estimator) -> None:
        """The estimator's thread: each frame becomes people, and people go to every sink."""
        done = 0
        while done != self._frame_limit:
            frame = self._frames.get(keep_room=True)
            if frame is None:
                continue
            if not estimator.wants(frame):
                self._notifier.watchdog()
                continue
            people = estimator.process(frame)
            if self._wants_pictures:
                people = replace(people, image=frame.image)
            for sink in self._sinks:
                sink.offer(people)
            self._notifier.watchdog()
            done += 1

    def _wait(self) -> Wish | Failure:
        """Serve reloads and the clock until something ends the node."""
        while True:
            try:
                message = self._inbox.get(timeout=TICK_S)
            except queue.Empty:
                self._tick()
                continue
            if message is not Wish.RELOAD:
                return message
            self._reload()

    def _tick(self) -> None:
        health = self._health  # a whole report takes milliseconds, in which a pose would wait
        self._notifier.status(f"{health.fps():.1f} fps on {health.accelerator or 'nothing yet'}, {health.people} people")
        health.fact("soc_temperature_c", soc.temperature_c())
        throttling = soc.throttling()
        if throttling:
            health.fact("under_voltage", throttling.under_voltage)
            health.fact("throttled", throttling.slowed)
        wanted = self._settings.current.log
        if wanted != self._logging:
            self._logging = wanted
            logging_setup.configure(wanted)
        if time.monotonic() - self._gave_back_s >= GIVE_BACK_S:
            self._gave_back_s = time.monotonic()
            give_back()

    def _reload(self) -> None:
        self._notifier.reloading()
        try:
            reloaded = self._settings.reload()
        except ConfigError as error:
            log.error("the configuration was not reloaded, what was in force stays so:\n%s", error)
        else:
            log.info("configuration reloaded: %s", ", ".join(reloaded.applied) or "nothing changed")
            if reloaded.tuned:
                log.warning("tuned values stand over the file's for these keys (edge-node config reset KEY): %s", ", ".join(reloaded.tuned))
            if reloaded.needs_restart:
                log.warning("these keys wait for a restart: %s", ", ".join(reloaded.needs_restart))
        self._notifier.ready()

    def _drain(self) -> Wish | Failure:
        """At the end of a file: have every sink deliver what is at hand. Returns how that ended; being asked to stop ends it, too."""
        for sink in self._sinks:
            sink.stop(drain=True)
        deadline = time.monotonic() + DRAIN_S
        while any(sink.is_alive for sink in self._sinks):
            if time.monotonic() >= deadline:
                return _undelivered(f"not everything was delivered within {DRAIN_S:.0f} s of the end of the input")
            with contextlib.suppress(queue.Empty):
                message = self._inbox.get(timeout=LOOK_S)
                if message is not Wish.RELOAD:
                    log.warning("the end came before everything was delivered")
                    return message
        counters = self._health.report().counters
        if counters.get("record_lost"):
            return _undelivered(f"{counters['record_lost']} poses could not be recorded")
        if counters.get("mqtt_refused"):
            return _undelivered(f"{counters['mqtt_refused']} messages were larger than the broker takes")
        return Wish.END_OF_INPUT

    def _stop(self, workers: Sequence[Worker]) -> None:
        """End every thread soon."""
        deadline = time.monotonic() + STOP_S
        self._frames.close()
        for sink in self._sinks:
            sink.stop(drain=False)
        for join in (*(worker.join for worker in workers), *(sink.join for sink in self._sinks)):
            join(max(0.1, deadline - time.monotonic()))

    def _failed(self, thread: str) -> Callable[[BaseException], None]:
        return lambda error: self._fail(thread, error)

    def _fail(self, thread: str, error: BaseException) -> None:
        self._health.problem(NODE, f"the {thread} thread failed")
        self._inbox.put(Failure(thread, error))

    def _ended(self, thread: str, error: BaseException | None) -> None:
        if error is not None:
            self._fail(thread, error)
        elif thread == "estimator":
            self._inbox.put(Wish.END_OF_INPUT)

    def _failures(self) -> list[Failure]:
        """What else failed on the way to the end."""
        failures = []
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._inbox.get_nowait()
                if isinstance(message, Failure):
                    failures.append(message)
        return failures

    def _exit_code(self, ending: Wish | Failure, later: Sequence[Failure]) -> int:
        failures = [ending, *later] if isinstance(ending, Failure) else later
        for failure in failures:
            _say(failure)
        self.restart_wanted = ending is Wish.RESTART
        if not failures:
            return EXIT_OK
        return failures[0].error.exit_code if isinstance(failures[0].error, EdgeNodeError) else EXIT_FAILED

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT stop the node, SIGHUP reloads; what was there before is put back at the end."""
        wishes = {signal.SIGTERM: Wish.STOP, signal.SIGINT: Wish.STOP, signal.SIGHUP: Wish.RELOAD}

        def handle(number: int, _frame: FrameType | None) -> None:
            self.ask(wishes[signal.Signals(number)])

        before = {number: signal.signal(number, handle) for number in wishes}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _undelivered(text: str) -> Failure:
    return Failure("main", SinkError(text))


def _say(failure: Failure) -> None:
    if isinstance(failure.error, EdgeNodeError):
        log.error("%s", failure.error)
    else:
        log.critical("the %s thread failed", failure.thread, exc_info=failure.error)
