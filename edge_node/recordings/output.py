"""Files that are made of a recording: whole under their name, or not there."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_node.errors import SinkError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A file beside ``path``, of the same suffix, to write to: it takes the place of ``path`` when the block ends, and goes when it fails.

    What is no file (a device, a pipe) is itself written to. Raises ``SinkError`` when the system refuses.
    """
    try:
        if path.exists() and not path.is_file():
            yield path
            return
        target = Path(os.path.realpath(path))  # a link stays one
        scratch = target.with_name(f".{target.stem}.new{target.suffix}")
        try:
            yield scratch
            if target.exists():
                shutil.copymode(target, scratch)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise SinkError(f"{path}: cannot be written: {error.strerror or error}") from error
