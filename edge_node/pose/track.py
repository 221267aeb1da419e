"""One followed person: where they were, how they move, how large they are."""

import math
from dataclasses import dataclass, field

import numpy as np

from edge_node.data import KeypointArray, Pose
from edge_node.pose.similarity import extent_px
from edge_node.pose.smoothing import BodyFilter

PREDICT_AT_MOST_S = 0.4
"""Motion is carried on for so long, then the person is expected to stand still."""

VELOCITY_MEMORY_S = 0.1
"""Time constant of the motion estimate."""

VELOCITY_AFTER_MISS = 0.8
"""Share of the motion that is believed on after each look that missed the person."""

TRUST_SCORES = (0.2, 0.5)
"""A pose of the first score says nothing of motion and size, one of the second all it can."""

SHRINK_PER_S = 1.0
"""How fast a person's size may fall, as an exponent per second: limbs that the model fails to see do not make somebody small."""


@dataclass
class Track:
    """One person as the tracker knows them.

    ``key`` is internal; ``id``, from 1, is given when the person is believed. ``size_px``: the longer side of the joints'
    extent, following growth at once and shrinking slowly. ``waited``: frames since they were looked at; ``misses``: looks in
    a row that did not find them.
    """

    key: int
    keypoints_px: KeypointArray
    score: float
    seen_ns: int
    size_px: float
    id: int = 0
    velocity_px_s: tuple[float, float] = (0.0, 0.0)
    waited: int = 0
    misses: int = 0
    hits: int = 1
    seen_now: bool = True
    filter: BodyFilter = field(default_factory=BodyFilter)

    def unseen_s(self, now_ns: int) -> float:
        """Seconds since the person was last found."""
        return (now_ns - self.seen_ns) / 1e9

    def expected_px(self, now_ns: int) -> KeypointArray:
        """Where the joints should be by now, float32 [17, 3]."""
        ahead_s = min(self.unseen_s(now_ns), PREDICT_AT_MOST_S)
        moved = self.keypoints_px.copy()
        moved[:, :2] += np.float32(ahead_s) * np.array(self.velocity_px_s, np.float32)
        return moved

    def take(self, pose: Pose, now_ns: int, threshold: float) -> None:
        """The person was found."""
        elapsed_s = self.unseen_s(now_ns)
        trust = _trust(pose.score)
        if elapsed_s > 0:
            self._learn_motion(pose.keypoints_px, elapsed_s, trust, threshold)
        shrunk = self.size_px * math.exp(-SHRINK_PER_S * trust * elapsed_s)
        self.size_px = max(extent_side(pose.keypoints_px, threshold), shrunk)
        self.keypoints_px, self.score, self.seen_ns = pose.keypoints_px, pose.score, now_ns
        self.hits += 1
        self.waited = self.misses = 0
        self.seen_now = True

    def miss(self) -> None:
        """The person was looked for and not found: the motion of the last good sighting is trusted less and less."""
        self.misses += 1
        self.waited = 0
        vx, vy = self.velocity_px_s
        self.velocity_px_s = (vx * VELOCITY_AFTER_MISS, vy * VELOCITY_AFTER_MISS)

    def _learn_motion(self, keypoints_px: KeypointArray, elapsed_s: float, trust: float, threshold: float) -> None:
        """By the median of the joints' steps: one joint that jumps moves nobody."""
        both = (keypoints_px[:, 2] >= threshold) & (self.keypoints_px[:, 2] >= threshold)
        if both.sum() < 3:
            return
        steps = np.sort(keypoints_px[both, :2] - self.keypoints_px[both, :2], axis=0)
        step = (steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / (2 * elapsed_s)  # np.median takes three times as long
        gain = trust * elapsed_s / (elapsed_s + VELOCITY_MEMORY_S)
        vx, vy = self.velocity_px_s
        self.velocity_px_s = (vx + gain * (float(step[0]) - vx), vy + gain * (float(step[1]) - vy))


def _trust(score: float) -> float:
    """How much a pose of this score may say of motion and size, 0..1."""
    low, high = TRUST_SCORES
    return min(max((score - low) / (high - low), 0.0), 1.0)


def extent_side(keypoints_px: KeypointArray, threshold: float) -> float:
    """The longer side of the extent of the joints that count, in pixels; at least 1."""
    x0, y0, x1, y1 = extent_px(keypoints_px, threshold)
    return max(x1 - x0, y1 - y0, 1.0)
