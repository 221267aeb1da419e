"""What tests share: the real models, clips and pictures, found once and never skipped over."""

import logging
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

# A busy machine is no reason to fail: what is slow is for the benchmarks to say.
# The same inputs each time, so that a change is judged by what it changed; scripts/fuzz looks for new ones.
hypothesis_settings.register_profile(
    "edge_node", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="EDGE_NODE_FUZZ_EXAMPLES" not in os.environ
)
hypothesis_settings.load_profile("edge_node")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell without job control starts what goes to the background so, and the programs that tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Shared:
    """Folders of real data beside the project."""

    models: Path
    clips: Path
    stills: Path
    coco: Path


@pytest.fixture(scope="session")
def shared() -> Shared:
    """The real data; fails loudly when it is not there. ``EDGE_NODE_SHARED`` names another place than ``../shared``."""
    root = Path(os.environ.get("EDGE_NODE_SHARED", Path(__file__).parents[2] / "shared")).resolve()
    media = root / "media"
    found = Shared(root / "models", media / "clips", media / "stills", media / "coco")
    missing = [str(p) for p in (found.models, found.clips, found.stills, found.coco) if not p.is_dir()]
    if missing:
        pytest.fail(f"test data is missing: {', '.join(missing)}; set EDGE_NODE_SHARED to the folder that has models/ and media/")
    return found


@pytest.fixture(scope="session", autouse=True)
def _own_runtime_directory() -> Iterator[None]:
    """Nodes that tests start meet neither a service nor another run of the tests. Short: a socket's path has 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="en-") as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", directory)
        patch.delenv("RUNTIME_DIRECTORY", raising=False)
        yield


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A verb that a test runs in this process sets up logging, on a standard error that is gone with the test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
