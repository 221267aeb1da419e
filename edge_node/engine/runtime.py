"""Which TensorFlow Lite runs the models: LiteRT, tflite-runtime, or the tflite-runtime that Google's pycoral brings."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import Any

import numpy as np

from edge_node.errors import EngineError

RUNTIMES = ("litert", "tflite-runtime", "pycoral")
"""Names of ``model.runtime``, in the order in which ``auto`` tries them."""

_MODULES = {"litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime", "pycoral": "tflite_runtime"}
_PACKAGES = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime", "pycoral": "tflite-runtime"}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A loaded runtime. ``interpreter`` and ``load_delegate`` are its own, the same interface in each."""

    name: str
    version: str
    interpreter: Callable[..., Any]
    load_delegate: Callable[..., Any]

    @property
    def title(self) -> str:
        """For log and ``info``, such as ``litert 2.3.0``."""
        return f"{self.name} {self.version}"


def load_runtime(name: str = "auto") -> Runtime:
    """Load the runtime of that name, or with ``auto`` the first that works here.

    Raises ``EngineError`` that says what to install.
    """
    if name != "auto":
        reason = why_unusable(name)
        if reason:
            raise EngineError(reason)
        return _load(name)
    reasons = []
    for candidate in RUNTIMES:
        reason = why_unusable(candidate)
        if reason is None:
            return _load(candidate)
        reasons.append(reason)
    raise EngineError("no TensorFlow Lite runtime: " + "; ".join(reasons[:2]))


def why_unusable(name: str) -> str | None:
    """``None`` when the runtime of that name can be loaded here, else what is wrong and what to type."""
    if name == "pycoral" and not module_is_there("pycoral.utils.edgetpu"):
        if module_is_there("pycoral"):
            return "the installed pycoral is another program of that name, not Google's: pip uninstall pycoral"
        return "Google's pycoral is not installed; nothing here needs it: set model.runtime to auto"
    module = _MODULES[name]
    if not module_is_there(f"{module}.interpreter"):
        return f"{_PACKAGES[name]} is not installed: pip install {_PACKAGES[name]}"
    if module == "tflite_runtime" and np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        return f"tflite-runtime needs numpy below 2, here is {np.__version__}: pip install 'numpy<2', or use ai-edge-litert"
    return None


def module_is_there(module: str) -> bool:
    """Whether there is a module of that name. Nothing is imported, not even the packages it is in: those may be what is broken."""
    package, *names = module.split(".")
    spec = importlib.util.find_spec(package)
    for name in names:
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(f"{spec.name}.{name}", spec.submodule_search_locations)
    return spec is not None


def _load(name: str) -> Runtime:
    try:
        module = importlib.import_module(f"{_MODULES[name]}.interpreter")
    except (ImportError, OSError) as error:  # a wheel for another machine, a missing system library
        package = _PACKAGES[name]
        advice = f"pip install --force-reinstall {package}; it says {error}"
        raise EngineError(f"{package} is installed but cannot be loaded: {advice}") from error
    return Runtime(name, _version(name), module.Interpreter, module.load_delegate)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(_PACKAGES[name])
    except importlib.metadata.PackageNotFoundError:  # the module of another package: a nightly build, or a distribution's own
        return str(getattr(importlib.import_module(_MODULES[name]), "__version__", "of unknown version"))
