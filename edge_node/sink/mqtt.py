"""The MQTT sink: poses, and whatever its speakers say, to whichever broker is there."""

import ipaddress
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from edge_node import paths
from edge_node.config.models import Config, Mqtt
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.health import Health
from edge_node.sink.homeassistant import HomeAssistantSpeaker
from edge_node.sink.messages import encode_pose, topic
from edge_node.sink.mqtt_link import Link, tls_context
from edge_node.sink.mqtt_node import About, NodeSpeaker
from edge_node.sink.mqtt_poses import EveryPose, NewestPose, PoseLane, PosePolicy
from edge_node.sink.mqtt_scene import SceneSpeaker
from edge_node.sink.mqtt_session import Login, Session
from edge_node.sink.mqtt_tuning import TuningSpeaker
from edge_node.sink.outbox import Outbox
from edge_node.sink.outgoing import Incoming, Outgoing, Speaker
from edge_node.tuning import Action, Tuning

log = logging.getLogger(__name__)

STALLED_S = 2.0
SETTLE_S = 0.003
"""So long everything else waits for a pose whose way is about to be free."""
MESSAGE = "mqtt_message"
"""The problem that a broker does not take a message."""
DRAIN_S = 1.0
GOODBYE_S = 0.5
MAX_WAITING_INCOMING = 64


class MqttSink:
    """Publishes over MQTT. Never blocks the loop of a live camera; with ``lossless`` it delivers every pose, and waits for that.

    ``will``: what the broker says on ``status`` when it loses us. ``waiting`` is called, on the sink's thread, again and again while
    poses wait for the broker. ``stop_waiting`` may be called from any thread. Raises ``SinkError`` when the TLS files cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        health: Health,
        speakers: Sequence[Speaker],
        will: bytes,
        *,
        lossless: bool = False,
        waiting: Callable[[], None] = lambda: None,
    ) -> None:
        config = settings.current
        self._settings = settings
        self._health = health
        self._speakers = tuple(speakers)
        self._lossless = lossless
        self._waiting = waiting
        self._pose_topic = topic(config.node.name, "pose")
        self._policy = PosePolicy()
        self._lane: PoseLane = (
            EveryPose(self._pose) if lossless else NewestPose(self._pose, health, config.mqtt.expiry_s, self._policy.missed)
        )
        self._link = Link(config.mqtt, _login(config, will), self, health)
        self._outbox = _outbox(settings, health)
        self._session: Session | None = None
        self._stalled = False
        self._direct: set[int] = set()
        self._refused: dict[str, str] = {}
        self._refusals_said: set[str] = set()
        self._received: deque[Incoming] = deque(maxlen=MAX_WAITING_INCOMING)
        self._acknowledged: deque[tuple[Session, int]] = deque()
        self._stop_waiting = threading.Event()

    @property
    def name(self) -> str:
        return "mqtt"

    def start(self) -> None:
        """Begin to connect; returns at once."""
        _warn_of_plain_text(self._settings.current.mqtt)
        self._link.start()

    def deliver(self, people: People) -> None:
        """Take what this frame gives; a live camera's pose goes out at once, as far as the broker keeps up."""
        if self._policy.wants(people, self._settings.current.mqtt):
            while not self._lane.offer(people, self._patience_s()) and not self._stop_waiting.is_set():
                self._waiting()
                self._keep_up()
            self._flush()
            self._lane.settle(SETTLE_S)
        for speaker in self._speakers:
            self._say(speaker.saw(people))

    def flush(self) -> None:
        """Publish what waits."""
        self._keep_up()
        self._lane.pump()
        self._outbox.pump()
        self._flush(burst=True)

    def tick(self) -> None:
        """What is due by time."""
        self._keep_up()
        for speaker in self._speakers:
            self._say(speaker.tick())
        self._outbox.pump()
        self._flush()

    def finish(self, drain: bool) -> None:
        """Deliver what is at hand, say goodbye; what was not acknowledged stays in the spool."""
        if drain:
            self._wait_until(lambda: self._all_delivered() or self._stop_waiting.is_set(), float("inf") if self._lossless else DRAIN_S)
        for speaker in self._speakers:
            self._say(speaker.finish())
        if self._session is not None:  # also when being stopped: a broker that cannot hand over its answer speaks the will
            self._wait_until(self._has_said_goodbye, GOODBYE_S)
        self._link.stop(GOODBYE_S)
        self._outbox.close()

    def stop_waiting(self) -> None:
        """Hold the loop back no longer for a broker that is not there: the node is being stopped."""
        self._stop_waiting.set()

    def acknowledged(self, session: Session, message_id: int) -> None:
        """See ``Listener``; on the network thread."""
        self._acknowledged.append((session, message_id))

    def answered(self, session: Session) -> None:
        """See ``Listener``; on the network thread."""
        self._lane.answered(session)

    def exchanged(self) -> None:
        """See ``Listener``; on the network thread."""
        # Not before: the sink's thread would take the core while a pose waits to be written.
        self._lane.wake()

    def refused(self, session: Session, message: Outgoing, limit_bytes: int) -> None:
        """See ``Listener``."""
        self._health.count("mqtt_refused")
        if message.topic in self._refused:
            return
        what = f"takes no more than {limit_bytes} bytes: a message of {len(message.payload)} on {message.topic} is not delivered"
        self._refused[message.topic] = f"the broker at {session.place} {what}"
        self._report_refused()
        if message.topic not in self._refusals_said:  # once a connection: frame by frame the size may go over the limit and back
            self._refusals_said.add(message.topic)
            log.warning("the broker at %s %s", session.place, what)

    def taken(self, session: Session, topic: str) -> None:  # noqa: ARG002 - it is the one in use
        """See ``Listener``."""
        self._refused.pop(topic, None)
        self._report_refused()

    def received(self, message: Incoming) -> None:
        """See ``Listener``; on the network thread."""
        self._received.append(message)

    def _patience_s(self) -> float:
        return 0.0 if self._stop_waiting.is_set() else 0.05

    def _keep_up(self) -> None:
        """Notice a new or lost connection, acknowledgements, what came in, and a broker that is silent."""
        self._link.check()
        self._take_acknowledgements()
        session = self._link.session
        if session is not self._session:
            self._use(session)
        for _ in range(len(self._received)):
            message = self._received.popleft()
            for speaker in self._speakers:
                self._say(speaker.heard(message))
        self._report_stall()

    def _take_acknowledgements(self) -> None:
        # Ids are of one connection: a late acknowledgement of the last one must not be taken for another message of this one.
        came = [self._acknowledged.popleft() for _ in range(len(self._acknowledged))]
        ids = [message_id for session, message_id in came if session is self._session]
        self._direct.difference_update(ids)
        self._outbox.acknowledged(ids)

    def _use(self, session: Session | None) -> None:
        self._session = session
        self._stalled = False
        if session is not None:
            self._refused.clear()  # this broker may take more
            self._refusals_said.clear()
            self._report_refused()
            self._policy.missed()  # sent over the last connection does not mean that it arrived, or that this broker had it
        self._direct.clear()
        if session is None:
            self._outbox.attach(None)
        else:
            self._outbox.attach(session.publish, session.most_under_way)
            for topic_filter in dict.fromkeys(f for speaker in self._speakers for f in speaker.subscriptions):
                session.subscribe(topic_filter)
            for speaker in self._speakers:
                self._say(speaker.connected())
            self._outbox.pump()
        self._lane.attach(session)
        self._flush()

    def _flush(self, *, burst: bool = False) -> None:
        if self._session is not None:
            self._session.flush(burst=burst)

    def _say(self, messages: Iterable[Outgoing]) -> None:
        for message in messages:
            if message.keep:
                self._outbox.add(message)
            elif self._session is not None:
                message_id = self._session.publish(message)
                if message.qos == 1 and message_id is not None:
                    self._direct.add(message_id)

    def _pose(self, people: People) -> Outgoing:
        config = self._settings.current.mqtt
        return Outgoing(self._pose_topic, encode_pose(people, config.format), config.qos, expiry_s=config.expiry_s)

    def _report_refused(self) -> None:
        self._health.problem(MESSAGE, next(iter(list(self._refused.values())), None))

    def _report_stall(self) -> None:
        if self._session is None:
            return
        stalled = self._lane.stalled_s() > STALLED_S
        if stalled == self._stalled:  # what the link says of the broker is not ours to take back
            return
        self._stalled = stalled
        text = f"the broker at {self._session.place} does not answer; poses wait for it" if stalled else None
        self._health.problem("mqtt", text)
        log.log(logging.WARNING if stalled else logging.INFO, "%s", text or f"the broker at {self._session.place} answers again")

    def _all_delivered(self) -> bool:
        return self._lane.drained() and len(self._outbox) == 0

    def _has_said_goodbye(self) -> bool:
        """The broker has everything, or the connection is no longer the one it was said over: over a new one it would be "online" first."""
        return self._link.session is not self._session or (not self._direct and len(self._outbox) == 0)

    def _wait_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < deadline_s:
            time.sleep(0.002)
            self._waiting()
            self._keep_up()
            self._outbox.pump()
            self._flush()


def mqtt_sink(
    settings: Settings,
    health: Health,
    about: Callable[[], About],
    *,
    lossless: bool = False,
    actions: Mapping[str, Action] | None = None,
    more: Sequence[Speaker] = (),
    waiting: Callable[[], None] = lambda: None,
) -> MqttSink:
    """The sink with everything a node says: itself, the scene, its tunable values, and ``more``.

    ``about`` is asked now and then for what ``info`` says. ``actions``: what ``cmd/<verb>`` can do besides reload,
    reset_tuning, announce and remove_discovery; called on the sink's thread. ``waiting``: see ``MqttSink``. Raises ``SinkError`` when
    the TLS files cannot be used.
    """
    node = NodeSpeaker(settings, health, about)
    home = HomeAssistantSpeaker(settings, settings.state_directory, settings.configuration)
    tuning = Tuning(settings, {"announce": home.announce, "remove_discovery": home.withdraw, **(actions or {})})
    speakers: list[Speaker] = [node, TuningSpeaker(settings, tuning), SceneSpeaker(settings, node.boot), home, *more]
    return MqttSink(settings, health, speakers, node.will(), lossless=lossless, waiting=waiting)


def _login(config: Config, will: bytes) -> Login:
    mqtt, node = config.mqtt, config.node.name
    password = paths.secret("mqtt-password")
    if password is not None and mqtt.username is None:
        log.warning("a password for the broker is given but no mqtt.username: it is not used")
    return Login(
        client_id=mqtt.client_id or f"edge_node-{node}",
        username=mqtt.username,
        password=password,
        tls=tls_context(mqtt),
        keepalive_s=mqtt.keepalive_s,
        will_topic=topic(node, "status"),
        will=will,
        probe_topic=topic(node, "probe"),
    )


def _outbox(settings: Settings, health: Health) -> Outbox:
    """Of a run that leaves nothing behind, all that waits is in memory."""
    state, runtime = settings.state_directory, paths.service_runtime_directory() or paths.user_runtime_directory()
    name, spool = settings.current.node.name, settings.current.mqtt.spool
    disk = state / f"spool-{name}.sqlite" if state and spool.enabled else None
    volatile = runtime / f"waiting-{name}.sqlite" if state and runtime else None
    return Outbox(spool, disk, volatile, health)


def _warn_of_plain_text(config: Mqtt) -> None:
    if config.tls.enabled:
        return
    for host in dict.fromkeys((config.host, *(broker.host for broker in config.fallback_brokers))):
        if not _is_this_machine(host):
            log.warning("poses and the password, if any, go to %s unencrypted; mqtt.tls.enabled: true encrypts them", host)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
