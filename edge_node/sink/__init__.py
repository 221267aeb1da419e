"""Where people go: each sink runs on a thread of its own behind a slot, so that none can hold back the loop or another sink."""

from typing import Protocol

from edge_node.data import People


class Sink(Protocol):
    """A destination of ``People``. Every method but ``__init__`` and ``stop_waiting`` is called on the sink's own thread."""

    @property
    def name(self) -> str:
        """Short name for log, health counters and thread: ``mqtt``, ``record`` …"""

    def start(self) -> None:
        """Open what is needed. Raises ``SinkError`` when the sink can never work; waits for nothing that may come later."""

    def deliver(self, people: People) -> None:
        """Take one message; may block, newer messages replace each other meanwhile."""

    def flush(self) -> None:
        """Pass on what was taken: nothing more is at hand for now. Of a live camera this follows each ``deliver``."""

    def tick(self) -> None:
        """Called about ten times a second between deliveries: for what is due by time."""

    def finish(self, drain: bool) -> None:
        """Close everything; with ``drain``, deliver what is in flight first (within a second or so)."""

    def stop_waiting(self) -> None:
        """From any thread: the node is being stopped; ``deliver`` and ``finish`` wait for nobody any more."""
