"""The stand-in Edge TPU as tests see it: build the library, start its helper, tell it to fail.

It stands in for hardware that cannot be had in a test. Every figure taken with it says so.
"""

import ctypes
import enum
import mmap
import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = "libedgetpu.so.1"
MAGIC = 0x53544155
USB, PCI = 1, 0


class Fault(enum.IntEnum):
    """What the next ``invoke`` does. The numbers are those of ``enum fault`` in simtpu.c."""

    NONE = 0
    ABORT = 1
    HANG = 2
    LATE = 3
    ERROR = 4
    SEGFAULT = 5
    VANISH = 6


class _Control(ctypes.Structure):
    """``struct control`` of simtpu.c."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("magic", "present", "fault", "delay_us", "late_us", "open_failures", "open_hangs")),
        *((name, ctypes.c_uint32) for name in ("old_layout", "runtime_version", "refuse_cut", "device_type", "opens")),
        *((name, ctypes.c_uint64) for name in ("invokes", "faults")),
        ("socket_path", ctypes.c_char * 104),
        ("options", ctypes.c_char * 256),
    )


class SimTpu:
    """One stand-in device, in ``directory``; its ``environment`` makes a process find it as its libedgetpu.

    ``control`` is the device's memory: fields are read and written while it runs.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        build_library(directory)
        path = directory / "control"
        path.write_bytes(bytes(ctypes.sizeof(_Control)))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.control = _Control.from_buffer(self._memory)
        self.control.magic = MAGIC
        self.reset()
        self._helper: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_LIBRARY_PATH": str(self.directory), "SIMTPU_CONTROL": str(self.directory / "control")}

    def reset(self) -> None:
        """A healthy USB stick, plugged in."""
        for name in (
            "fault",
            "delay_us",
            "late_us",
            "open_failures",
            "open_hangs",
            "old_layout",
            "refuse_cut",
            "opens",
            "invokes",
            "faults",
        ):
            setattr(self.control, name, 0)
        self.control.present, self.control.device_type, self.control.runtime_version = 1, USB, 14

    def think(self, cpu_model: Path, compiled_model: Path, *, remember: bool = False) -> None:
        """Start the helper, so that outputs are the CPU model's heads instead of zeros; with ``remember`` each is computed once."""
        path = self.directory / "socket"
        words = [sys.executable, str(HERE / "helper.py"), str(path), str(cpu_model), str(compiled_model)]
        words += ["remember"] if remember else []
        environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])}
        self._helper = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
        assert self._helper.stdout is not None
        if self._helper.stdout.readline() != b"ready\n":
            raise RuntimeError("the stand-in's helper did not start")
        self.control.socket_path = str(path).encode()

    def close(self) -> None:
        if self._helper is not None:
            self._helper.communicate()
            self._helper = None


def build_library(directory: Path, source: Path = HERE / "simtpu.c") -> Path:
    """Compile the library as ``libedgetpu.so.1`` in ``directory``."""
    target = directory / LIBRARY
    subprocess.run(["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", target, source], check=True)
    return target


@contextmanager
def simulated_tpu(cpu_model: Path | None = None, compiled_model: Path | None = None, *, remember: bool = False) -> Iterator[SimTpu]:
    """A stand-in in a directory of its own, its environment in force for this process's children."""
    with tempfile.TemporaryDirectory(prefix="simtpu-") as directory:
        tpu = SimTpu(Path(directory))
        before = {name: os.environ.get(name) for name in tpu.environment}
        os.environ.update(tpu.environment)
        try:
            if cpu_model and compiled_model:
                tpu.think(cpu_model, compiled_model, remember=remember)
            yield tpu
        finally:
            tpu.close()
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def compiled_for_runtime(compiled_model: Path, version: int) -> bytes:
    """The compiled model, saying that it needs another runtime version: the first field of the package marked DWN1."""
    content = bytearray(compiled_model.read_bytes())
    start = content.index(b"DWN1") - 4
    table = start + struct.unpack_from("<I", content, start)[0]
    vtable = table - struct.unpack_from("<i", content, table)[0]
    struct.pack_into("<i", content, table + struct.unpack_from("<H", content, vtable + 4)[0], version)
    return bytes(content)
