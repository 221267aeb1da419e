"""A suspected fall: somebody upright sinks fast, ends up horizontal, and stays down.

Three measures, each turned into 0..1 and multiplied: how far the shoulders (or hips) sank within 1.2 s, how fast at the
fastest, and how horizontal the body then lay; somebody who hardly moves afterwards adds a little. Lengths are in body
heights, taken while the person was upright. Sitting down and bending over fail on the last measure, lying down slowly on the
first two. A fall towards or away from the camera shows no horizontal torso and is not seen.
"""

from collections import deque
from dataclasses import dataclass
from statistics import median

from edge_node.scene.body import Body
from edge_node.scene.values import FallEvent

UPRIGHT_BELOW_DEG = 45.0
DOWN_S = 1.0
"""Somebody must lie for so long before the fall counts."""
_WINDOW_S = 1.2
_BASELINE_S = 0.15
"""Speeds are measured over at least this time."""
_TO_LYING_S = 2.5
"""From the end of the descent to lying, at most."""
_UP_AGAIN_S = 1.0
_DROP_FROM = 0.2
"""Body heights; sinking less says nothing."""
_HEIGHTS = 15
"""The upright height is the median of so many samples."""


@dataclass(frozen=True, slots=True)
class _Sample:
    at_s: float
    shoulders_y_px: float | None
    hips_y_px: float | None
    upright: bool


@dataclass(frozen=True, slots=True)
class _Descent:
    began_s: float
    ended_s: float
    ts: float
    drop: float
    """In body heights."""
    speed: float
    """In body heights a second."""
    strength: float
    part: str

    def outdoes(self, earlier: "_Descent") -> bool:
        """Whether it is stronger, or as strong and not the same one still."""
        return self.strength > earlier.strength or (self.strength == earlier.strength and self.began_s > earlier.ended_s)


class FallWatch:
    """One person's recent descent, and whether it ended in a fall."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque()
        self._heights_px: deque[float] = deque(maxlen=_HEIGHTS)
        self._descent: _Descent | None = None
        self._lying_since_s: float | None = None
        self._upright_since_s: float | None = None
        self._reported = False

    def update(
        self, person: int, body: Body, *, lying: float, activity: float, sensitivity: float, at_s: float, ts: float
    ) -> FallEvent | None:
        """Take in one moment: the ``body``, how much it is ``lying`` and its ``activity`` (both 0..1).

        A fall is returned once, when its confidence is at least 1 - ``sensitivity``.
        """
        self._remember(body, at_s)
        self._look_for_descent(at_s, ts)
        self._follow_down(lying, at_s)
        if self._reported or sensitivity <= 0 or not self._stayed_down(at_s):
            return None
        event = self._judge(person, body, lying, activity, at_s)
        if event is None or event.confidence < max(1.0 - sensitivity, 0.05):
            return None
        self._reported = True
        return event

    def _remember(self, body: Body, at_s: float) -> None:
        upright = body.tilt_deg is not None and body.tilt_deg < UPRIGHT_BELOW_DEG
        if upright and body.height_px is not None:
            self._heights_px.append(body.height_px)
        shoulders = body.shoulders_px[1] if body.shoulders_px else None
        hips = body.hips_px[1] if body.hips_px else None
        self._samples.append(_Sample(at_s, shoulders, hips, upright))
        while at_s - self._samples[0].at_s > _WINDOW_S:
            self._samples.popleft()
        self._note_upright(upright, at_s)

    def _note_upright(self, upright: bool, at_s: float) -> None:
        if not upright:
            self._upright_since_s = None
            return
        if self._upright_since_s is None:
            self._upright_since_s = at_s
        if at_s - self._upright_since_s >= _UP_AGAIN_S:
            self._reported = False

    def _look_for_descent(self, at_s: float, ts: float) -> None:
        if self._descent is not None and at_s - self._descent.ended_s > _TO_LYING_S and self._lying_since_s is None:
            self._descent = None  # or it would hide a fall that it has no part in
        if not self._heights_px or not any(sample.upright for sample in self._samples):
            return
        height_px = median(self._heights_px)
        candidates = [
            _descent("shoulders", [(s.at_s, s.shoulders_y_px) for s in self._samples], height_px, ts),
            _descent("hips", [(s.at_s, s.hips_y_px) for s in self._samples], height_px, ts),
        ]
        for found in candidates:
            if found is not None and (self._descent is None or found.outdoes(self._descent)):
                self._descent = found

    def _follow_down(self, lying: float, at_s: float) -> None:
        if lying < 0.5:
            self._lying_since_s = None
        elif self._lying_since_s is None:
            self._lying_since_s = at_s

    def _stayed_down(self, at_s: float) -> bool:
        lying_since_s, descent = self._lying_since_s, self._descent
        if lying_since_s is None or descent is None:
            return False
        return at_s - lying_since_s >= DOWN_S and lying_since_s - descent.ended_s <= _TO_LYING_S

    def _judge(self, person: int, body: Body, lying: float, activity: float, at_s: float) -> FallEvent | None:
        descent, lying_since_s = self._descent, self._lying_since_s
        if descent is None or lying_since_s is None:
            return None
        confidence = descent.strength * lying * (0.85 + 0.15 * (1.0 - activity))
        reasons = [
            f"{descent.part} sank {descent.drop:.2f} body heights within {_WINDOW_S:g} s",
            f"fastest {descent.speed:.1f} body heights a second",
            f"down for {at_s - lying_since_s:.1f} s",
        ]
        if body.tilt_deg is not None:
            reasons.insert(2, f"torso {body.tilt_deg:.0f} degrees from upright")
        if activity < 0.1:
            reasons.append("hardly moving")
        return FallEvent(descent.ts, person, round(min(confidence, 1.0), 2), tuple(reasons))


def _descent(part: str, heights: list[tuple[float, float | None]], body_px: float, ts: float) -> _Descent | None:
    """The descent that ends with the last of ``heights`` (time, y in pixels, downwards), if it is one."""
    known = [(at_s, y) for at_s, y in heights if y is not None]
    if len(known) < 2 or known[-1][0] != heights[-1][0]:
        return None
    now_s, now_y = known[-1]
    began_s, top_y = min(known, key=lambda sample: sample[1])
    drop = (now_y - top_y) / body_px
    if drop <= _DROP_FROM:
        return None
    speed = max((_speed(known, i) for i in range(len(known))), default=0.0) / body_px
    strength = _ramp(drop, _DROP_FROM, 0.45) * _ramp(speed, 0.45, 1.0)
    return _Descent(began_s, now_s, ts, drop, speed, strength, part) if strength > 0 else None


def _speed(known: list[tuple[float, float]], i: int) -> float:
    """Downward speed from sample ``i`` to the first one at least a baseline later, in pixels a second."""
    at_s, y = known[i]
    for later_s, later_y in known[i + 1 :]:
        if later_s - at_s >= _BASELINE_S:
            return (later_y - y) / (later_s - at_s)
    return 0.0


def _ramp(value: float, zero_at: float, one_at: float) -> float:
    return min(1.0, max(0.0, (value - zero_at) / (one_at - zero_at)))
