"""What is handed to the transport: messages to publish, and whoever has something to say besides poses."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_node.data import People


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish.

    ``topic`` is the whole topic. ``expiry_s``: a broker with MQTT 5 throws the message away after so long. ``keep``: if no
    broker is there, the message waits in the spool and is delivered later, in order. ``correlation``: MQTT 5 correlation data
    of the request that this answers.
    """

    topic: str
    payload: bytes
    qos: Literal[0, 1] = 1
    retain: bool = False
    expiry_s: int | None = None
    keep: bool = False
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message received. ``response_topic`` and ``correlation`` are MQTT 5's, where the sender gave them."""

    topic: str
    payload: bytes
    retained: bool = False
    response_topic: str | None = None
    correlation: bytes | None = None


class Speaker(Protocol):
    """Somebody with something to say over MQTT. Every method is called on the sink's thread and must not wait."""

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """Topic filters of what it wants to hear."""

    def connected(self) -> Iterable[Outgoing]:
        """A broker is there (again): what it must know."""

    def saw(self, people: People) -> Iterable[Outgoing]:
        """A frame was processed; called for each that reaches the sink, also while no broker is there."""

    def tick(self) -> Iterable[Outgoing]:
        """About ten times a second: what is due by time."""

    def heard(self, message: Incoming) -> Iterable[Outgoing]:
        """A message came in on one of the topics of any speaker; those of others are to be ignored."""

    def finish(self) -> Iterable[Outgoing]:
        """The last word before the node stops."""
