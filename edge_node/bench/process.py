"""What the process and the machine it runs on tell of themselves: processor time, memory, page faults, clock governor."""

import os
import platform
import re
import resource
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from edge_node import soc
from edge_node.engine.threads import processor, usable_cores

_TASKS = Path("/proc/self/task")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Since the start of the process: processor seconds, of that by thread name, and page faults served without a disk."""

    cpu_s: float
    by_thread_s: dict[str, float]
    minor_faults: int

    def since(self, before: "Usage") -> "Usage":
        """What was used after ``before``."""
        threads = {name: used - before.by_thread_s.get(name, 0.0) for name, used in self.by_thread_s.items()}
        return Usage(self.cpu_s - before.cpu_s, threads, self.minor_faults - before.minor_faults)

    def less(self, prefixes: tuple[str, ...]) -> "Usage":
        """Without the threads whose names begin so, as exactly as clock ticks tell."""
        kept = {name: used for name, used in self.by_thread_s.items() if not name.startswith(prefixes)}
        return Usage(self.cpu_s - sum(self.by_thread_s.values()) + sum(kept.values()), kept, self.minor_faults)

    def plus(self, other: "Usage") -> "Usage":
        """Both together."""
        names = self.by_thread_s.keys() | other.by_thread_s.keys()
        threads = {name: self.by_thread_s.get(name, 0.0) + other.by_thread_s.get(name, 0.0) for name in names}
        return Usage(self.cpu_s + other.cpu_s, threads, self.minor_faults + other.minor_faults)


NOTHING_USED = Usage(0.0, {}, 0)


def usage() -> Usage:
    """Up to now. Threads of the same name are one entry, those of libraries named after the library where it names them; their
    clock ticks in hundredths of a second.
    """
    by_thread: dict[str, float] = defaultdict(float)
    names = {str(thread.native_id): thread.name for thread in threading.enumerate()}
    for task in _TASKS.iterdir():
        try:
            text = (task / "stat").read_text(encoding="ascii", errors="replace")
        except OSError:  # ended meanwhile
            continue
        name, fields = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        name = names.get(task.name, "libraries" if name.startswith(("python", "edge-node")) else name)
        by_thread[re.sub(r"[-_ ]?\d+$", "", name)] += (int(fields[11]) + int(fields[12])) * _TICK_S
    return Usage(time.process_time(), dict(by_thread), resource.getrusage(resource.RUSAGE_SELF).ru_minflt)


def rss_mb() -> float:
    """Memory of the process that is in RAM."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


@dataclass(frozen=True, slots=True)
class Machine:
    """``name`` is short and fit for a file name; ``governor`` and ``temperature_c`` only where the machine has them."""

    name: str
    processor: str
    cores: int
    python: str
    governor: str | None
    temperature_c: float | None


def machine() -> Machine:
    """The machine this runs on, as of now."""
    model = processor() or platform.machine()
    short = re.sub(r"[^a-z0-9]+", "-", model.lower().replace("(r)", "").replace("(tm)", "")).strip("-")
    cores = usable_cores()
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return Machine(
        name=f"{short[:60]}-{cores}-cores",
        processor=model,
        cores=cores,
        python=platform.python_version(),
        governor=governor.read_text(encoding="ascii").strip() if governor.is_file() else None,
        temperature_c=soc.temperature_c(),
    )
