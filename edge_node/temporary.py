"""Places for what lasts no longer than a program, also on a machine whose disk is full or cannot be written."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edge_node.errors import OutputError


def usual_folder() -> Path:
    """Where the system keeps such files; ``/tmp`` where none of the usual places can be written."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError:
        return Path("/tmp")  # noqa: S108 - nothing is made there without a look at whose it is


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder, which is gone with all that is in it when the context ends. Raises ``OutputError`` when none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise OutputError(f"{error.strerror}; make room there, or name another folder in the environment variable TMPDIR") from None
    with folder as name:
        yield Path(name)
