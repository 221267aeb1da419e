"""A thread whose failure is never lost: it stops the node and is shown."""

import logging
import threading
from collections.abc import Callable

from edge_node.errors import ClosedError

log = logging.getLogger(__name__)


class Worker:
    """Runs ``body`` on a thread of its own and calls ``on_end`` with the exception that ended it, or ``None``.

    A ``ClosedError`` is how a closed slot ends a stage, so it counts as a normal end.
    """

    def __init__(self, name: str, body: Callable[[], None], on_end: Callable[[BaseException | None], None]) -> None:
        self._body = body
        self._on_end = on_end
        # A daemon, so that a camera or driver that never comes back cannot keep the process alive after its deadline.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def name(self) -> str:
        """Name of the thread."""
        return self._thread.name

    @property
    def is_alive(self) -> bool:
        """Whether the thread has started and not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; False when it did not come in time, which is said in the log."""
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("%s did not stop within %.1f s and is left behind", self.name, timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._body()
        except ClosedError:
            self._on_end(None)
        except BaseException as error:  # noqa: BLE001 - a thread's boundary: whatever ended it is handed to the main thread
            self._on_end(error)
        else:
            self._on_end(None)
