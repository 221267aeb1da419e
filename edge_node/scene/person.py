"""What is remembered of one person between frames."""

from collections.abc import Container
from dataclasses import dataclass, field

import numpy as np

from edge_node.config.models import Config
from edge_node.data import People, Person
from edge_node.scene.activity import ActivityMemory
from edge_node.scene.body import measure
from edge_node.scene.falls import FallWatch
from edge_node.scene.hysteresis import SteadyLevel
from edge_node.scene.posture import PostureMemory, look
from edge_node.scene.values import PersonState, SceneEvent, ZoneEvent
from edge_node.scene.zones import ZoneMap, ZoneMemory

MIN_JOINT_SCORE = 0.3
"""Geometry uses joints of at least this score, even where ``pose.score_threshold`` is lower."""
MIN_STEP_S = 0.09
"""Looking at everybody about 10 times a second tells as much as 60 times does."""
MAX_STEP_S = 0.5
"""After a longer gap one frame still does not decide alone."""


@dataclass(slots=True)
class PersonMemory:
    """One identity. ``last_s``: when they were last there, ``looked_s``: last looked at rather than
    predicted; ``centre_px``: where that was, to recognise them under a new identity.
    """

    id: int
    first_s: float
    last_s: float
    looked_s: float
    zones: ZoneMemory
    centre_px: tuple[float, float] = (0.0, 0.0)
    height_px: float | None = None
    posture: PostureMemory = field(default_factory=PostureMemory)
    activity: ActivityMemory = field(default_factory=ActivityMemory)
    shown_activity: SteadyLevel = field(default_factory=SteadyLevel)
    fall: FallWatch = field(default_factory=FallWatch)

    def update(self, person: Person, people: People, config: Config, zones: ZoneMap, at_s: float) -> list[SceneEvent]:
        """Take in this person as seen in one frame; returns what happened."""
        self.last_s = at_s
        elapsed_s = at_s - self.looked_s
        if person.predicted or elapsed_s < MIN_STEP_S:
            return []
        first, self.looked_s = self.looked_s < self.first_s, at_s
        min_score = max(MIN_JOINT_SCORE, config.pose.score_threshold)
        body = measure(person.keypoints, people.width_px, people.height_px, min_score)
        self.centre_px = centre_px(person, people)
        self.height_px = body.height_px or self.height_px
        self._move(person, people, min_score, at_s)
        seen = look(body)
        self.posture.update(seen, MIN_STEP_S if first else min(elapsed_s, MAX_STEP_S))
        events: list[SceneEvent] = [
            ZoneEvent("zone_entered" if entered else "zone_left", people.ts, zone, self.id)
            for zone, entered in self.zones.update(zones, body.foot_px, at_s)
        ]
        fall = self.fall.update(
            self.id,
            body,
            lying=seen.lying,
            activity=self.activity.level,
            sensitivity=config.state.fall_sensitivity,
            at_s=at_s,
            ts=people.ts,
        )
        return [*events, fall] if fall else events

    def use_zones(self, zones: ZoneMap, gone: Container[str], ts: float) -> list[SceneEvent]:
        """Go by ``zones`` from now on; returns what happened to those ``gone``."""
        return [ZoneEvent("zone_left", ts, zone, self.id) for zone in self.zones.use(zones, gone)]

    def left(self, ts: float) -> list[SceneEvent]:
        """What happens when this person is no longer there."""
        return [ZoneEvent("zone_left", ts, zone, self.id) for zone in self.zones.names]

    def gist(self) -> tuple[object, ...]:
        """What makes ``state`` worth saying anew: all but how sure the posture is."""
        return self.id, self.posture.posture, self.shown_activity.value, self.zones.names

    def state(self) -> PersonState:
        """What to say about this person."""
        return PersonState(
            id=self.id,
            posture=self.posture.posture,
            posture_confidence=round(self.posture.confidence, 2),
            activity=self.shown_activity.value,
            zones=self.zones.names,
        )

    def _move(self, person: Person, people: People, min_score: float, at_s: float) -> None:
        if self.height_px is None or not self.activity.due(at_s):
            return
        joints_px = person.keypoints[:, :2] * np.array([people.width_px, people.height_px], np.float32)
        self.activity.update(joints_px, person.keypoints[:, 2] >= min_score, self.height_px, at_s)
        self.shown_activity.update(self.activity.level)


def centre_px(person: Person, people: People) -> tuple[float, float]:
    """Centre of the box, in frame pixels."""
    x0, y0, x1, y1 = person.box
    return (x0 + x1) / 2 * people.width_px, (y0 + y1) / 2 * people.height_px
