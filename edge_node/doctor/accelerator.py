"""The Edge TPU: library, devices, permissions, and a trial of the model in a child process, as the node does it."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_node.config.models import Model
from edge_node.doctor import Finding, fine, note, wrong
from edge_node.engine.edgetpu import REFUSED, EdgeTpu, EdgeTpuEngine, read_compiled
from edge_node.engine.edgetpu_discovery import (
    SERVICE_ADVICE,
    USB3_MBPS,
    Hardware,
    PciModule,
    UsbStick,
    fault_advice,
    find_hardware,
    heat_advice,
    why_absent,
)
from edge_node.engine.edgetpu_process import ChildProcess, ChildSpec, EdgeTpuError
from edge_node.engine.edgetpu_reasons import explained
from edge_node.engine.runtime import load_runtime
from edge_node.errors import EngineError, ModelError
from edge_node.models import MARKER, find_model
from edge_node.setup import service
from edge_node.status_socket import NoAnswerError, ask, running_sockets

LIST_S = 10.0
RULE_FOLDERS = ("etc/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d", "run/udev/rules.d")
PI5_FREE_POWER = "proc/device-tree/chosen/power/usb_max_current_enable"
BOARD = "proc/device-tree/model"


def examine_accelerator(settings: Model, root: Path, *, of_service: bool = False) -> Iterator[Finding]:
    """Everything between the model and the stick. Absence is wrong only where the configuration asks for an Edge TPU.

    ``of_service``: root asks about the service, whose user may open less.
    """
    if settings.accelerator == "cpu":
        yield note("Edge TPU", "model.accelerator is cpu: not looked for")
        return
    if settings.name == MARKER:
        yield _absence(settings, "Edge TPU", "the built-in marker model runs on the CPU only", "set model.accelerator to cpu")
        return
    hardware = find_hardware(root)
    yield from _devices(hardware, settings, root, of_service=of_service)
    try:
        child = ChildProcess(ChildSpec(list_only=True))
        library = child.start(deadline_s=LIST_S)
        child.end(polite=True)
    except EdgeTpuError as error:
        yield _unless_needed(settings, hardware, "libedgetpu", explained(error, settings.device, "", root))
        return
    yield fine("libedgetpu", f"{library['version']} at {library['path']}, lists {_listed(library)}")
    yield from _trial(settings, hardware, library, root)


def _devices(hardware: Hardware, settings: Model, root: Path, *, of_service: bool) -> Iterator[Finding]:
    for device in hardware.wanted(""):
        if not device.accessible:
            reason = why_absent(Hardware(*_alone(device)))
            yield wrong("device", reason.what, reason.advice)
            continue
        if of_service and device.node is not None and not service.may_open(root / device.node.relative_to("/")):
            yield wrong("device", f"the service's user may not open {device.description} at {device.node}", SERVICE_ADVICE)
        else:
            yield fine("device", _with_temperature(device))
        if isinstance(device, UsbStick) and device.speed_mbps < USB3_MBPS:
            yield note(
                "USB speed", f"{device.name} runs at {device.speed_mbps:g} Mbit/s", "use a blue USB 3 port and the stick's own cable"
            )
    if hardware.usb:
        yield _udev_rule(root)
        yield from _power(root)
    heat = heat_advice(hardware)
    if heat:
        yield wrong("temperature", heat.what, heat.advice)
    if hardware.chosen(settings.device) is None:
        reason = why_absent(hardware, settings.device)
        yield _absence(settings, "device", reason.what, reason.advice)


def _with_temperature(device: UsbStick | PciModule) -> str:
    heat_c = device.temperature_c if isinstance(device, PciModule) else None
    return device.description if heat_c is None else f"{device.description}, {heat_c:.0f} °C"


def _alone(device: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return ((device,), ()) if isinstance(device, UsbStick) else ((), (device,))


def _udev_rule(root: Path) -> Finding:
    for folder in RULE_FOLDERS:
        for rule in sorted((root / folder).glob("*.rules")):
            if "1a6e" in _text(rule):
                return fine("udev", f"/{rule.relative_to(root)}")
    return note("udev", "no rule for the stick: only root may open it", "put the one of docs/edge-tpu.md there")


def _text(rule: Path) -> str:
    try:
        return rule.read_text(encoding="utf-8", errors="replace")
    except OSError:  # a link to nowhere, or for root's eyes: udev has no other rule of that name either
        return ""


def _power(root: Path) -> Iterator[Finding]:
    """A Raspberry Pi 5 gives its USB ports 600 mA together, unless its supply says that it has 5 A."""
    board, free = root / BOARD, root / PI5_FREE_POWER
    if not board.is_file() or "Raspberry Pi 5" not in board.read_text(encoding="utf-8", errors="replace"):
        return
    if free.is_file() and struct.unpack(">I", free.read_bytes()[:4].rjust(4, b"\0"))[0]:
        yield fine("USB power", "1600 mA: the supply gives 5 A")
    else:
        yield wrong("USB power", "600 mA for all ports together; the stick may want 900 mA", "use the Raspberry Pi's 27 W (5 A) supply")


def _trial(settings: Model, hardware: Hardware, library: dict[str, Any], root: Path) -> Iterator[Finding]:
    user = _node_using_it()
    if user:
        yield fine("trial", f"left out: the Edge TPU is at work for {user}")
        return
    there = hardware.wanted(settings.device)
    if there and (hardware.chosen(settings.device) is None or not any(device.accessible for device in there)):
        return  # said above, and a trial would fail for that
    if not library["devices"]:
        if there:
            reason = why_absent(hardware, settings.device)
            yield _absence(settings, "trial", f"libedgetpu finds no device; {reason.what}", reason.advice)
        return
    try:
        runtime = load_runtime(settings.runtime)
        found = find_model(settings.name, settings.directory, "edgetpu")
        engine = EdgeTpu(settings, read_compiled(found.content, settings.heads), runtime, root).start()
    except ModelError as error:
        text, _, advice = str(error).partition("; ")
        yield _absence(settings, "trial", f"not possible: {text}", advice.removeprefix("fetch it: "))
    except EdgeTpuError as error:
        yield wrong("trial", error.text, error.advice)
    except EngineError as error:
        text, _, advice = str(error).partition(": ")
        yield wrong("trial", f"not possible: {text}", advice)
    else:
        engine.close()
        figures = f"{found.name}: {engine.device_invoke_ms:.1f} ms an invoke, by {engine.graph}"
        yield _outcome(figures, engine, fault_advice(hardware, settings.device))


def _outcome(figures: str, engine: EdgeTpuEngine, advice: str) -> Finding:
    """Of a trial that went well in the end: an abort, a hang or a crash before that is no way for a healthy device to behave."""
    failed = engine.failed_trial
    if failed is None:
        return fine("trial", figures)
    if failed.reason == REFUSED:
        return note("trial", f"{figures}; {engine.note}")
    how_often = "failed once, then" if engine.note is None else "failed twice, then"
    return wrong("trial", f"{how_often} {figures}: {failed.text}", advice)


def _listed(library: dict[str, Any]) -> str:
    devices = [f"{device['type']} {device['path']}" for device in library["devices"]]
    return ", ".join(devices) or "no device"


def _node_using_it() -> str | None:
    """Name of a node of this machine that holds the Edge TPU, also before its first frame: the device can be opened only once."""
    for path in running_sockets():
        try:
            answer = ask(path)
        except NoAnswerError:
            continue
        if answer and "edgetpu_output" in answer.get("facts", {}):
            return str(answer.get("node"))
    return None


def _unless_needed(settings: Model, hardware: Hardware, part: str, error: EdgeTpuError) -> Finding:
    """A missing library matters where there is a device, or one is asked for."""
    if hardware.wanted("") or settings.expects_edgetpu or error.reason != "no_library":
        return wrong(part, error.text, error.advice)
    return note(part, f"{error.text}; the CPU is used", error.advice)


def _absence(settings: Model, part: str, text: str, advice: str) -> Finding:
    if settings.expects_edgetpu:
        return wrong(part, text, advice)
    return note(part, f"{text}; the CPU is used", advice)
