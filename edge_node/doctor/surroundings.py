"""What the node needs around it: model files, a camera, power and a cool processor."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from edge_node import paths, soc
from edge_node.camera import devices
from edge_node.camera.factory import choose
from edge_node.camera.source import Auto, Device, LocalPath, PiCamera, parse_source, shown
from edge_node.config.models import Camera, Model
from edge_node.doctor import Finding, fine, note, wrong
from edge_node.engine.edgetpu import read_compiled
from edge_node.engine.graph import CutModel, StockModel, read_model
from edge_node.engine.square import refuse_compiled
from edge_node.errors import CameraError, ModelError, SourceUnusableError
from edge_node.filesystem import exists
from edge_node.models import MARKER, Accelerator, FoundModel, find_model

IMPORT_S = 30.0
HOT_C = 80.0


def examine_model(settings: Model) -> Iterator[Finding]:
    """The files of the model, verified; the compiled one only where it may be used."""
    wanted: tuple[Accelerator, ...] = ("cpu",) if settings.accelerator == "cpu" or settings.name == MARKER else ("cpu", "edgetpu")
    cpu: CutModel | StockModel | None = None
    for accelerator in wanted:
        part = f"model ({accelerator})"
        try:
            found = find_model(settings.name, settings.directory, accelerator)
            model = _read(found, accelerator, settings, cpu)
        except ModelError as error:
            needed = accelerator == "cpu" or settings.expects_edgetpu
            make = wrong if needed else note
            text, _, advice = str(error).partition("; ")
            yield make(part, text, advice.removeprefix("fetch it: ") or "edge-node models fetch")
            continue
        if accelerator == "cpu":
            cpu = model
        seen = "cut at its heads" if isinstance(model, CutModel) else f"stock output ({model.reason})"
        yield fine(part, f"{found.path or found.name}, sha256 {found.sha256[:16]}…, {seen}")


def _read(found: FoundModel, accelerator: Accelerator, settings: Model, twin: CutModel | StockModel | None) -> CutModel | StockModel:
    """As the node reads it. ``twin``: the model for the CPU, when ``found`` is the compiled one."""
    try:
        if accelerator == "edgetpu":
            compiled = read_compiled(found.content, settings.heads, twin_size_px=twin.input_size_px if twin else None)
            return compiled.cut or compiled.stock
        model = read_model(found.content, settings.heads)
        refuse_compiled(model)
    except ModelError as error:
        raise ModelError(f"{found.path or found.name}: {error}") from error
    return model


def examine_camera(settings: Camera) -> Iterator[Finding]:
    """Whether the configured source is there. Streams are not opened: that may take long, and the node says it."""
    source = parse_source(settings.source)
    yield from _picamera2(wanted=isinstance(source, PiCamera))
    try:
        if isinstance(source, Device):
            device = devices.check_device(source.path)
            yield fine("camera", f"{device.path}: {device.card} ({device.driver})")
        elif isinstance(source, Auto):
            chosen = choose()
            yield fine(
                "camera", f"Pi camera {chosen.number}" if isinstance(chosen, PiCamera) else f"{chosen.path}, {devices.what_is_there()}"
            )
        elif isinstance(source, LocalPath) and not exists(source.path, SourceUnusableError):
            yield wrong("camera", f"{source.path}: no such file or folder", "correct camera.source")
        else:
            yield fine("camera", f"{shown(settings.source)} (not opened)")
    except CameraError as error:
        text, _, advice = str(error).partition("; ")
        yield wrong("camera", text, advice or "plug it in, or correct camera.source")


def _picamera2(*, wanted: bool) -> Iterator[Finding]:
    """picamera2 comes from apt with parts in C: it is imported in a process of its own. ``wanted``: the Pi camera is configured."""
    command = [sys.executable, "-P", "-c", "import picamera2"]
    try:
        tried = subprocess.run(command, check=False, capture_output=True, text=True, timeout=IMPORT_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        text = f"installed, but its import does not end within {IMPORT_S:g} s"
        yield (wrong if wanted else note)("picamera2", text, f"look where it hangs: {sys.executable} -X importtime -c 'import picamera2'")
        return
    if tried.returncode == 0:
        yield fine("picamera2", "imports")
        return
    last = (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}"])[-1]
    if "No module named 'picamera2'" in last:
        if wanted:
            advice = "sudo apt install python3-picamera2, and make the environment with --system-site-packages"
            yield wrong("picamera2", "not installed in this environment", advice)
        return
    advice = "keep numpy below 2 beside bookworm's picamera2: pip install -c config/constraints-bookworm.txt numpy"
    yield (wrong if wanted else note)("picamera2", f"installed, but does not import: {last}", advice)


def examine_machine(root: Path, model_directory: str | None) -> Iterator[Finding]:
    """Power and heat of the processor, where the machine tells, and the folders of the node; ``model_directory`` as configured."""
    sys_folder = root / "sys"
    throttling = soc.throttling(sys_folder)
    if throttling is not None:
        yield from _power(throttling)
    heat_c = soc.temperature_c(sys_folder)
    if heat_c is not None:
        if heat_c >= HOT_C:
            yield wrong("temperature", f"processor at {heat_c:.0f} °C, it slows down soon", "give it a heat sink or a fan")
        else:
            yield fine("temperature", f"processor at {heat_c:.0f} °C")
    state = paths.state_directory()
    yield fine("files", f"state in {state}, models in {paths.models_directory(model_directory)}")


def _power(throttling: soc.Throttling) -> Iterator[Finding]:
    supply = "use the supply made for this board, and a short cable"
    if throttling.under_voltage:
        yield wrong("power", "under-voltage now", supply)
    elif throttling.under_voltage_since_boot:
        yield note("power", "under-voltage since the last start", supply)
    elif throttling.slowed:
        yield wrong("power", "the processor is slowed down now", "cool it, or lower pose.max_people or camera.fps")
    elif throttling.slowed_since_boot:
        yield note("power", "the processor was slowed down since the last start", "cool it, or lower pose.max_people or camera.fps")
    elif throttling.slowed is None:
        yield fine("power", "no under-voltage now; this kernel does not tell of throttling (sudo vcgencmd get_throttled does)")
    else:
        yield fine("power", "no under-voltage, no throttling since the last start")
