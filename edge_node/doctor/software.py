"""Python, numpy and the TensorFlow Lite runtimes of this environment."""

import importlib.metadata
import sys
from collections.abc import Iterator

import numpy as np

from edge_node.config.models import Model
from edge_node.doctor import Finding, fine, note, wrong
from edge_node.engine.runtime import RUNTIMES, load_runtime, module_is_there, why_unusable
from edge_node.errors import EngineError

OLDEST, NEWEST = (3, 11), (3, 14)


def examine_software(settings: Model) -> Iterator[Finding]:
    """Versions, and whether they go together."""
    yield _python()
    yield _runtime(settings.runtime)
    yield from _other_runtime(settings.runtime)
    yield from _pycoral(settings.runtime)


def _python() -> Finding:
    version = sys.version.split()[0]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        supported = f"{OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}"
        return wrong("Python", f"{version}, supported are {supported}", "make the environment with another Python")
    place = sys.prefix if sys.prefix != sys.base_prefix else "no virtual environment"
    return fine("Python", f"{version}, numpy {np.__version__}, in {place}")


def _runtime(name: str) -> Finding:
    try:
        runtime = load_runtime(name)
    except EngineError as error:
        text, _, advice = str(error).partition(": ")
        return wrong("TensorFlow Lite", text, advice)
    return fine("TensorFlow Lite", runtime.title)


def _other_runtime(chosen: str) -> Iterator[Finding]:
    """tflite-runtime beside a newer numpy imports and then fails: said where it is installed and not the one in use."""
    if chosen == "auto" and _installed("tflite-runtime") and RUNTIMES.index("tflite-runtime") > 0:
        reason = why_unusable("tflite-runtime")
        if reason and why_unusable("litert") is None:
            text, _, advice = reason.partition(": ")
            yield note("tflite-runtime", f"{text}; LiteRT is used", advice)


def _pycoral(chosen: str) -> Iterator[Finding]:
    if not module_is_there("pycoral"):
        return
    if module_is_there("pycoral.utils.edgetpu"):
        yield fine("pycoral", "Google's is installed; nothing here needs it")
        return
    effect = "model.runtime cannot be pycoral" if chosen != "pycoral" else "model.runtime pycoral cannot work"
    yield wrong("pycoral", f"this is another program of that name from PyPI, not Google's: {effect}", "pip uninstall pycoral")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
