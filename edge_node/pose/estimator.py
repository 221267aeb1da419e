"""Frame → people: attention, model, tracking, smoothing, in this order, once a frame. A still is looked at again and again instead."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from edge_node.config.models import Config
from edge_node.config.settings import Settings
from edge_node.data import Frame, KeypointArray, People, Person
from edge_node.engine import Engine
from edge_node.health import Health
from edge_node.pose.attention import Attention, Look, closer_look
from edge_node.pose.finding import Seen, look
from edge_node.pose.pace import Pace
from edge_node.pose.similarity import extent_px
from edge_node.pose.still import FILLING, MAX_INFERENCES, find_people
from edge_node.pose.track import Track
from edge_node.pose.tracking import APPEAR_SCORE, NOTICE_SCORE, Sighting, Tracker

_Found = tuple[tuple[Person, ...], Sequence[Seen], dict[str, float]]
"""Everyone, the squares that were looked at, and the milliseconds of what came after."""


class Estimator:
    """Turns frames into people. Belongs to one thread; the settings in force are read for each frame.

    ``live``: the source goes on without us, so the work on a frame is fitted into the time there is (see ``Pace``).
    ``prepare_next`` is called in ``process`` when the next frame of a file should be decoded: beside the model where that leaves a core,
    else once it has run.
    """

    def __init__(
        self, engine: Engine, settings: Settings, health: Health, *, live: bool = False, prepare_next: Callable[[], None] = lambda: None
    ) -> None:
        self._engine = engine
        self._prepare_next = prepare_next
        self._settings = settings
        self._health = health
        self._attention = Attention()
        self._tracker = Tracker()
        self._pace = Pace(health, live=live)
        self._size_px = (0, 0)

    def wants(self, frame: Frame) -> bool:
        """Whether this frame should be processed, or left out: nobody is in view, or the processor is too hot."""
        return self._pace.wants(frame.media_ns, self._settings.current)

    def wanted_from_ns(self) -> int:
        """See ``Pace``. May be called from any thread."""
        return self._pace.wanted_from_ns(self._settings.current)

    def process(self, frame: Frame) -> People:
        """Everyone in the frame. Raises ``EngineError`` when the model cannot be run at all."""
        config = self._settings.current
        people, seen, after_ms = self._in_still(frame, config) if frame.still else self._followed(frame, config)
        stage_ms = {**_model_ms(seen), **after_ms}
        accelerator = seen[-1].inference.accelerator
        self._health.frame(len(people), accelerator, stage_ms)
        return People(
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            media_ns=frame.media_ns,
            ts=frame.ts,
            width_px=frame.width_px,
            height_px=frame.height_px,
            accelerator=accelerator,
            people=people,
            regions=tuple(s.region for s in seen),
            stage_ms=stage_ms,
        )

    def _followed(self, frame: Frame, config: Config) -> _Found:
        """Whoever is in a frame that others came before."""
        if self._size_px != (frame.width_px, frame.height_px):  # places in pixels mean something else now
            self._size_px = (frame.width_px, frame.height_px)
            self._tracker.forget()
        budget = self._pace.budget(config, accelerator=self._engine.accelerator, parallel=self._engine.parallel)
        looks = self._looks(frame, config, budget)
        if len(looks) > 1 or not self._engine.takes_every_core:
            self._prepare_next()
        started = time.perf_counter()
        regions = [x.region for x in looks]
        seen = look(self._engine, frame.image, regions, config.pose.score_threshold, config.pose.nms, invoked=self._prepare_next)
        found = time.perf_counter()
        tracks = self._track(frame, looks, seen, config)
        tracked = time.perf_counter()
        seen += self._look_closer(frame, tracks, looks, budget, config)
        closer = time.perf_counter()
        people = tuple(_person(t, frame, config) for t in tracks)
        self._pace.looked(
            frame.media_ns,
            squares=len(looks),
            took_ms=(found - started) * 1e3,
            accelerators={s.inference.accelerator for s in seen},
            people=len(self._tracker.tracks),
            config=config,
        )
        return people, seen, {"track": (tracked - found) * 1e3, "smooth": (time.perf_counter() - closer) * 1e3}

    def _in_still(self, frame: Frame, config: Config) -> _Found:
        """Everyone in a picture of its own, best first."""
        pose = config.pose
        most = pose.max_inferences or MAX_INFERENCES
        still = find_people(frame.image, self._engine, most, pose.max_people, threshold=pose.score_threshold, nms=pose.nms)
        believed = enumerate((p for p in still.poses if p.score >= APPEAR_SCORE), start=1)
        people = tuple(_told(id_, p.score, p.keypoints_px.copy(), frame, config, predicted=False) for id_, p in believed)
        return people, still.looks, {}

    def _looks(self, frame: Frame, config: Config, budget: int) -> list[Look]:
        wanted = self._tracker.wanted(frame.media_ns)
        full = sum(not p.misses for p in wanted) >= config.pose.max_people
        return self._attention.plan(wanted, frame.width_px, frame.height_px, budget=budget, full=full)

    def _look_closer(self, frame: Frame, tracks: Sequence[Track], looks: Sequence[Look], budget: int, config: Config) -> list[Seen]:
        """Look once more at whoever has just come, in squares of their own: in the one that scans they are small, and their joints rough.

        At one of them even where ``budget``, if nobody set it, has nothing left: people come seldom, and are to be right at once.
        """
        room = budget - len(looks) if config.pose.max_inferences else max(budget - len(looks), 1)
        scan_px = max((x.region.side_px for x in looks if x.track is None), default=0.0)
        rough = [t for t in tracks if t.rough and t.seen_now and t.size_px < FILLING * scan_px][:room]
        if not rough:
            return []
        regions = [closer_look(t.pose.extent_px) for t in rough]
        seen = look(self._engine, frame.image, regions, config.pose.score_threshold, config.pose.nms)
        for track, closer in zip(rough, seen, strict=True):
            self._tracker.correct(track, closer.poses, config.pose.score_threshold)
        return seen

    def _track(self, frame: Frame, looks: Sequence[Look], seen: Sequence[Seen], config: Config) -> list[Track]:
        sightings = [Sighting(p, x.track) for x, s in zip(looks, seen, strict=True) for p in s.poses if p.score >= NOTICE_SCORE]
        looked = {x.track for x in looks if x.track is not None}
        return self._tracker.update(sightings, looked, frame.media_ns, config.pose.max_people, config.pose.score_threshold)


def _model_ms(seen: Sequence[Seen]) -> dict[str, float]:
    return {
        "sample": sum(s.inference.sample_ms for s in seen),
        "invoke": sum(s.inference.invoke_ms for s in seen),
        "decode": sum(s.inference.decode_ms for s in seen),
    }


def _person(track: Track, frame: Frame, config: Config) -> Person:
    keypoints = track.pose.keypoints_px.copy() if track.seen_now else track.expected_px(frame.media_ns)
    if config.smoothing.enabled:
        keypoints[:, :2] = track.filter.apply(keypoints, track.size_px, frame.media_ns, config.smoothing)
    return _told(track.id, track.pose.score, keypoints, frame, config, predicted=not track.seen_now)


def _told(id_: int, score: float, keypoints_px: KeypointArray, frame: Frame, config: Config, *, predicted: bool) -> Person:
    """The person as the node tells of them; the array given is normalised where it lies, and becomes theirs."""
    width_px, height_px = frame.width_px, frame.height_px
    extent = extent_px(keypoints_px, config.pose.score_threshold)
    x0, y0, x1, y1 = (min(max(v / side, 0.0), 1.0) for v, side in zip(extent, (width_px, height_px) * 2, strict=True))
    keypoints_px[:, :2] /= np.array([width_px, height_px], np.float32)
    return Person(id_, min(score, 1.0), (x0, y0, x1, y1), keypoints_px, predicted)
