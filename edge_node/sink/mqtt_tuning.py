"""Requests over MQTT: ``set/<key>`` and ``cmd/<verb>`` in, the answer and the values in force out."""

import time
from collections.abc import Iterable

from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import People
from edge_node.sink import messages
from edge_node.sink.messages import ROOT, VERSION, encode, topic
from edge_node.sink.outgoing import Incoming, Outgoing
from edge_node.tuning import Answer, Kind, Tuning, tunable_values

ANSWER_EXPIRY_S = 60
MAX_RESPONSE_CHARS = 1000
MAX_RESPONSE_LEVELS = 64
"""A broker ends the connection of who publishes on a topic of more levels than it allows: mosquitto 200, others fewer."""


class TuningSpeaker:
    """Hands requests to ``Tuning`` and publishes its answers, and ``config`` whenever a value changed, whoever changed it."""

    def __init__(self, settings: Settings, tuning: Tuning) -> None:
        self._settings = settings
        self._tuning = tuning
        self._node = settings.current.node.name
        self._said: Config | None = None

    @property
    def subscriptions(self) -> tuple[str, ...]:
        return topic(self._node, "set/#"), topic(self._node, "cmd/#")

    def connected(self) -> Iterable[Outgoing]:
        self._said = None
        return self.tick()

    def saw(self, people: People) -> Iterable[Outgoing]:  # noqa: ARG002 - frames ask for nothing
        return ()

    def tick(self) -> Iterable[Outgoing]:
        config = self._settings.current
        if config is self._said:
            return []
        self._said = config
        return [Outgoing(topic(self._node, "config"), encode(_configuration(config)), 1, retain=True)]

    def heard(self, message: Incoming) -> Iterable[Outgoing]:
        kinds: tuple[Kind, ...] = ("set", "cmd")
        for kind in kinds:
            prefix = topic(self._node, f"{kind}/")
            if message.topic.startswith(prefix):
                name = message.topic.removeprefix(prefix).replace("/", ".")  # NATS lets no dot pass in a topic
                answer = self._tuning.handle(kind, name, message.payload, message.retained, time.monotonic())
                if answer is not None:
                    yield self._outgoing(answer, message)
                    yield from self.tick()

    def finish(self) -> Iterable[Outgoing]:
        return ()

    def _outgoing(self, answer: Answer, request: Incoming) -> Outgoing:
        asked = request.response_topic
        where = asked if asked is not None and self._may_answer_on(asked) else topic(self._node, "result")
        return Outgoing(where, encode(_result(answer)), 1, expiry_s=ANSWER_EXPIRY_S, correlation=request.correlation)

    def _may_answer_on(self, asked: str) -> bool:
        """Nobody may have us speak for a node: within the tree of the nodes an answer goes to our own ``result``, or below it, only."""
        if len(asked) > MAX_RESPONSE_CHARS or asked.count("/") >= MAX_RESPONSE_LEVELS:
            return False
        if not asked or "#" in asked or "+" in asked or asked.startswith("$"):
            return False
        own = topic(self._node, "result")
        return not asked.startswith(ROOT + "/") or asked == own or asked.startswith(own + "/")


def _configuration(config: Config) -> messages.Configuration:
    return {"v": VERSION, "ts": round(time.time(), 3), "values": tunable_values(config)}


def _result(answer: Answer) -> messages.Result:
    result: messages.Result = {"v": VERSION, "ts": round(time.time(), 3), "ok": answer.ok, "kind": answer.kind, "name": answer.name}
    if answer.ok:
        return {**result, "value": answer.value}
    return {**result, "reason": answer.reason or "refused"}
