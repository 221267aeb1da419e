"""Model files: what the manifest knows of them, finding them on disk, and making sure they are the right ones.

``models/manifest.yaml`` is the one list; ``edge_node/manifest.yaml`` is a link to it, so that an installed package has it too.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from edge_node import paths
from edge_node.errors import ModelError
from edge_node.filesystem import is_file

Accelerator = Literal["cpu", "edgetpu"]

MARKER = "marker"
"""The built-in model that finds the marked joints of the synthetic scene; it needs no file."""
NAME_HINT = "give model.name the path of a .tflite file, or a name of: edge-node models list"
EDGETPU_SUFFIX = "_edgetpu"
"""What the Edge TPU compiler appends to a file's name."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of the manifest: a model for the CPU, or the same one compiled for the Edge TPU."""

    file: str
    url: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model of the manifest; ``input`` and ``output`` are its signature, for people to read."""

    name: str
    title: str
    licence: str
    source: str
    input: str
    output: str
    files: Mapping[Accelerator, ModelFile]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model file that is there. ``path`` is ``None`` for the built-in one; ``sha256`` is of ``content``."""

    name: str
    path: Path | None
    content: bytes
    sha256: str


@cache
def manifest() -> tuple[ModelEntry, ...]:
    """The models of the manifest."""
    text = Path(__file__).with_name("manifest.yaml").read_text(encoding="utf-8")
    return tuple(
        ModelEntry(**{**entry, "files": {accelerator: ModelFile(**file) for accelerator, file in entry["files"].items()}})
        for entry in yaml.safe_load(text)["models"]
    )


def entry(name: str) -> ModelEntry:
    """The manifest's entry of that name. Raises ``ModelError`` with what it might have meant."""
    for known in manifest():
        if known.name == name:
            return known
    if name == MARKER:
        raise ModelError(f"model {MARKER}: is built in and needs no file")
    names = [known.name for known in manifest()] + [MARKER]
    near = difflib.get_close_matches(name, names, 1)
    meant = (
        f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}; a file of your own is given by its path, ending in .tflite"
    )
    raise ModelError(f"model {name}: no such model, {meant}")


def find_model(name: str, directory: str | None, accelerator: Accelerator = "cpu") -> FoundModel:
    """The file of ``model.name`` for an accelerator, read and verified.

    A name of the manifest is looked for in ``directory`` (default: this node's own) and must have the manifest's sha256. A path
    (it ends in .tflite) is taken as it is; for the Edge TPU its twin with ``_edgetpu`` in the name is meant, for the CPU the one
    without. Raises ``ModelError`` that says what to type.
    """
    if name == MARKER:
        return _marker(accelerator)
    if is_path(name):
        return _own_file(paths.expanded(name), accelerator)
    known = entry(name)
    file = known.files.get(accelerator)
    if file is None:
        raise ModelError(f"model {name}: there is none for {accelerator}, only for {', '.join(known.files)}")
    folder = paths.models_directory(directory)
    path = folder / file.file
    command = _fetch_command(name, folder, configured=directory is not None)
    if not is_file(path, ModelError):
        raise ModelError(f"model {name}: {path} is not there; fetch it: {command}")
    content = _read(path)
    why = why_wrong(content, file)
    if why:
        raise ModelError(f"model {name}: {path} {why}; fetch it again: {command}")
    return FoundModel(name, path, content, file.sha256)


def _fetch_command(name: str, folder: Path, *, configured: bool) -> str:
    """What to type to have the model's files in ``folder``; whoever reads what the service says has another one by default."""
    command = f"edge-node models fetch {name}"
    if configured:
        return f"{command} --directory {folder}"
    return f"sudo {command} --directory {folder}" if paths.files_are_the_services() else command


def is_path(name: str) -> bool:
    """Whether ``model.name`` means a file rather than an entry of the manifest."""
    return name.endswith(".tflite") or "/" in name


def why_wrong(content: bytes, file: ModelFile) -> str | None:
    """``None`` when ``content`` is the manifest's file, else what is wrong with it."""
    if len(content) != file.bytes:
        return f"has {len(content)} bytes instead of {file.bytes}"
    found = hashlib.sha256(content).hexdigest()
    return None if found == file.sha256 else f"is another file or damaged: sha256 {found[:16]}… instead of {file.sha256[:16]}…"


def _own_file(path: Path, accelerator: Accelerator) -> FoundModel:
    if not path.name:
        raise ModelError(f"model {path}: is no file; {NAME_HINT}")
    stem = path.stem.removesuffix(EDGETPU_SUFFIX)
    wanted = path.with_name(f"{stem}{EDGETPU_SUFFIX if accelerator == 'edgetpu' else ''}.tflite")
    if not is_file(wanted, ModelError):
        raise ModelError(f"model {path}: {wanted} is not there; {_what_to_do_without(wanted)}")
    content = _read(wanted)
    return FoundModel(wanted.name, wanted, content, hashlib.sha256(content).hexdigest())


def _what_to_do_without(wanted: Path) -> str:
    """``wanted`` is a model file that is not there; perhaps its twin is."""
    stem = wanted.stem.removesuffix(EDGETPU_SUFFIX)
    compiled, plain = wanted.with_name(f"{stem}{EDGETPU_SUFFIX}.tflite"), wanted.with_name(f"{stem}.tflite")
    if wanted == plain and is_file(compiled, ModelError):
        return "a model compiled for the Edge TPU needs the one it was compiled from beside it, which the CPU runs meanwhile"
    if wanted == compiled and is_file(plain, ModelError):
        return f"make it with: edgetpu_compiler {plain.name}"
    return NAME_HINT


def _marker(accelerator: Accelerator) -> FoundModel:
    if accelerator != "cpu":
        raise ModelError(f"model {MARKER}: the built-in model runs on the CPU only; set model.accelerator to cpu")
    content = Path(__file__).with_name("engine").joinpath("marker.tflite").read_bytes()
    return FoundModel(MARKER, None, content, hashlib.sha256(content).hexdigest())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"model file {path} cannot be read: {error.strerror}") from error
