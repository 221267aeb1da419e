"""Every error that edge_node raises on purpose, under one root.

The text of an error is written for the person who reads it on a terminal or in the journal: what is wrong, where, and what
would be right. ``exit_code`` is what the process ends with when nothing handles the error.
"""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h; the systemd unit does not restart after it."""

EXIT_INTERRUPTED = 130
"""As a shell says it of what SIGINT ended."""


class EdgeNodeError(Exception):
    """Root of all errors of this package."""

    exit_code = EXIT_FAILED


class ConfigError(EdgeNodeError):
    """The configuration cannot be used. ``problems`` holds one line for each mistake, all of them at once."""

    exit_code = EXIT_CONFIG

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UsageError(EdgeNodeError):
    """The command line asks for something that does not exist."""

    exit_code = EXIT_USAGE


class CameraError(EdgeNodeError):
    """A source of frames cannot be opened or stopped giving frames; waiting may help (unplugged, unreachable)."""


class SourceUnusableError(CameraError):
    """A source that will never give a frame: no such file, not a video. Waiting does not help."""


class ModelError(EdgeNodeError):
    """A model file is missing, damaged, or not a model that this program can read."""


class EngineError(EdgeNodeError):
    """A model could not be run: no runtime, no accelerator, or the accelerator failed."""


class SinkError(EdgeNodeError):
    """A destination of poses cannot be used (unwritable path, broker that refuses the login)."""


class OutputError(EdgeNodeError):
    """Standard output cannot be written: a full disk."""


class MessageError(EdgeNodeError):
    """A payload is not what an edge_node sends."""


class MessageVersionError(MessageError):
    """A payload of a version that this program does not know."""


class RecordingError(EdgeNodeError):
    """A recording cannot be read, or is none."""


class ClosedError(EdgeNodeError):
    """A slot was closed: whoever waits on it should come to an end."""
