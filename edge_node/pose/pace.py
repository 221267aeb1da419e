"""How often to look, and with how many inferences: by the clock of a live camera, by settings alone for a file."""

import math
import statistics
import time
from collections import deque
from collections.abc import Set

from edge_node.config.models import Config
from edge_node.health import Health

SHARE_OF_INTERVAL = 0.9
"""The rest of the time between two frames is for everything that is not the model."""
COST_MEMORY = 0.1
"""Weight of the newest frame in the measured time of an inference."""
COOLING_SPAN_C = 8.0
"""So many degrees above the limit the node works as little as it ever will ..."""
LEAST_DUTY = 0.25
"""... which is this share of the frames that it looks at when cool."""
INTERVALS = 31
"""Of the last so many between two looks the median is what is usual: a stream has its own rate, whatever ``camera.fps`` says."""
LEAST_IDLE_FPS = 1 / 86_400
"""Who asks for fewer looks still gets one a day."""


class Pace:
    """Decides for each frame whether it is looked at, and how many squares of it.

    ``live``: the source does not wait. Of a source that waits every frame gets the same number of inferences on every machine,
    so that results depend on nothing but the file and the settings.
    """

    def __init__(self, health: Health, *, live: bool) -> None:
        self._health = health
        self._live = live
        self._accelerator = ""
        self._parallel = 1
        self._round_ms = 0.0
        self._look_was_due_ns: int | None = None
        self._intervals_ms: deque[float] = deque(maxlen=INTERVALS)
        self._resume_ns = 0
        self._nobody = False

    def wants(self, media_ns: int, config: Config) -> bool:
        """Whether the frame of this time should be looked at."""
        if self._live and time.monotonic_ns() < self._resume_ns:
            return False
        return media_ns >= self._next_look_ns(config)

    def wanted_from_ns(self, config: Config) -> int:
        """Frames of a live source from before this (monotonic clock) need not even be decoded. May be called from any thread."""
        return max(self._next_look_ns(config), self._resume_ns)

    def _next_look_ns(self, config: Config) -> int:
        if not self._nobody or config.pose.idle_fps == 0 or self._look_was_due_ns is None:
            return 0
        return self._look_was_due_ns + _idle_interval_ns(config)

    def budget(self, config: Config, *, accelerator: str, parallel: int) -> int:
        """Inferences for one frame, at least one. ``parallel``: how many ``accelerator``, which is to do them, runs side by side.

        ``pose.max_inferences`` where it is set. Else as many as it takes to look at everyone and at one scanning square; of a
        live source only what fits between two frames, or within ``pose.latency_target_ms``; one round, until it is known how long
        that takes.
        """
        if accelerator != self._accelerator:  # what was measured is of another one
            self._accelerator, self._parallel, self._round_ms = accelerator, parallel, 0.0
        pose = config.pose
        if pose.max_inferences:
            return pose.max_inferences
        useful = 1 if pose.max_people == 1 else pose.max_people + 1
        if not self._live:
            return useful
        if not self._round_ms:
            return min(useful, self._parallel)
        interval_ms = pose.latency_target_ms or 1000 / config.camera.fps
        rounds = math.floor(SHARE_OF_INTERVAL * interval_ms / self._round_ms)
        return min(useful, max(rounds * self._parallel, 1))

    def looked(self, media_ns: int, *, squares: int, took_ms: float, accelerators: Set[str], people: int, config: Config) -> None:
        """A frame was looked at: ``squares`` inferences on ``accelerators``, ``took_ms`` for all of them; ``people`` are followed."""
        # Here as for rests, what is next counts from when this look was due: the mean rate stays right although frames come when they come.
        due_ns = self._next_look_ns(config)
        if not due_ns and not self._resume_ns and self._look_was_due_ns is not None:
            self._intervals_ms.append((media_ns - self._look_was_due_ns) / 1e6)
        self._look_was_due_ns = max(due_ns, media_ns - _idle_interval_ns(config)) if due_ns else media_ns
        self._nobody = people == 0
        if accelerators == {self._accelerator}:  # else one failed in the midst of it, and the other did its work
            round_ms = took_ms / math.ceil(squares / self._parallel)
            self._round_ms += (COST_MEMORY if self._round_ms else 1.0) * (round_ms - self._round_ms)
        if self._live:
            self._cool(took_ms, config)

    def _cool(self, took_ms: float, config: Config) -> None:
        """Rest after the work, the longer the hotter the processor is above its limit: a share of the looks that there would be else."""
        limit_c = config.pose.max_soc_temperature_c
        temperature_c = self._health.fact_of("soc_temperature_c")
        if not limit_c or not isinstance(temperature_c, float) or temperature_c <= limit_c:
            self._health.problem("temperature", None)
            self._resume_ns = 0
            return
        duty = max(1 - (temperature_c - limit_c) / COOLING_SPAN_C * (1 - LEAST_DUTY), LEAST_DUTY)
        began_ns = time.monotonic_ns() - int(took_ms * 1e6)
        usual_ms = statistics.median(self._intervals_ms) if self._intervals_ms else 1000 / config.camera.fps
        interval_ns = int(max(took_ms, usual_ms) / duty * 1e6)
        self._resume_ns = max(self._resume_ns or began_ns, began_ns - interval_ns) + interval_ns
        self._health.problem("temperature", f"the processor is above {limit_c:g} °C: fewer frames are looked at until it has cooled down")


def _idle_interval_ns(config: Config) -> int:
    return int(1e9 / max(config.pose.idle_fps, LEAST_IDLE_FPS))
