"""Which TensorFlow Lite runtime is used, and what is said of one that cannot be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("broken", ["__init__.py", "interpreter.py"])
def test_a_runtime_that_cannot_be_loaded_comes_with_what_to_type_and_its_own_words(tmp_path, broken):
    package = tmp_path / "ai_edge_litert"
    package.mkdir()
    for name in ("__init__.py", "interpreter.py"):
        (package / name).touch()
    (package / broken).write_text("raise ImportError('libz.so.1: cannot open shared object file')", encoding="utf-8")
    program = "from edge_node.engine.runtime import load_runtime\nload_runtime('litert')"
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).resolve().parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    _, what, advice = done.stderr.splitlines()[-1].split(": ", 2)
    assert what == "ai-edge-litert is installed but cannot be loaded"
    assert advice.startswith("pip install --force-reinstall ai-edge-litert; it says libz.so.1: cannot open")
