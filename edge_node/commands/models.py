"""``edge-node models``: what models there are, fetching them, and checking that they are the right ones."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_node import paths
from edge_node.commands.settings_arguments import add_settings_arguments, loader
from edge_node.engine.graph import CutModel, read_model
from edge_node.errors import EXIT_FAILED, EXIT_OK, ModelError
from edge_node.fetch import MIRROR_VARIABLE, Progress, advice, fetch, mirror_folder
from edge_node.filesystem import is_file
from edge_node.models import MARKER, Accelerator, ModelEntry, ModelFile, entry, is_path, manifest, why_wrong

DEFAULT = "movenet-lightning"
ADVICE = advice(mirror="--from", folder="--directory")


@dataclass(frozen=True, slots=True)
class Checked:
    """One model file as it is here. ``state``: ``fine``, ``missing`` or ``wrong``; ``detail`` says more."""

    name: str
    accelerator: str
    state: str
    detail: str
    path: str | None
    bytes: int
    licence: str
    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    lists = actions.add_parser("list", help="the known models, and whether their files are here")
    fetches = actions.add_parser("fetch", help="get model files, resuming and verifying")
    fetches.add_argument("names", nargs="*", metavar="NAME", help=f"models to get (default: {DEFAULT})")
    fetches.add_argument("--accelerator", choices=["cpu", "edgetpu"], help="only the file for this (default: all of the model)")
    fetches.add_argument("--from", dest="mirror", type=Path, metavar="DIR", help=f"copy from a folder, not the network ({MIRROR_VARIABLE})")
    verifies = actions.add_parser("verify", help="check hashes and structure of the files that are here")
    verifies.add_argument("names", nargs="*", metavar="NAME|FILE", help="models or .tflite files (default: all models of the manifest)")
    for action in (lists, fetches, verifies):
        action.add_argument("--directory", type=Path, metavar="DIR", help="folder of the model files (default: model.directory)")
        add_settings_arguments(action)
    for action in (lists, verifies):
        action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; verify ends with 1 when a file is wrong, or a model has no file here."""
    folder = arguments.directory or paths.models_directory(loader(arguments)().model.directory)
    if arguments.action == "fetch":
        return _fetch(arguments, folder)
    if arguments.action == "list":
        checked = [_check(known, accelerator, folder) for known in manifest() for accelerator in known.files] + [_builtin()]
        _print(checked, as_json=arguments.json)
        return EXIT_OK
    checked = list(_verify(arguments.names, folder))
    _print(checked, as_json=arguments.json)
    here = {one.name for one in checked if one.state == "fine"}
    failed = any(one.state == "wrong" or one.name not in here for one in checked)
    return EXIT_FAILED if failed else EXIT_OK


def _fetch(arguments: argparse.Namespace, folder: Path) -> int:
    mirror = mirror_folder(arguments.mirror)
    for known in [entry(name) for name in arguments.names or [DEFAULT]]:
        for file in _files(known, arguments.accelerator):
            path = fetch(file, folder, mirror, _progress(file), ADVICE)
            print(f"{path}: verified, {file.bytes} bytes, {known.licence}")
    return EXIT_OK


def _files(known: ModelEntry, accelerator: Accelerator | None) -> list[ModelFile]:
    if accelerator is None:
        return list(known.files.values())
    if accelerator not in known.files:
        raise ModelError(f"model {known.name}: there is none for {accelerator}")
    return [known.files[accelerator]]


def _progress(file: ModelFile) -> Progress:
    """A bar on a terminal; elsewhere a line every few seconds."""
    if sys.stderr.isatty():
        return _bar(file.file)
    said_at = time.monotonic()

    def say(there: int, whole: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > 3 and there < whole:
            said_at = time.monotonic()
            print(f"{file.file}: {100 * there // whole} %", file=sys.stderr)

    return say


def _bar(name: str) -> Progress:
    width = 30

    def draw(there: int, whole: int) -> None:
        done = width * there // whole
        end = "\n" if there >= whole else ""
        print(f"\r{name} [{'#' * done}{' ' * (width - done)}] {there / 1e6:.1f}/{whole / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)

    return draw


def _verify(names: list[str], folder: Path) -> Iterator[Checked]:
    for name in names or [known.name for known in manifest()]:
        if name == MARKER:
            yield _builtin()
        elif is_path(name):
            yield _check_own(Path(name))
        else:
            known = entry(name)
            yield from (_check(known, accelerator, folder) for accelerator in known.files)


def _check(known: ModelEntry, accelerator: Accelerator, folder: Path) -> Checked:
    file = known.files[accelerator]
    path = folder / file.file
    state, detail = "missing", f"edge-node models fetch {known.name}"
    if is_file(path, ModelError):
        content = _content(path)
        why = why_wrong(content, file)
        state, detail = ("wrong", why) if why else _seen(content)
    return Checked(known.name, accelerator, state, detail, str(path), file.bytes, known.licence, known.source)


def _check_own(path: Path) -> Checked:
    if not is_file(path, ModelError):
        return Checked(path.name, "", "missing", "no such file", str(path), 0, "", "")
    content = _content(path)
    state, detail = _seen(content)
    return Checked(path.name, "edgetpu" if "Edge TPU" in detail else "cpu", state, detail, str(path), len(content), "", "your own file")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def _seen(content: bytes) -> tuple[str, str]:
    """State and detail of a file by its structure."""
    try:
        model = read_model(content)
    except ModelError as error:
        return "wrong", str(error)
    where = "for the Edge TPU, " if model.edgetpu else ""
    if isinstance(model, CutModel):
        return "fine", f"{where}{model.input_size_px} x {model.input_size_px}, cut at its heads ({model.cells} x {model.cells})"
    return "fine", f"{where}{model.input_size_px} x {model.input_size_px}, stock output ({model.reason})"


def _builtin() -> Checked:
    return Checked(MARKER, "cpu", "fine", "built in: finds the marked joints of the synthetic scene", None, 0, "Apache-2.0", "edge_node")


def _print(checked: list[Checked], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(one) for one in checked], indent=1))
        return
    for one in checked:
        size = f"{one.bytes / 1e6:.1f} MB" if one.bytes else "-"
        print(f"{one.name:20} {one.accelerator:8} {one.state:8} {size:>7}  {one.detail}")
        if one.path:
            print(f"{'':20} {one.path}")
