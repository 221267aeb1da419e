"""What tests share: the real models, clips and pictures, found once and never skipped over."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest


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
