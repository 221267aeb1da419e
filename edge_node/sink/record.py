"""Recording: every pose message as a line of JSON, to a file or to standard output."""

import logging

from edge_node import paths
from edge_node.config.models import Record
from edge_node.data import People
from edge_node.errors import SinkError
from edge_node.health import Health
from edge_node.sink.messages import encode_pose
from edge_node.sink.record_file import LineFile, RotatingFile, StandardOutput

log = logging.getLogger(__name__)


class RecordSink:
    """Writes what ``settings`` ask for. A disk that is full or fails is said in ``problems.record``, and tried again with each message."""

    name = "record"

    def __init__(self, settings: Record, health: Health) -> None:
        self._settings = settings
        self._health = health
        self._file: LineFile | None = None

    def start(self) -> None:
        """Open the file. Raises ``SinkError`` when it cannot be written or is another kind of file."""
        path = self._settings.path or "-"
        if path == "-":
            self._file = StandardOutput()
            return
        limits = self._settings
        self._file = RotatingFile(paths.expanded(path), limits.max_bytes, limits.max_age_s, limits.keep)
        log.info("recording to %s", path)

    def deliver(self, people: People) -> None:
        """Write one message."""
        if self._file is None:
            return
        try:
            self._file.write(encode_pose(people) + b"\n")
        except OSError as error:
            self._lost(error)
        else:
            self._health.count("recorded")
            if self._health.problem("record", None):
                log.info("recording goes on")

    def flush(self) -> None:
        """Nothing is held back."""

    def tick(self) -> None:
        """Nothing is due by time: each message is written at once."""

    def finish(self, drain: bool) -> None:  # noqa: ARG002 - nothing is held back
        """Complete the file."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            raise SinkError(f"record.path: {self._settings.path}: {error.strerror}") from error

    def stop_waiting(self) -> None:
        """It waits for nobody."""

    def _lost(self, error: OSError) -> None:
        self._health.count("record_lost")
        if self._health.problem("record", f"{self._settings.path}: {error.strerror}; poses are not recorded until that is mended"):
            log.error("record: %s: %s; poses are not recorded until that is mended", self._settings.path, error.strerror)
