"""A first run of an unknown model file in a child process: a damaged one can crash the runtime, and the node with it.

Files of the manifest are known by their hash and need none. What passed is remembered by hash, runtime and what is read of the model.
"""

import hashlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Literal

from edge_node.engine.graph import read_model
from edge_node.engine.runtime import Runtime, load_runtime
from edge_node.engine.square import Square
from edge_node.errors import EngineError, ModelError
from edge_node.models import FoundModel, manifest

log = logging.getLogger(__name__)

TRIAL_S = 60.0


def try_unknown(found: FoundModel, heads: Literal["auto", "stock"], runtime: Runtime, cache: Path) -> None:
    """Run an unknown file once in a child, as ``model.heads`` says. Raises ``ModelError`` when the child dies of it or finds it wrong."""
    if found.path is None or any(found.sha256 == file.sha256 for known in manifest() for file in known.files.values()):
        return
    passed = cache / "tried" / hashlib.sha256(f"{found.sha256} {heads} {runtime.title}".encode()).hexdigest()[:16]
    if _is_there(passed):
        return
    command = [sys.executable, "-P", "-m", "edge_node.engine.trial", str(found.path), heads, runtime.name]
    same_modules = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}  # as here, and no numpy.py of the working directory
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TRIAL_S, check=False, env=same_modules)
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"damaged: one run does not end within {TRIAL_S:.0f} s") from error
    if child.returncode < 0:
        raise ModelError(f"damaged: it crashes {runtime.title} ({signal.strsignal(-child.returncode)})")
    if child.returncode:
        raise ModelError((child.stderr.strip().splitlines() or ["it cannot be run"])[-1])
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.touch()
    except OSError as error:  # a read-only cache: it is tried at every start then
        log.debug("%s", error)


def _is_there(passed: Path) -> bool:
    try:
        return passed.exists()
    except OSError:  # a cache that may not be read is like a read-only one
        return False


def main() -> int:
    """The child: exit code 1 with the reason on standard error when the file is wrong."""
    path, heads, runtime = sys.argv[1:]
    try:
        Square(read_model(Path(path).read_bytes(), "stock" if heads == "stock" else "auto"), load_runtime(runtime), 1)
    except ModelError as error:
        return _tell(str(error))
    except (EngineError, ValueError) as error:  # it loads and does not run, or names its tensors in bytes that are no text
        return _tell(f"damaged: {error}")
    return 0


def _tell(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201 - this is what the parent reads
    return 1


if __name__ == "__main__":
    sys.exit(main())
