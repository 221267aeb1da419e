"""The process that owns the Edge TPU: opens it, runs the model, and may die of it.

libedgetpu aborts the process on a USB error, may hang for ever, and crashes when it was built for another TensorFlow Lite. So it
is only ever loaded here. The parent is ``edgetpu.py``; it starts this file as a script, so that nothing of edge_node is
imported and a child without a device to open is done in a few hundredths of a second.

Argument: one JSON object, ``ChildSpec`` of ``edgetpu_process.py``. On the channel (a SOCK_SEQPACKET socket) the child sends JSON
while it starts (``{"stage": ...}``, then ``{"ready": ...}`` or ``{"failed": reason, "text": ...}``); after that, each one-byte
message from the parent is the number of a slot of the shared memory, and is answered with ``ANSWER`` and, where the invoke
failed, its error's text. End of file on the channel ends the child; so does the parent's death.
"""

import ctypes
import importlib
import json
import mmap
import os
import re
import resource
import signal
import socket
import struct
import sys
import time
from typing import Any

ANSWER = struct.Struct("<BQ")
"""1 when the invoke succeeded, and its duration in nanoseconds."""
PR_SET_PDEATHSIG = 1
LISTING_FUNCTIONS = ("edgetpu_list_devices", "edgetpu_free_devices", "edgetpu_version", "tflite_plugin_create_delegate")
TYPES = {0: "pci", 1: "usb"}
TRIAL_INVOKES = 2
"""The first one loads the model's parameters into the device; the second shows how long an invoke takes."""


class _Device(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("path", ctypes.c_char_p))


class _StartError(Exception):
    """``reason`` is a word for counters, ``text`` one line for people."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def main() -> None:
    """Start, say how that went, then serve until the channel ends."""
    spec = json.loads(sys.argv[1])
    _die_with(spec["parent"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would delay the news of this process's death
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group or service; the parent decides what they mean
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=spec["channel"]) as channel:
        try:
            library = _list_devices(channel, spec)
            if spec["list_only"]:
                _say(channel, ready=library)
                return
            model = _Model(channel, spec, library)
        except _StartError as failure:
            _say(channel, failed=failure.reason, text=failure.text)
            return
        _say(channel, ready=library | {"invoke_ms": model.trial_ms})
        _serve(channel, model)
    os._exit(0)  # destroying the delegate of a device that is gone can hang


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that took effect
        os._exit(1)


def _say(channel: socket.socket, **message: Any) -> None:
    channel.send(json.dumps(message).encode())


def _list_devices(channel: socket.socket, spec: dict[str, Any]) -> dict[str, Any]:
    """Load the library and ask it for devices. Fails when there is no library, none of its kind, or no device that fits."""
    _say(channel, stage="library")
    try:
        library = ctypes.CDLL(spec["library"])
    except OSError as error:
        if str(error).startswith(f"{spec['library']}: ") and "No such file" in str(error):  # itself, not a library that it needs
            raise _StartError("no_library", str(error)) from error
        raise _StartError("wrong_library", f"{spec['library']} cannot be loaded: {error}") from error
    absent = [name for name in LISTING_FUNCTIONS if not hasattr(library, name)]
    if absent:
        raise _StartError("wrong_library", f"{spec['library']} is not libedgetpu: it has no {absent[0]}")
    library.edgetpu_version.restype = ctypes.c_char_p
    library.edgetpu_list_devices.restype = ctypes.POINTER(_Device)
    library.edgetpu_free_devices.argtypes = (ctypes.POINTER(_Device),)
    library.edgetpu_free_devices.restype = None
    version = (library.edgetpu_version() or b"").decode(errors="replace")
    count = ctypes.c_size_t()
    listed = library.edgetpu_list_devices(ctypes.byref(count))
    devices = (
        [{"type": TYPES.get(d.type, str(d.type)), "path": (d.path or b"").decode(errors="replace")} for d in listed[: count.value]]
        if listed
        else []
    )
    if listed:
        library.edgetpu_free_devices(listed)
    if not spec["list_only"]:
        _require_device(spec["device"], devices)
    return {"version": version, "devices": devices, "path": _loaded_from(spec["library"])}


def _require_device(wanted: str, devices: list[dict[str, str]]) -> None:
    kind, _, index = wanted.partition(":")
    fitting = [device for device in devices if not kind or device["type"] == kind]
    if len(fitting) <= int(index or 0):
        raise _StartError("absent", f"{len(fitting)} devices fit")


def _loaded_from(library: str) -> str:
    """The file behind the library, as the loader found it."""
    name = os.path.basename(library)  # noqa: PTH119 - pathlib is not imported, to start sooner
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - the same
        paths = {line.split(None, 5)[5].strip() for line in maps if "/" in line}
    return next((path for path in sorted(paths) if os.path.basename(path).startswith(name.split(".so")[0])), library)  # noqa: PTH119 - the same


class _Model:
    """The interpreter with the delegate, its input and outputs joined to the shared memory. Fails by stage."""

    def __init__(self, channel: socket.socket, spec: dict[str, Any], library: dict[str, Any]) -> None:
        self._numpy = importlib.import_module("numpy")
        self._spec = spec
        self._refuse_newer_model(library["version"])
        _say(channel, stage="runtime")
        create, load_delegate = self._runtime()
        _say(channel, stage="open")
        delegate = self._open(load_delegate)
        _say(channel, stage="build")
        with mmap.mmap(spec["model"], max(spec["model_bytes"], 1), prot=mmap.PROT_READ) as file:
            content = file[:]
        try:
            self._interpreter = create(model_content=content, experimental_delegates=[delegate])
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise _StartError("model", _one_line(error)) from error
        self._join_memory()
        _say(channel, stage="trial")
        self.trial_ms = self._trial()

    def _runtime(self) -> tuple[Any, Any]:
        name = self._spec["runtime"]
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            raise _StartError("runtime", f"{name} cannot be imported: {error}") from error
        return module.Interpreter, module.load_delegate

    def _open(self, load_delegate: Any) -> Any:
        options = dict(self._spec["options"])
        if self._spec["device"]:
            options["device"] = self._spec["device"]
        try:
            return load_delegate(self._spec["library"], options)
        except (ValueError, OSError, RuntimeError) as error:
            raise _StartError("open", _one_line(error)) from error

    def _refuse_newer_model(self, version: str) -> None:
        """The model's package says which runtime it needs; the library only says that it refuses."""
        found = re.search(r"RuntimeVersion\((\d+)\)", version)
        needed = self._spec["needs_runtime"]
        if found and needed > int(found[1]):
            raise _StartError("model_version", f"the model is compiled for Edge TPU runtime {needed}, libedgetpu offers {found[1]}")

    def _join_memory(self) -> None:
        numpy, spec = self._numpy, self._spec
        memory = mmap.mmap(spec["memory"], spec["slots"] * spec["slot_bytes"])
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [(d["index"], d["dtype"]) for d in self._interpreter.get_output_details()[: len(spec["output_bytes"])]]
        self._slots = []
        for slot in range(spec["slots"]):
            start = slot * spec["slot_bytes"]
            pixels = numpy.frombuffer(memory, numpy.uint8, spec["input_bytes"], start).reshape(self._input["shape"])
            outputs = []
            place = start + spec["input_bytes"]
            for (index, dtype), size in zip(self._outputs, spec["output_bytes"], strict=True):
                shape = self._interpreter.get_tensor(index).shape
                outputs.append(numpy.frombuffer(memory, dtype, size // numpy.dtype(dtype).itemsize, place).reshape(shape))
                place += size
            self._slots.append((pixels, outputs))

    def _trial(self) -> float:
        took_ms = 0.0
        for _ in range(TRIAL_INVOKES):
            try:
                took_ms = self.run(0) / 1e6
            except (RuntimeError, ValueError) as error:
                raise _StartError("error", _one_line(error)) from error
        return took_ms

    def run(self, slot: int) -> int:
        """Invoke on the pixels of a slot and leave the outputs there; returns the invoke's nanoseconds."""
        pixels, outputs = self._slots[slot]
        entry = self._interpreter.tensor(self._input["index"])()
        if self._input["dtype"] is self._numpy.int8:
            self._numpy.bitwise_xor(pixels, 0x80, out=entry.view(self._numpy.uint8))  # pixel - 128, as int8
        else:
            entry[:] = pixels
        del entry  # the interpreter refuses to run while its memory is referred to
        before = time.monotonic_ns()
        self._interpreter.invoke()
        took_ns = time.monotonic_ns() - before
        for (index, _), output in zip(self._outputs, outputs, strict=True):
            output[:] = self._interpreter.tensor(index)()
        return took_ns


def _serve(channel: socket.socket, model: _Model) -> None:
    while message := channel.recv(1):
        try:
            channel.send(ANSWER.pack(1, model.run(message[0])))
        except (RuntimeError, ValueError) as error:
            channel.send(ANSWER.pack(0, 0) + _one_line(error).encode()[:1000])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
