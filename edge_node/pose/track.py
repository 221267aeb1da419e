"""One followed person: where they were, how they move, how large they are."""

import math
from dataclasses import dataclass, field

import numpy as np

from edge_node.data import KeypointArray, Pose
from edge_node.pose.similarity import side_of
from edge_node.pose.smoothing import BodyFilter

PREDICT_AT_MOST_S = 0.4
"""Motion is carried on for so long, then the person is expected to stand still."""

VELOCITY_MEMORY_S = 0.1
"""Time constant of the motion estimate."""

BLINK_S = 0.07
"""Somebody missed by one look, or by all looks for no longer than this, is taken to be there still: the model blinks."""

VELOCITY_AFTER_MISS = 0.8
"""Share of the motion that is believed on after each look that missed the person."""

TRUST_SCORES = (0.2, 0.5)
"""A pose of the first score says nothing of motion and size, one of the second all it can."""

SHRINK_PER_S = 1.0
"""How fast a person's size may fall, as an exponent per second: limbs that the model fails to see do not make somebody small."""

ROUGH_LOOKS = 1
"""The first look at somebody is at the whole frame or a tile of it. Its joints are rough, and would hold back those of the first crop,
where that comes with the next frame only."""


@dataclass
class Track:
    """One person as the tracker knows them.

    ``key`` is internal; ``id``, from 1, is given when the person is believed. ``pose``: as they were found last. ``size_px``: the
    longer side of its extent, following growth at once and shrinking slowly. ``waited``: frames since they were looked at;
    ``misses``: looks in a row that did not find them; ``blink``: these are so few that nothing is concluded from them.
    ``rough``: they have just come, or come back, and no square of their own has shown them yet.
    """

    key: int
    pose: Pose
    seen_ns: int
    id: int = 0
    velocity_px_s: tuple[float, float] = (0.0, 0.0)
    waited: int = 0
    misses: int = 0
    blink: bool = False
    hits: int = 1
    seen_now: bool = True
    rough: bool = True
    filter: BodyFilter = field(default_factory=BodyFilter)

    def __post_init__(self) -> None:
        self.size_px = side_of(self.pose.extent_px)
        self._points: list[list[float]] = self.pose.keypoints_px.tolist()

    @property
    def in_view(self) -> bool:
        """Seen now, or nothing says the contrary: not looked at, or missed just now by a blink."""
        return self.seen_now or self.misses == 0 or (self.blink and self.waited == 0)

    def unseen_s(self, now_ns: int) -> float:
        """Seconds since the person was last found."""
        return (now_ns - self.seen_ns) / 1e9

    def expected_px(self, now_ns: int) -> KeypointArray:
        """Where the joints should be by now, float32 [17, 3]."""
        moved = self.pose.keypoints_px.copy()
        moved[:, :2] += np.array(self.way_px(now_ns), np.float32)
        return moved

    def expected_middle_px(self, now_ns: int) -> tuple[float, float]:
        """Where the middle of the joints' extent should be by now."""
        x0, y0, x1, y1 = self.pose.extent_px
        x, y = self.way_px(now_ns)
        return (x0 + x1) / 2 + x, (y0 + y1) / 2 + y

    def way_px(self, now_ns: int) -> tuple[float, float]:
        """How far the person should have come since they were last found."""
        ahead_s = min(self.unseen_s(now_ns), PREDICT_AT_MOST_S)
        return ahead_s * self.velocity_px_s[0], ahead_s * self.velocity_px_s[1]

    def take(self, pose: Pose, now_ns: int, threshold: float, *, in_own_square: bool) -> None:
        """The person was found, in a square of their own or another."""
        elapsed_s = self.unseen_s(now_ns)
        trust = _trust(pose.score)
        if self.hits <= ROUGH_LOOKS:
            self.filter.was_rough()
        points = pose.keypoints_px.tolist()
        if elapsed_s > 0:
            self._learn_motion(points, elapsed_s, trust, threshold)
        self._points = points
        shrunk = self.size_px * math.exp(-SHRINK_PER_S * trust * elapsed_s)
        self.size_px = max(side_of(pose.extent_px), shrunk)
        self.pose, self.seen_ns = pose, now_ns
        self.hits += 1
        self.rough = not in_own_square and (self.rough or self.misses > 0)
        self.waited = self.misses = 0
        self.seen_now = True

    def correct(self, pose: Pose) -> None:
        """They were found again in the same frame, in a square of their own."""
        self.pose = pose
        self._points = pose.keypoints_px.tolist()
        self.size_px = side_of(pose.extent_px)
        self.hits += 1
        self.rough = False

    def miss(self, now_ns: int) -> None:
        """The person was looked for and not found: the motion of the last good sighting is trusted less and less."""
        self.misses += 1
        self.blink = self.misses == 1 or self.unseen_s(now_ns) <= BLINK_S
        self.waited = 0
        vx, vy = self.velocity_px_s
        self.velocity_px_s = (vx * VELOCITY_AFTER_MISS, vy * VELOCITY_AFTER_MISS)

    def _learn_motion(self, points: list[list[float]], elapsed_s: float, trust: float, threshold: float) -> None:
        """By the median of the joints' steps: one joint that jumps moves nobody."""
        # Plain Python: for 17 joints it is quicker than numpy.
        xs, ys = [], []
        for (x, y, score), (x_then, y_then, score_then) in zip(points, self._points, strict=True):
            if score >= threshold and score_then >= threshold:
                xs.append(x - x_then)
                ys.append(y - y_then)
        if len(xs) < 3:
            return
        xs.sort()
        ys.sort()
        low, high = (len(xs) - 1) // 2, len(xs) // 2
        gain = trust * elapsed_s / (elapsed_s + VELOCITY_MEMORY_S)
        vx, vy = self.velocity_px_s
        self.velocity_px_s = (
            vx + gain * ((xs[low] + xs[high]) / (2 * elapsed_s) - vx),
            vy + gain * ((ys[low] + ys[high]) / (2 * elapsed_s) - vy),
        )


def _trust(score: float) -> float:
    """How much a pose of this score may say of motion and size, 0..1."""
    low, high = TRUST_SCORES
    return min(max((score - low) / (high - low), 0.0), 1.0)
