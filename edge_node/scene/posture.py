"""Standing, sitting or lying: read off a body's measures, then held against flicker.

Standing: a leg in view is straight and its thigh drops as its shin does. A bent or foreshortened leg under an upright torso is
sitting (squatting and kneeling look the same from here). Lying: the torso is nearer horizontal than upright and the legs do
not hang below it, so that bending over stays standing. Anything else is unknown.
"""

import math
from dataclasses import dataclass

from edge_node.scene.body import Body, Leg
from edge_node.scene.values import Posture

_FORESHORTENED = 1.3
"""Shoulders wider than this many torsos: the body points at the camera, and nothing can be told."""
_HEAD_DOWN_DEG = 135.0
_SURE_SCORE = 0.5
"""Joints of at least this mean score take nothing off the confidence."""
_ONE_BENT_LEG = 0.6
"""How much one bent leg says while the other is out of view: it may be lifted."""
_NO_LEGS = 0.7
"""How much a horizontal torso says while no leg is in view."""

_SETTLE_S = 0.35
"""Time constant of the memory."""
_SWITCH_FROM = 0.5
_SWITCH_LEAD = 0.1


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """How much a body looks like each posture, 0..1; what is missing to 1 in all is unknown."""

    standing: float = 0.0
    sitting: float = 0.0
    lying: float = 0.0


def look(body: Body) -> Likelihoods:
    """What the measures of one moment say."""
    tilt, slenderness = body.tilt_deg, body.slenderness
    if tilt is None or tilt > _HEAD_DOWN_DEG or (slenderness is not None and slenderness > _FORESHORTENED):
        return Likelihoods()
    trust = min(1.0, body.score / _SURE_SCORE)
    horizontal = _rises(tilt, 55.0, 5.0)
    if not body.legs:
        return Likelihoods(lying=trust * _NO_LEGS * _rises(tilt, 65.0, 5.0))
    hang = max(leg.thigh_drop + (leg.shin_drop or 0.0) for leg in body.legs)
    # Without its shin a leg under a horizontal torso may as well kneel.
    stood_on = [_straight(leg) * (1.0 if leg.shin_drop is not None else 1.0 - horizontal) for leg in body.legs]
    straight = max(stood_on)
    folded = min(map(_folded, body.legs, stood_on)) * (1.0 if len(body.legs) > 1 else _ONE_BENT_LEG)
    return Likelihoods(
        standing=trust * straight * _falls(tilt, 110.0, 5.0),
        sitting=trust * folded * (1.0 - horizontal),
        lying=trust * horizontal * _falls(hang, 0.6, 0.08),
    )


class PostureMemory:
    """One person's posture over time. ``posture`` changes when another one has held for about a third of a second."""

    def __init__(self) -> None:
        self.posture = Posture.UNKNOWN
        self._smooth = {Posture.STANDING: 0.0, Posture.SITTING: 0.0, Posture.LYING: 0.0}

    @property
    def confidence(self) -> float:
        """Of the posture held, 0..1; for unknown, how little speaks for any other."""
        if self.posture is Posture.UNKNOWN:
            return 1.0 - max(self._smooth.values())
        return self._smooth[self.posture]

    def update(self, seen: Likelihoods, elapsed_s: float) -> None:
        """Take in what one moment says, ``elapsed_s`` after the one before."""
        share = 1.0 - math.exp(-elapsed_s / _SETTLE_S)
        for posture in self._smooth:
            self._smooth[posture] += share * (getattr(seen, posture.value) - self._smooth[posture])
        best = max(self._smooth, key=lambda posture: self._smooth[posture])
        held = self._smooth.get(self.posture, 0.0)
        if self._smooth[best] >= _SWITCH_FROM and self._smooth[best] >= held + _SWITCH_LEAD:
            self.posture = best
        elif held < _SWITCH_FROM - 2 * _SWITCH_LEAD:
            self.posture = Posture.UNKNOWN


def _straight(leg: Leg) -> float:
    """How much a leg looks like one that is stood on."""
    if leg.shin_drop is None or leg.knee_deg is None:
        return _rises(leg.thigh_drop, 0.58, 0.05)
    if leg.shin_drop <= 0:
        return 0.0
    return min(
        _rises(leg.thigh_drop / leg.shin_drop, 0.52, 0.05),
        _rises(leg.knee_deg, 138.0, 6.0),
        _rises(leg.thigh_drop + leg.shin_drop, 0.65, 0.05),
    )


def _folded(leg: Leg, straight: float) -> float:
    """How much a leg looks like one that is not stood on: thigh towards the camera or the horizon."""
    if leg.shin_drop is None:
        return _falls(leg.thigh_drop, 0.35, 0.05)
    return 1.0 - straight


def _rises(value: float, middle: float, width: float) -> float:
    """Logistic: 0.5 at ``middle``, 0.95 at ``middle + 3 width``."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, (value - middle) / width))))


def _falls(value: float, middle: float, width: float) -> float:
    return 1.0 - _rises(value, middle, width)
