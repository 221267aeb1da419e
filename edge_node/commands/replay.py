"""``edge-node replay``: a recording once more, over MQTT, on the live page, or both, at any speed."""

import argparse
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from edge_node import log as logging_setup
from edge_node.commands.settings_arguments import add_settings_arguments, loader
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.errors import EXIT_OK, ClosedError, SinkError, UsageError
from edge_node.health import Health
from edge_node.recordings.read import can_be_read_again, first_message, people_of, read_recording
from edge_node.sink import Sink
from edge_node.sink.messages import Pose
from edge_node.sink.mqtt_node import About
from edge_node.sink.thread import SinkThread

log = logging.getLogger(__name__)

DRAIN_S = 60.0
LONGEST_PAUSE_S = 86_400.0
"""Between two messages; a damaged time may be centuries away."""
BESIDE_THE_NODE = ("node.name=replay", "mqtt.client_id=null", "homeassistant.enabled=false", "web.show_image=false")
"""The configuration is the real node's, which may run meanwhile: its name, its place at the broker and its device stay its own.
Pictures are in no recording."""
EVERY_MESSAGE = ("mqtt.pose=true", "mqtt.max_rate_hz=0", "mqtt.on_change=false", "mqtt.empty_rate_hz=0")
"""What the node leaves out at its broker is in the recording, and wanted."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording; - is standard input")
    parser.add_argument("--mqtt", action="store_true", help="publish to the broker of the settings (mqtt.*)")
    parser.add_argument("--web", action="store_true", help="serve the live page (web.*)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="2: twice as fast; 0: as fast as it is received (default: 1)"
    )
    parser.add_argument("--loop", action="store_true", help="begin again at the end")
    add_settings_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Replay to the end; returns the exit code."""
    if not (arguments.mqtt or arguments.web):
        raise UsageError("replay: to where? give --mqtt, --web or both")
    settings = Settings(loader(arguments, BESIDE_THE_NODE + EVERY_MESSAGE))
    logging_setup.configure(settings.current.log)
    if can_be_read_again(arguments.file):
        first_message(arguments.file)  # what is no recording is told before anything is connected
    elif arguments.loop:
        raise UsageError(f"replay: --loop needs a file; {arguments.file} can be read once only")
    health = Health()
    sinks: list[SinkThread] = []
    failures: list[BaseException] = []
    count = 0
    complete = delivered = False
    try:
        for sink in _sinks(arguments, settings, health):
            thread = SinkThread(sink, health, lossless=True, on_failure=failures.append)
            thread.start()
            sinks.append(thread)
        count = _replay(arguments, sinks, health)
        complete = True
    except ClosedError:  # a sink failed: its own error says more
        pass
    finally:
        delivered = _stop(sinks, drain=complete)
    for failure in failures:
        raise failure
    if complete:
        _refuse_what_is_missing(arguments.file, delivered, health)
    log.info("%s: %d messages replayed", arguments.file, count)
    return EXIT_OK


def _sinks(arguments: argparse.Namespace, settings: Settings, health: Health) -> Iterator[Sink]:
    def about() -> About:
        return About("recording", "", "replay", str(arguments.file))

    if arguments.mqtt:
        from edge_node.sink.mqtt import mqtt_sink  # noqa: PLC0415 - only what is asked for

        yield mqtt_sink(settings, health, about, lossless=True)
    if arguments.web:
        from edge_node.sink.web.sink import WebSink  # noqa: PLC0415 - the same

        yield WebSink(settings, health, about)


def _replay(arguments: argparse.Namespace, sinks: Sequence[SinkThread], health: Health) -> int:
    count = 0
    for people in _on_one_time_line(_paced(arguments)):
        for sink in sinks:
            sink.offer(people)
        health.frame(len(people.people), people.accelerator, {})
        count += 1
    return count


def _on_one_time_line(messages: Iterable[Pose]) -> Iterator[People]:
    """The people of each message. Where the times begin again (``--loop``, a clock set back) ``media_ns`` goes on; ``ts`` stays."""
    last_ns = shift_ns = 0
    for message in messages:
        people = people_of(message)
        shift_ns = max(shift_ns, last_ns - people.media_ns)
        last_ns = people.media_ns + shift_ns
        yield replace(people, media_ns=last_ns)


def _paced(arguments: argparse.Namespace) -> Iterator[Pose]:
    """Every message when it is due: as far from the one before as when it was recorded, over the speed.

    Where a recording was continued by a later run, numbers begin again: the time between is not waited for.
    """
    before: Pose | None = None
    due_s = time.monotonic()
    for message in _messages(arguments):
        if before and arguments.speed > 0 and message["seq"] > before["seq"]:
            pause_s = max(0.0, message["ts"] - before["ts"]) / arguments.speed
            due_s = max(due_s + min(pause_s, LONGEST_PAUSE_S), time.monotonic() - 1.0)
            time.sleep(max(0.0, due_s - time.monotonic()))
        before = message
        yield message


def _messages(arguments: argparse.Namespace) -> Iterator[Pose]:
    while True:
        yield from read_recording(arguments.file)
        if not arguments.loop:
            return


def _stop(sinks: Sequence[SinkThread], drain: bool) -> bool:
    """End every sink; False when one of them did not come to its end in time."""
    for sink in sinks:
        sink.stop(drain)
    ended = [sink.join(DRAIN_S) for sink in sinks]
    return all(ended)


def _refuse_what_is_missing(file: Path, delivered: bool, health: Health) -> None:
    """Raise ``SinkError`` unless everything reached those it was for."""
    refused = health.report().counters.get("mqtt_refused")
    if not delivered:
        why = "".join(f"; {part}: {text}" for part, text in sorted(health.problems().items()))
        raise SinkError(f"{file}: not everything was delivered within {DRAIN_S:.0f} s of its end{why}")
    if refused:
        raise SinkError(f"{file}: {refused} messages were larger than the broker takes and are missing there")


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 <= speed <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed from 0 to 1000")
    return speed
