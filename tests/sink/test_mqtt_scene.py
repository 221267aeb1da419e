"""The scene's speaker by itself: what it hands to the sink."""

import orjson

from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.sink.mqtt_scene import SceneSpeaker
from tests.scene.figures import STANDING, people_at


def told(speaker, begin_s, end_s, *persons):
    """Topic's end and payload of what is said of these people from one second to another."""
    frames = [people_at(begin_s + i / 10, *persons) for i in range(round(10 * (end_s - begin_s)))]
    return [(o.topic.rpartition("/")[2], orjson.loads(o.payload)) for people in frames for o in speaker.saw(people)]


def test_switched_off_and_on_again_the_scene_starts_afresh():
    settings = Settings(lambda: load(None, {}))
    speaker = SceneSpeaker(settings, "boot")
    assert told(speaker, 0, 3, STANDING.person())[-1][1]["present"]
    settings.set("state.enabled", False)
    assert told(speaker, 3, 63) == []
    assert list(speaker.finish()) == []
    settings.set("state.enabled", True)
    assert [(kind, said["present"], said["people"]) for kind, said in told(speaker, 63, 70)] == [("state", False, [])]
