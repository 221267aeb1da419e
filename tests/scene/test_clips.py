"""The scene on real clips, with the real model: what docs/state.md says of them."""

import contextlib

from edge_node.camera.factory import open_camera
from edge_node.config.load import load
from edge_node.config.settings import Settings
from edge_node.engine.create import create_engine
from edge_node.health import Health
from edge_node.pose.estimator import Estimator
from edge_node.scene import FallEvent, Scene


def watch(clip, shared, first=0):
    """For each frame of the clip from ``first`` on: the postures told, and the falls."""
    options = [
        f"camera.source={shared.clips / clip}",
        f"model.directory={shared.models}",
        "model.accelerator=cpu",
        "model.threads=1",
        "pose.max_people=2",
    ]
    settings = Settings(lambda: load(None, {}, options))
    with contextlib.closing(create_engine(settings.current.model, Health())) as engine:
        estimator, scene, camera = Estimator(engine, settings, Health()), Scene(), open_camera(settings.current.camera)
        postures, falls = [], []
        while (frame := camera.read()) is not None:
            if frame.seq < first:
                continue
            falls += [e for e in scene.update(estimator.process(frame), settings.current).events if isinstance(e, FallEvent)]
            postures.append([person.posture for person in scene.latest.people])
        camera.close()
    return postures, falls


def test_squats_are_told_from_standing(shared):
    postures, falls = watch("squats.mp4", shared)
    standing = [postures[n] for n in (*range(19, 28), *range(43, 52))]
    squatting = [postures[n] for n in (*range(9, 13), *range(32, 38), *range(57, 63))]
    assert sum(told == ["standing"] for told in standing) >= 17
    assert sum(told == ["sitting"] for told in squatting) >= 15
    assert not falls


def test_standing_on_one_leg_is_standing(shared):
    postures, falls = watch("dance.mp4", shared)
    told = [posture for people in postures[15:] for posture in people]
    assert told.count("standing") / len(told) > 0.95
    assert not falls


def test_a_somersault_off_a_wall_is_no_fall(shared):
    postures, falls = watch("two_people_jumping.mp4", shared, first=120)
    assert any(postures)
    assert not falls
