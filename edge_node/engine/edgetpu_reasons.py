"""Why the Edge TPU cannot be used, in one line that ends with what to do. For log, ``status`` and ``edge-node doctor``."""

from pathlib import Path

from edge_node.engine.edgetpu_discovery import ROOT, Reason, fault_advice, find_hardware, why_absent, why_not_opened
from edge_node.engine.edgetpu_process import STUCK, EdgeTpuError

INSTALL = "install the libedgetpu package that docs/edge-tpu.md names for this system"
DEVICE_FAULTS = frozenset(
    {("hang", "library"), ("abort", "build"), ("hang", "build"), ("abort", "trial"), ("hang", "trial"), ("error", "trial")}
)
"""Reasons, and how far the start came, of what the device or its cable is to blame for. The library lists the devices when it is loaded."""
PERMANENT = frozenset({"no_library", "wrong_library", "runtime", "model", "model_version"})
"""Reasons that waiting does not cure, unless it worked before: something has to be installed or configured."""


def explained(error: EdgeTpuError, device: str, runtime: str, root: Path = ROOT) -> EdgeTpuError:
    """The same failure of a start, with a text worth reading. ``runtime``: name and version of the TensorFlow Lite in use."""
    reason = _reason(error, device, runtime, root)
    return EdgeTpuError(error.reason, reason.what, error.stage, reason.advice)


def _reason(error: EdgeTpuError, device: str, runtime: str, root: Path) -> Reason:
    if error.reason == "absent":
        return why_absent(find_hardware(root), device)
    if error.reason == "open" or (error.stage == "open" and error.reason != STUCK):
        return why_not_opened(find_hardware(root), device)
    if error.reason == "crash" and error.stage in {"build", "trial"}:
        return Reason(f"libedgetpu crashes under {runtime}: it was built for another TensorFlow Lite", INSTALL)
    if error.reason in {"abort", "crash", "signal", "exit"} and error.stage == "library":
        return Reason(f"libedgetpu cannot be loaded: {error.text}", INSTALL)
    if (error.reason, error.stage) in DEVICE_FAULTS:
        text = f"the Edge TPU failed its trial: {error.text}" if error.reason == "error" else error.text
        return Reason(text, fault_advice(find_hardware(root), device))
    return {
        "no_library": Reason(f"libedgetpu is not installed ({error.text})", INSTALL),
        "wrong_library": Reason(error.text, INSTALL),
        "model_version": Reason(error.text, f"{INSTALL}, or compile the model with edgetpu_compiler -m and that number"),
        "model": Reason(f"the Edge TPU cannot run this model: {error.text}", "use the compiled model of: edge-node models fetch"),
    }.get(error.reason, Reason(error.text, error.advice))
