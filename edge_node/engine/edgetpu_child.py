"""The process that owns the Edge TPU: opens it, runs the model, and may die of it.

libedgetpu aborts the process on a USB error, may hang for ever, and crashes when it was built for another TensorFlow Lite. So it
is only ever loaded here. The parent is ``edgetpu.py``; it starts this file as a script, so that nothing of edge_node is
imported and a child without a device to open is done in a few hundredths of a second.

Argument: one JSON object, ``ChildSpec`` of ``edgetpu_process.py``. On the channel (a SOCK_SEQPACKET socket) the child sends JSON
while it starts (``{"stage": ...}``, then ``{"ready": ...}`` or ``{"failed": reason, "text": ...}``). After that the two speak through
entries in the shared memory and two eventfds, which wake the other side sooner than a socket: the parent writes a square's slot into
the next entry and counts ``asked`` up, the child writes how it went and counts ``answered`` up. The text of an invoke's error goes over
the channel before that. End of file on the channel ends the child; so does the parent's death.

In slot 0 of the memory lie the interpreter's tensors themselves, so that nothing is copied between the two processes.
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
import sys
import threading
import time
from typing import Any, NamedTuple

ENTRY = 3
"""Numbers of 8 bytes: the slot, 1 when the invoke succeeded, its nanoseconds. There are as many entries as slots, used in turn."""
PR_SET_PDEATHSIG = 1
MAP_FIXED = 0x10
PAGE = mmap.PAGESIZE
ENTRIES_BYTES = PAGE
"""What the entries take, at the end of the shared memory."""
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE = 65_536
VERY_LARGE = 33_554_432
"""The utmost to which glibc raises the threshold by itself."""
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
    """Start, say how that went, then serve."""
    spec = json.loads(sys.argv[1])
    _die_with(spec["parent"])
    _map_memory_of(LARGE)
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
            _end_with(channel)
        except _StartError as failure:
            _say(channel, failed=failure.reason, text=failure.text)
            return
        _say(channel, ready=library | {"invoke_ms": model.trial_ms, "layout": model.layout()})
        try:
            model.serve(channel, spec["asked"], spec["answered"])
        finally:  # whatever it was: destroying the delegate of a device that is gone can hang
            sys.excepthook(*sys.exc_info())
            os._exit(1)


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
        _map_memory_of(VERY_LARGE)  # or what libedgetpu takes for an invoke would be mapped and unmapped each time
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
        for _ in range(TRIAL_INVOKES):
            before_ns = time.monotonic_ns()
            try:
                self._interpreter.invoke()
            except (RuntimeError, ValueError) as error:
                raise _StartError("error", _one_line(error)) from error
            took_ms = (time.monotonic_ns() - before_ns) / 1e6
        return took_ms

    def layout(self) -> dict[str, Any]:
        """``Layout`` of ``edgetpu_process.py``."""
        input_at, *outputs_at = self._shared.places
        dtype = self._interpreter.get_input_details()[0]["dtype"].__name__
        return {"slot_bytes": self._shared.slot_bytes, "input_at": input_at, "input_dtype": dtype, "outputs_at": outputs_at}

    def serve(self, channel: socket.socket, asked: int, answered: int) -> None:
        """Invoke whenever asked to, as long as this process lives."""
        # By local names: after an invoke's rest each look-up costs a microsecond.
        shared, entries, invoke, now_ns = self._shared, self._shared.entries, self._interpreter.invoke, time.monotonic_ns
        read, write = os.eventfd_read, os.eventfd_write
        while True:
            for entry in range(0, len(entries), ENTRY):
                read(asked)
                slot = entries[entry]
                try:
                    if slot >= shared.first_copied:
                        shared.bring_in(slot)
                    before_ns = now_ns()
                    invoke()
                    entries[entry + 2] = now_ns() - before_ns
                    if slot >= shared.first_copied:
                        shared.bring_out(slot)
                    entries[entry + 1] = 1
                except (RuntimeError, ValueError) as error:
                    channel.send(_one_line(error).encode()[:1000])
                    entries[entry + 1] = 0
                write(answered, 1)


class _SharedTensors:
    """The memory shared with the parent: slots, laid out as the pages on which the interpreter's tensors (input first) lie, then entries.

    The pages of slot 0 take the place of the interpreter's, so its tensors *are* in that slot; unless they are in the heap, where
    something else may lie on these pages and change. What is in another slot is copied to the interpreter, and back.
    """

    def __init__(self, descriptor: int, slots: int, tensors: list[tuple[int, int]]) -> None:
        stretches = _stretches(tensors)
        self.places = [stretch.place(address) for address, _ in tensors for stretch in stretches if stretch.begin <= address < stretch.end]
        self.slot_bytes = stretches[-1].place(stretches[-1].end)
        size = slots * self.slot_bytes
        os.ftruncate(descriptor, size + ENTRIES_BYTES)
        memory = memoryview(mmap.mmap(descriptor, size + ENTRIES_BYTES))
        self.first_copied = 0 if _in_heap(stretches) else 1
        if self.first_copied:
            for stretch in stretches:
                _map(descriptor, memory, stretch)
        self.entries = memory[size:].cast("Q")[: slots * ENTRY]
        self._tensors = [_memory_at(address, bytes_) for address, bytes_ in tensors]
        self._slots = [self._tensors_of(memory[start:]) for start in range(0, size, self.slot_bytes)]

    def _tensors_of(self, slot: memoryview) -> list[memoryview]:
        return [slot[place : place + len(tensor)] for place, tensor in zip(self.places, self._tensors, strict=True)]

    def bring_in(self, slot: int) -> None:
        """Let the interpreter have the input that is in ``slot``."""
        self._tensors[0][:] = self._slots[slot][0]

    def bring_out(self, slot: int) -> None:
        """Let ``slot`` have the interpreter's outputs."""
        for target, source in zip(self._slots[slot][1:], self._tensors[1:], strict=True):
            target[:] = source


class _Stretch(NamedTuple):
    """Whole pages of the interpreter's memory, from address ``begin`` to ``end``, and where in a slot they are."""

    begin: int
    end: int
    at: int

    def place(self, address: int) -> int:
        """Where in a slot that address is."""
        return self.at + address - self.begin


def _stretches(tensors: list[tuple[int, int]]) -> list[_Stretch]:
    """The pages with tensors on them; those beside each other as one."""
    stretches: list[_Stretch] = []
    for address, size in sorted(tensors):
        begin, end = address // PAGE * PAGE, -(-(address + size) // PAGE) * PAGE
        last = stretches.pop() if stretches else None
        if last and begin <= last.end:
            stretches.append(last._replace(end=max(last.end, end)))
        elif last:
            stretches += [last, _Stretch(begin, end, last.place(last.end))]
        else:
            stretches.append(_Stretch(begin, end, 0))
    return stretches


def _map_memory_of(least_bytes: int) -> None:
    """Have glibc map each piece of memory of so many bytes by itself, unless a free piece of the heap is as large: ``_in_heap`` tells."""
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, least_bytes)
    libc.mallopt(M_TRIM_THRESHOLD, 2 * least_bytes)


def _in_heap(stretches: list[_Stretch]) -> bool:
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - pathlib is not imported, to start sooner
        lines = [line.split()[0].split("-") for line in maps if line.endswith("[heap]\n")]
    heaps = [(int(begin, 16), int(end, 16)) for begin, end in lines]
    return any(stretch.begin < end and stretch.end > begin for stretch in stretches for begin, end in heaps)


def _memory_at(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


def _map(descriptor: int, memory: memoryview, stretch: _Stretch) -> None:
    """Put shared pages in the place of the stretch's own, with what is there: the tensors begin and end within pages."""
    size = stretch.end - stretch.begin
    function = ctypes.CDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
    access, how = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | mmap.MAP_POPULATE | MAP_FIXED
    memory[stretch.at : stretch.at + size] = _memory_at(stretch.begin, size)
    if function(stretch.begin, size, access, how, descriptor, stretch.at) != stretch.begin:
        raise _StartError("spawn", f"memory cannot be shared: {os.strerror(ctypes.get_errno())}")


def _end_with(channel: socket.socket) -> None:
    """From here on the end of the channel ends this process, even in an invoke that never ends."""

    def wait() -> None:
        try:
            channel.recv(1)  # until its end; nothing is sent
        finally:  # the end is an error where the parent left something unread
            os._exit(0)

    try:
        threading.Thread(target=wait, daemon=True).start()
    except RuntimeError as error:
        raise _StartError("spawn", _one_line(error)) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    main()
