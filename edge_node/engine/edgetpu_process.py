"""The parent's hold on the process that owns the Edge TPU: start it, hear it, talk to it, end it.

What the two share is a memfd, inherited by file descriptor: it has no name, so nothing is left behind however either of them
dies. The child ends with its parent (PR_SET_PDEATHSIG, and end of file on the channel).

PR_SET_PDEATHSIG acts when the *thread* that started the child ends: start it from one that lives as long as the child may.
"""

import contextlib
import dataclasses
import io
import itertools
import json
import logging
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_node.engine.edgetpu_child import ENTRIES_BYTES, ENTRY
from edge_node.errors import EngineError

log = logging.getLogger(__name__)

CHILD = Path(__file__).with_name("edgetpu_child.py")
LIBRARY = "libedgetpu.so.1"
STARTUP_S = 30.0
"""libedgetpu retries the opening of a stick for about 25 s."""
POLITE_S = 0.3
"""How long a child that was asked to end may take before it is killed."""
KILLED_S = 5.0
"""A process that dies or is killed is gone by then, unless libedgetpu or the kernel's driver is stuck."""
OUTPUT_LINES = 20
STUCK = "stuck"
"""The reason of a process that cannot even be killed."""


class EdgeTpuError(EngineError):
    """The Edge TPU cannot be used, or failed.

    ``reason``: a word for counters (``absent open hang abort`` …). ``stage``: how far its start came. ``advice``: what to do.
    """

    def __init__(self, reason: str, text: str, stage: str = "", advice: str = "") -> None:
        super().__init__(f"{text}: {advice}" if advice else text)
        self.reason = reason
        self.text = text
        self.stage = stage
        self.advice = advice

    def bare(self) -> "EdgeTpuError":
        """The same without its traceback, to be kept: the frames it refers to hold the shared memory."""
        return EdgeTpuError(self.reason, self.text, self.stage, self.advice)


class StoppedError(EngineError):
    """The start was given up because the node stops."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where in each slot of the shared memory the model's tensors are, in bytes from its beginning; and the type of the input's numbers."""

    slot_bytes: int
    input_at: int
    input_dtype: str
    outputs_at: Sequence[int]


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What the child is to do. ``runtime``: the module that has ``Interpreter``. ``needs_runtime``: the libedgetpu the model needs."""

    library: str = LIBRARY
    device: str = ""
    options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    runtime: str = ""
    needs_runtime: int = 0
    model: bytes = b""
    slots: int = 0
    list_only: bool = False


class ChildProcess:
    """One run of ``edgetpu_child.py``. ``memory``: what it shares with the parent, once it is ready.

    ``start`` may take long; ``submit`` and ``answer`` are for one thread; ``end`` is for the thread that started it.
    Raises ``EdgeTpuError`` (``spawn``) where the system has no process, memory or descriptor left for it.
    """

    def __init__(self, spec: ChildSpec) -> None:
        self.stage = "start"
        self.output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._partial = b""
        self._output_ended = False
        self._slots = spec.slots
        self._uncounted = False
        self._ended = False
        try:
            self._spawn(spec)
        except OSError as error:
            raise EdgeTpuError("spawn", f"the process for the Edge TPU cannot be started: {error.strerror}", self.stage) from error

    def _spawn(self, spec: ChildSpec) -> None:
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            self._channel, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.enter_context(self._channel)
            theirs.enter_context(channel)
            self._shared, model = ours.enter_context(_memory_file()), theirs.enter_context(_memory_file())
            self._asked, self._answered = _counter(ours), _counter(ours)
            model.write(spec.model)
            descriptors = {"channel": channel.fileno(), "memory": self._shared.fileno(), "model": model.fileno()}
            descriptors |= {"asked": self._asked, "answered": self._answered}
            words = _as_json(spec) | descriptors | {"parent": os.getpid()}
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(CHILD), json.dumps(words)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=tuple(descriptors.values()),
            )
            self._descriptors = ours.pop_all()
        assert self._process.stderr is not None  # noqa: S101 - asked for above; tells the type checker
        self._errors = self._process.stderr
        os.set_blocking(self._errors.fileno(), False)
        # The answer before the end of the channel, where both are there.
        self._answer_or_end = select.poll()
        self._answer_or_end.register(self._answered, select.POLLIN)
        self._answer_or_end.register(self._channel, 0)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, stop_fd: int = -1, deadline_s: float = STARTUP_S) -> dict[str, Any]:
        """Wait until the child is ready; returns what it says of itself.

        Raises ``EdgeTpuError`` when it fails, dies or takes longer than ``deadline_s``; ``StoppedError`` once ``stop_fd``
        becomes readable. In each of these cases the child is ended first.
        """
        deadline = time.monotonic() + deadline_s
        try:
            while True:
                self._wait_for_news(stop_fd, deadline)
                message = self._startup_message()
                if "ready" in message:
                    self._share_memory()
                    return dict(message["ready"])
                if "failed" in message:
                    raise EdgeTpuError(message["failed"], message["text"], self.stage)
                self.stage = message.get("stage", self.stage)
        except EngineError:
            self.end()
            raise

    def submit(self, slot: int) -> None:
        """Ask for an invoke on what is in ``slot``. Raises ``EdgeTpuError`` when the process was ended."""
        if self._ended:  # the descriptors' numbers may be somebody else's by now
            raise _gone()
        self._entries[next(self._next_asked)] = slot
        os.eventfd_write(self._asked, 1)
        self._count_answer()  # now, while the device works

    def answer(self, deadline_s: float) -> float:
        """Wait for the oldest submitted slot's answer; returns the invoke's milliseconds as the child measured them.

        Raises ``EdgeTpuError``: ``hang`` after ``deadline_s``, ``error`` when the invoke failed, ``died`` when the child did.
        """
        self._count_answer()
        ready = self._answer_or_end.poll(deadline_s * 1e3)
        if not ready:
            raise EdgeTpuError("hang", f"no answer within {deadline_s * 1000:.0f} ms", "invoke")
        if ready[0][0] != self._answered:
            raise _gone()
        self._uncounted = True
        entry = next(self._next_answered)
        if not self._entries[entry + 1]:
            raise EdgeTpuError("error", self._channel.recv(2048).decode(errors="replace"), "invoke")
        return self._entries[entry + 2] / 1e6

    def _count_answer(self) -> None:
        if self._uncounted:
            os.eventfd_read(self._answered)
            self._uncounted = False

    def watch(self, wake_fd: int, timeout_s: float) -> bool:
        """Wait until ``wake_fd`` is readable, the child dies (False) or ``timeout_s`` passes, keeping its output."""
        poll = self._poll(wake_fd, channel_events=0)
        events = dict(poll.poll(timeout_s * 1000))
        self._read_output()
        return not events.get(self._channel.fileno(), 0) & (select.POLLHUP | select.POLLERR)

    def end(self, *, polite: bool = False) -> str:
        """End the process, and say what it died of, by itself or now: ``abort``, ``crash``, ``killed``, ``exit`` …

        Raises ``EdgeTpuError`` (``stuck``) when it cannot even be killed: the driver holds it.
        """
        died_of = self._process.poll()
        self._ended = True
        self._descriptors.close()
        if died_of is None and polite and not self._gone_within(POLITE_S):
            polite = False
        if not polite:
            self._process.kill()
        if not self._gone_within(KILLED_S):
            raise EdgeTpuError(STUCK, f"process {self.pid} cannot be killed, the driver holds it: switch the device off and on", self.stage)
        self._read_output()
        self._errors.close()
        return _cause(self._process.returncode)

    def gone(self) -> bool:
        """Whether a process that was stuck has ended since."""
        return self._process.poll() is not None

    def _gone_within(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _share_memory(self) -> None:
        """As large as the child has made it."""
        try:
            with self._shared:
                self.memory = mmap.mmap(self._shared.fileno(), 0)
        except OSError as error:
            raise EdgeTpuError("spawn", f"memory cannot be shared: {error.strerror}", self.stage) from error
        self._entries = memoryview(self.memory)[-ENTRIES_BYTES:].cast("Q")
        places = range(0, self._slots * ENTRY, ENTRY)
        self._next_asked, self._next_answered = itertools.cycle(places), itertools.cycle(places)

    def _wait_for_news(self, stop_fd: int, deadline: float) -> None:
        poll = self._poll(stop_fd, channel_events=select.POLLIN)
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise EdgeTpuError("hang", f"the Edge TPU did not start within the deadline; it hung at: {self.stage}", self.stage)
            ready = {fd for fd, _ in poll.poll(left_s * 1000)}
            self._read_output()
            if stop_fd in ready:
                raise StoppedError("the node stops")
            if self._channel.fileno() in ready:
                return

    def _startup_message(self) -> dict[str, Any]:
        message = self._channel.recv(65_536)
        if not message:
            if not self._gone_within(KILLED_S):  # its end hangs in libedgetpu
                raise EdgeTpuError("hang", f"the Edge TPU process neither goes on nor ends; it hung at: {self.stage}", self.stage)
            self._read_output()
            cause = _cause(self._process.returncode)
            raise EdgeTpuError(cause, f"the Edge TPU process died ({cause}) at: {self.stage}{self.last_words()}", self.stage)
        return dict(json.loads(message))

    def last_words(self) -> str:
        """The last line the child wrote to its standard error, to stand behind a message; empty when there is none."""
        return f": {self.output[-1]}" if self.output else ""

    def _poll(self, other_fd: int, channel_events: int) -> "select.poll":
        poll = select.poll()
        poll.register(self._channel, channel_events)
        if not self._output_ended:  # an ended pipe is always ready
            poll.register(self._errors, select.POLLIN)
        if other_fd >= 0:
            poll.register(other_fd, select.POLLIN)
        return poll

    def _read_output(self) -> None:
        while (chunk := self._errors.read(65_536)) is not None:  # None: nothing more for now
            if not chunk:
                self._output_ended = True
                return
            *lines, self._partial = (self._partial + chunk)[-65_536:].split(b"\n")
            for line in lines:
                self.output.append(line.decode(errors="replace").strip())
                log.debug("Edge TPU process: %s", self.output[-1])


def _gone() -> EdgeTpuError:
    return EdgeTpuError("died", "the Edge TPU process is gone", "invoke")


def _memory_file() -> io.FileIO:
    """A file without a name, a page long so that it can be mapped."""
    file = io.FileIO(os.memfd_create("edge_node-edgetpu"), "r+")
    file.truncate(mmap.PAGESIZE)
    return file


def _counter(owner: contextlib.ExitStack) -> int:
    """A descriptor from which each read takes one, waiting for it."""
    descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
    owner.callback(os.close, descriptor)
    return descriptor


def _as_json(spec: ChildSpec) -> dict[str, Any]:
    words = dataclasses.asdict(spec)
    content = words.pop("model")
    return words | {"model_bytes": len(content)}


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return "exit"
    known: dict[int, str] = {signal.SIGABRT: "abort", signal.SIGSEGV: "crash", signal.SIGBUS: "crash", signal.SIGKILL: "killed"}
    return known.get(-exit_code, "signal")  # real-time signals have no name
