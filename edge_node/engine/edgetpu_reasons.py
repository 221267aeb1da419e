"""Why the Edge TPU cannot be used, in one line that ends with what to do. For log, ``status`` and ``edge-node doctor``."""

from pathlib import Path

from edge_node.engine.edgetpu_discovery import ROOT, find_hardware, why_absent, why_not_opened
from edge_node.engine.edgetpu_process import EdgeTpuError

INSTALL = "see docs/edge-tpu.md for the package that fits this system"
PERMANENT = frozenset({"no_library", "wrong_library", "runtime", "model", "model_version"})
"""Reasons that waiting does not cure, unless it worked before: something has to be installed or configured."""


def explained(error: EdgeTpuError, device: str, runtime: str, root: Path = ROOT) -> EdgeTpuError:
    """The same failure of a start, with a text worth reading. ``runtime``: name and version of the TensorFlow Lite in use."""
    return EdgeTpuError(error.reason, _text(error, device, runtime, root), error.stage)


def _text(error: EdgeTpuError, device: str, runtime: str, root: Path) -> str:
    if error.reason == "absent":
        return why_absent(find_hardware(root), device)
    if error.reason == "open" or error.stage == "open":
        detail = "" if error.reason == "open" else f" ({error})"
        return why_not_opened(find_hardware(root), device) + detail
    if error.reason == "crash" and error.stage in {"build", "trial"}:
        return f"libedgetpu crashes under {runtime}: it was built for another TensorFlow Lite; {INSTALL}"
    return {
        "no_library": f"libedgetpu is not installed ({error}): {INSTALL}",
        "wrong_library": f"{error}: {INSTALL}",
        "model_version": f"{error}: install a newer libedgetpu ({INSTALL}), or compile the model with edgetpu_compiler -m and that number",
        "error": f"the Edge TPU failed its trial: {error}",
        "model": f"the Edge TPU cannot run this model: {error}",
    }.get(error.reason, str(error))
