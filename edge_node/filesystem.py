"""What the file system says of a path that a user gave, its refusals turned into the errors of whoever asks; and replacing a file whole.

``Path.is_file`` and its like will not do for that: of a path inside a folder that this user may not enter they raise
``PermissionError``, or, from Python 3.14 on, say that nothing is there.
"""

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from edge_node.errors import EdgeNodeError

Refusal = Callable[[str], EdgeNodeError]
"""Makes the error out of its one line, which begins with the path."""


def stat_of(path: Path, refusal: Refusal) -> os.stat_result | None:
    """What is at ``path``, links followed; ``None`` where nothing is. Raises ``refusal`` where the system does not tell."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise refusal(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:  # a NUL, which no name can have
        return None


def exists(path: Path, refusal: Refusal) -> bool:
    """Whether anything is there. Raises ``refusal`` where the system does not tell."""
    return stat_of(path, refusal) is not None


def is_file(path: Path, refusal: Refusal) -> bool:
    """Whether a regular file is there. Raises ``refusal`` where the system does not tell."""
    found = stat_of(path, refusal)
    return found is not None and stat.S_ISREG(found.st_mode)


def is_folder(path: Path, refusal: Refusal) -> bool:
    """Whether a folder is there. Raises ``refusal`` where the system does not tell."""
    found = stat_of(path, refusal)
    return found is not None and stat.S_ISDIR(found.st_mode)


def are_same(one: Path, other: Path, refusal: Refusal) -> bool:
    """Whether both names lead to one file that is there. Raises ``refusal`` where the system does not tell."""
    first, second = stat_of(one, refusal), stat_of(other, refusal)
    return first is not None and second is not None and os.path.samestat(first, second)


def put_in_place(target: Path, scratch: Path, content: bytes, owner: os.stat_result | None) -> None:
    """Have ``content`` take the place of ``target`` in one step, once it is on the disk, by way of ``scratch`` beside it.

    It gets the permissions of the ``target`` there is, and the user and group of ``owner`` (``None``: of whoever writes). Raises
    ``OSError``, with nothing changed, also where this user may not give files to the owner.
    """
    scratch.unlink(missing_ok=True)
    try:
        with scratch.open("xb") as out:  # anew, so that root follows no link in a folder of somebody else's
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(out.fileno(), target.stat().st_mode & 0o777)
            if owner is not None and (os.geteuid(), os.getegid()) != (owner.st_uid, owner.st_gid):
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        scratch.replace(target)
    except OSError:
        remove_scratch(scratch)
        raise


def remove_scratch(scratch: Path) -> None:
    """Away with ``scratch``, if it is there. On a read-only file system it is not, and removing it would fail all the same."""
    with contextlib.suppress(OSError):
        scratch.unlink()


def is_open_at(path: Path, descriptor: int) -> bool:
    """Whether the open ``descriptor`` is of the file that others find at ``path``."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
