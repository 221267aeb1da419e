"""The process that owns the Edge TPU: opens it, runs the model, and may die of it.

libedgetpu aborts the process on a USB error, may hang for ever, and crashes when it was built for another TensorFlow Lite. So it
is only ever loaded here. The parent is ``edgetpu.py``; it starts this file as a script, so that nothing of edge_node is
imported and a child without a device to open is done in a few hundredths of a second.

Argument: one JSON object, ``ChildSpec`` of ``edgetpu_process.py``. On the channel (a SOCK_SEQPACKET socket) the child sends JSON
while it starts (``{"stage": ...}``, then ``{"ready": ...}`` or ``{"failed": reason, "text": ...}``); after that, each one-byte
message from the parent is the number of a slot of the shared memory, and is answered with ``ANSWER`` and, where the invoke
failed, its error's text. End of file on the channel ends the child; so does the parent's death.

In slot 0 of that memory lie the interpreter's tensors themselves, so that nothing is copied between the two processes.
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
from typing import Any, NamedTuple

ANSWER = struct.Struct("<BQ")
"""1 when the invoke succeeded, and its duration in nanoseconds."""
PR_SET_PDEATHSIG = 1
MAP_FIXED = 0x10
PAGE = mmap.PAGESIZE
ALIGNMENT = 64
"""The interpreter's tensors begin at multiples of so many bytes: a smaller gap between two of them belongs to nobody."""
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
    # They reach the whole group or service; the parent decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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
        _say(channel, ready=library | {"invoke_ms": model.trial_ms, "layout": model.layout()})
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
            tensors = self._tensors()
        except (RuntimeError, ValueError) as error:
            raise _StartError("model", _one_line(error)) from error
        self._shared = _SharedTensors(spec["memory"], spec["slots"], tensors)
        _say(channel, stage="trial")
        self.trial_ms = self._trial()
        if self._tensors() != tensors:
            raise _StartError("model", "the interpreter moves its tensors")

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

    def _tensors(self) -> list[tuple[int, int]]:
        """Address and bytes of the input, then of each output."""
        details = self._interpreter.get_input_details()[:1] + self._interpreter.get_output_details()
        views = [self._interpreter.tensor(tensor["index"])() for tensor in details]
        return [(view.__array_interface__["data"][0], view.nbytes) for view in views]

    def _trial(self) -> float:
        took_ms = 0.0
        for _ in range(TRIAL_INVOKES):
            try:
                took_ms = self.run(0) / 1e6
            except (RuntimeError, ValueError) as error:
                raise _StartError("error", _one_line(error)) from error
        return took_ms

    def layout(self) -> dict[str, Any]:
        """``Layout`` of ``edgetpu_process.py``."""
        input_at, *outputs_at = self._shared.places
        dtype = self._interpreter.get_input_details()[0]["dtype"].__name__
        return {"slot_bytes": self._shared.slot_bytes, "input_at": input_at, "input_dtype": dtype, "outputs_at": outputs_at}

    def run(self, slot: int) -> int:
        """Invoke on the input in a slot and leave the outputs there; returns the invoke's nanoseconds."""
        self._shared.bring_in(slot)
        before = time.monotonic_ns()
        self._interpreter.invoke()
        took_ns = time.monotonic_ns() - before
        self._shared.bring_out(slot)
        return took_ns


class _SharedTensors:
    """The memory shared with the parent: slots, each laid out as the interpreter's tensors (input first) lie in its own memory.

    The pages of slot 0 take the place of the interpreter's, so its tensors *are* in that slot. Only the two ends of a stretch of
    tensors, on pages with something else, are copied. What is in another slot is copied to slot 0, and back from there.
    """

    def __init__(self, descriptor: int, slots: int, tensors: list[tuple[int, int]]) -> None:
        stretches = _stretches(tensors)
        self.places = [stretch.place(address) for address, _ in tensors for stretch in stretches if stretch.begin <= address < stretch.end]
        self.slot_bytes = _up_to_page(stretches[-1].place(stretches[-1].end))
        size = slots * self.slot_bytes
        os.ftruncate(descriptor, size)
        memory = memoryview(mmap.mmap(descriptor, size))
        for stretch in stretches:
            _map(descriptor, stretch)
        input_begin, input_end = tensors[0][0], sum(tensors[0])
        ends = [(*end, memory[stretch.place(end[0]) : stretch.place(end[1])]) for stretch in stretches for end in stretch.ends()]
        before = [(_memory_at(begin, end), shared) for begin, end, shared in ends if begin < input_end and end > input_begin]
        after = [(shared, _memory_at(begin, end)) for begin, end, shared in ends if begin < input_begin or end > input_end]
        first, *others = (self._tensors_of(memory[start:], tensors) for start in range(0, size, self.slot_bytes))
        # For each slot what is to be copied before an invoke and after it: pairs of target and source.
        self._before = [before, *([(first[0], slot[0]), *before] for slot in others)]
        self._after = [after, *([*after, *zip(slot[1:], first[1:], strict=True)] for slot in others)]

    def _tensors_of(self, slot: memoryview, tensors: list[tuple[int, int]]) -> list[memoryview]:
        return [slot[place : place + size] for place, (_, size) in zip(self.places, tensors, strict=True)]

    def bring_in(self, slot: int) -> None:
        """Let the interpreter have the input that is in ``slot``."""
        for target, source in self._before[slot]:
            target[:] = source

    def bring_out(self, slot: int) -> None:
        """Let ``slot`` have the interpreter's outputs."""
        for target, source in self._after[slot]:
            target[:] = source


class _Stretch(NamedTuple):
    """The interpreter's memory from address ``begin`` to ``end``, tensors all of it, and where it begins in a slot.

    ``at`` is as far behind the beginning of a page as ``begin``.
    """

    begin: int
    end: int
    at: int

    def place(self, address: int) -> int:
        """Where in a slot that address is."""
        return self.at + address - self.begin

    def pages(self) -> tuple[int, int]:
        """The addresses between which its whole pages are; the same twice where it has none."""
        first = min(_up_to_page(self.begin), self.end)
        return first, max(first, self.end // PAGE * PAGE)

    def ends(self) -> list[tuple[int, int]]:
        """The addresses between which the rest is."""
        first, last = self.pages()
        return [(begin, end) for begin, end in ((self.begin, first), (last, self.end)) if begin < end]


def _stretches(tensors: list[tuple[int, int]]) -> list[_Stretch]:
    stretches: list[_Stretch] = []
    for begin, size in sorted(tensors):
        last = stretches.pop() if stretches else None
        if last and begin - last.end < ALIGNMENT:
            stretches.append(last._replace(end=max(last.end, begin + size)))
        elif last:
            stretches += [last, _Stretch(begin, begin + size, _up_to_page(last.place(last.end)) + begin % PAGE)]
        else:
            stretches.append(_Stretch(begin, begin + size, begin % PAGE))
    return stretches


def _up_to_page(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _memory_at(begin: int, end: int) -> memoryview:
    return memoryview((ctypes.c_char * (end - begin)).from_address(begin)).cast("B")


def _map(descriptor: int, stretch: _Stretch) -> None:
    """Put the shared pages in the place of the stretch's own."""
    first, last = stretch.pages()
    if first == last:
        return
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    access, how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE | MAP_FIXED
    if function(first, last - first, access, how, descriptor, stretch.place(first)) != first:
        raise _StartError("spawn", f"memory cannot be shared: {os.strerror(ctypes.get_errno())}")


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
