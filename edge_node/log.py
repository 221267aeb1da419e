"""How the node speaks: to a terminal, to the journal with priorities, or as JSON lines. Always on standard error."""

import json
import logging
import os
import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # takes a fifth of a second, and not everybody who speaks has a configuration
    from edge_node.config.models import Log

# systemd's sd-daemon(3): a line that begins with <N> has that syslog priority.
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure(config: "Log") -> None:
    """Set up the root logger as configured. May be called again after a change."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(config.format))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(config.level.upper())


def _formatter(style: Literal["auto", "text", "journal", "json"]) -> logging.Formatter:
    if style == "json":
        return _JsonFormatter()
    if style == "journal" or (style == "auto" and "JOURNAL_STREAM" in os.environ and not sys.stderr.isatty()):
        return _JournalFormatter("%(message)s")
    return _TextFormatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


def harmless(line: str) -> str:
    """A line that strangers may have a part in, without the characters by which a terminal is told to do something."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(harmless(line) for line in super().format(record).split("\n"))


class _JournalFormatter(_TextFormatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"ts": round(record.created, 3), "level": record.levelname.lower(), "part": record.name, "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)
