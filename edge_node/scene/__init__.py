"""People over time -> what they do: presence, posture, activity, zones, a suspected fall.

Pure functions and small state, driven by the media time of ``People``: no threads, no clock, no I/O.
"""

from edge_node.scene.scene import Scene
from edge_node.scene.values import (
    FallEvent,
    Observed,
    PersonState,
    Posture,
    PresenceEvent,
    SceneEvent,
    ScenePosture,
    SceneState,
    ZoneEvent,
)

__all__ = [
    "FallEvent",
    "Observed",
    "PersonState",
    "Posture",
    "PresenceEvent",
    "Scene",
    "SceneEvent",
    "ScenePosture",
    "SceneState",
    "ZoneEvent",
]
