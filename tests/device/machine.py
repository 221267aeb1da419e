"""A Debian machine in software emulation: its power button, its serial line, and a shell in it over ssh."""

import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HOST_SEEN_FROM_MACHINE = "10.0.2.2"
_QEMU = {
    # x86-64-v2: numpy's AVX2 code crashes under the AVX emulation of qemu 7.2.
    "amd64": ("qemu-system-x86_64", "-machine", "q35", "-cpu", "Nehalem"),
    "arm64": ("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a76"),  # the core of a Raspberry Pi 5
}
_CONSOLE = {"amd64": "ttyS0", "arm64": "ttyAMA0"}


class MachineError(Exception):
    """The machine did not do what was asked of it."""


@dataclass
class Machine:
    """One machine with a disk of its own over the image. Two network cards: the node's (captured to a file), and the test's."""

    architecture: str
    image: Path
    folder: Path
    memory_mb: int = 1024
    fresh: bool = True
    captures: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.disk = self.folder / "disk.qcow2"
        if self.fresh or not self.disk.exists():
            for old in (self.disk, *self.folder.glob("wire-*.pcap")):
                old.unlink(missing_ok=True)
            subprocess.run(
                ["qemu-img", "create", "-q", "-f", "qcow2", "-b", self.image / "disk.qcow2", "-F", "qcow2", self.disk], check=True
            )
        self.captures = sorted(self.folder.glob("wire-*.pcap"))
        self._process: subprocess.Popen[bytes] | None = None
        self._ssh_port = free_port()
        self.powered_at_s = 0.0

    def power_on(self, clock: str = "utc", kernel_words: str = "") -> None:
        """Start it; ``clock`` is what its battery clock says (a Pi has none: give a date long past)."""
        self.captures.append(self.folder / f"wire-{len(self.captures):03}.pcap")
        program, *model = _QEMU[self.architecture]
        words = [
            program, *model, "-accel", "tcg,thread=multi", "-smp", "2", "-m", str(self.memory_mb), "-nographic", "-no-reboot",
            "-kernel", self.image / "vmlinuz", "-initrd", self.image / "initrd.img",
            "-append", f"root=/dev/vda rw console={_CONSOLE[self.architecture]} quiet mitigations=off {kernel_words}",
            "-drive", f"file={self.disk},if=virtio,format=qcow2,cache=none,aio=threads", "-rtc", f"base={clock}",
            "-netdev", "user,id=node,net=10.0.2.0/24", "-device", "virtio-net-pci,netdev=node,mac=52:54:00:00:00:00,romfile=",
            "-object", f"filter-dump,id=wire,netdev=node,file={self.captures[-1]}",
            "-netdev", f"user,id=test,net=10.0.3.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{self._ssh_port}-:22",
            "-device", "virtio-net-pci,netdev=test,mac=52:54:00:00:00:01,romfile=",
            "-device", "virtio-rng-pci",
        ]  # fmt: skip
        with (self.folder / "serial.log").open("ab") as serial:
            self._process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=serial, stderr=serial)
        self.powered_at_s = time.monotonic()

    def wait_for_shell(self, timeout_s: float = 600) -> float:
        """Seconds from power to a shell."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise MachineError(f"qemu ended; see {self.folder / 'serial.log'}")
            if self._ssh("true", timeout_s=60).returncode == 0:
                return time.monotonic() - self.powered_at_s
            time.sleep(1)
        raise MachineError(f"no shell within {timeout_s:g} s; see {self.folder / 'serial.log'}")

    def cut_power(self) -> None:
        """Nothing is told to anybody; what was not on the disk is gone."""
        self._forget_shell()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def power_off(self) -> None:
        """The orderly way."""
        self.run("systemctl poweroff --no-block", check=False)
        self._forget_shell()
        if self._process is not None:
            try:
                self._process.wait(180)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def run(self, command: str, check: bool = True, timeout_s: float = 300) -> str:
        """What ``command`` printed (both streams), as root. Raises ``MachineError`` when it failed and ``check``."""
        done = self._ssh(command, timeout_s)
        text = (done.stdout + done.stderr).decode(errors="replace").strip()
        if check and done.returncode:
            raise MachineError(f"`{command}` ended with {done.returncode}: {text[-600:]}")
        return text

    def succeeds(self, command: str, timeout_s: float = 300) -> bool:
        """Whether ``command`` ends with 0."""
        return self._ssh(command, timeout_s).returncode == 0

    def converse(self, command: str, answers: Mapping[str, str], timeout_s: float = 900) -> str:
        """What ``command`` said on a terminal, where each of its questions got its answer, in that order."""
        words = ["ssh", "-tt", *self._options(), "-p", str(self._ssh_port), "root@127.0.0.1", command]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
        overdue = threading.Timer(timeout_s, process.kill)
        overdue.start()
        said = b""
        waiting = list(answers.items())
        with process, process.stdout as heard, process.stdin as typed:
            while piece := heard.read(4096):
                said += piece
                if waiting and waiting[0][0].encode() in said:
                    typed.write(waiting.pop(0)[1].encode() + b"\n")
        overdue.cancel()
        text = said.decode(errors="replace").strip()
        if process.returncode or waiting:
            raise MachineError(f"`{command}` ended with {process.returncode}: {text[-600:]}")
        return text

    def copy_in(self, *files: Path, to: str = "/root/") -> None:
        """Bring files into the machine."""
        words = ["scp", "-q", *self._options(), "-P", str(self._ssh_port), *map(str, files), f"root@127.0.0.1:{to}"]
        done = subprocess.run(words, capture_output=True, timeout=900, check=False)
        if done.returncode:
            raise MachineError(f"cannot copy {files}: {done.stderr.decode(errors='replace')}")

    def _ssh(self, command: str, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
        words = ["ssh", *self._options(), "-p", str(self._ssh_port), "root@127.0.0.1", command]
        try:
            return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(words, 124, error.stdout or b"", b"no answer in time")

    def _options(self) -> list[str]:
        fixed = {
            "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "LogLevel": "ERROR", "ConnectTimeout": "30",
            "ControlMaster": "auto", "ControlPath": str(self.folder / "ssh"), "ControlPersist": "3600", "BatchMode": "yes",
        }  # fmt: skip
        return ["-i", str(self.image / "id"), *(word for pair in fixed.items() for word in ("-o", "=".join(pair)))]

    def _forget_shell(self) -> None:
        subprocess.run(
            ["ssh", *self._options(), "-O", "exit", "-p", str(self._ssh_port), "root@127.0.0.1"], capture_output=True, check=False
        )
        (self.folder / "ssh").unlink(missing_ok=True)


def free_port() -> int:
    """A TCP port of this side that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
