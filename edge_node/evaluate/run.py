"""The node over a sequence with truth: each frame through the estimator, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_node.config.settings import Settings
from edge_node.data import Frame, People
from edge_node.engine import Engine
from edge_node.evaluate.identity import IdentityFigures, identity_figures
from edge_node.evaluate.joints import JointFigures, joint_figures
from edge_node.evaluate.matching import FoundPerson, ScoredFrame, scored
from edge_node.evaluate.truth import Sequence as TrueSequence
from edge_node.health import Health
from edge_node.pose.estimator import Estimator


@dataclass(frozen=True, slots=True)
class SequenceResult:
    """What was measured on one sequence, or on several taken together."""

    name: str
    frames: int
    person_frames: int
    inferences_per_frame: float
    joints: JointFigures
    identity: IdentityFigures


def follow(sequence: TrueSequence, engine: Engine, settings: Settings) -> list[ScoredFrame]:
    """Run a fresh estimator over the sequence. Its clock is the sequence's, so the speed of this machine changes nothing.

    Raises ``AnnotationError`` and ``EngineError``.
    """
    estimator = Estimator(engine, settings, Health())
    fps = sequence.fps
    frames = []
    for index, frame in enumerate(sequence.frames()):
        media_ns = round(index / fps * 1e9)
        people = estimator.process(Frame(frame.image, index, media_ns, media_ns, media_ns / 1e9))
        frames.append(scored(frame, _found(people), len(people.regions)))
    return frames


def result(name: str, frames: Sequence[ScoredFrame]) -> SequenceResult:
    """The figures of one run."""
    return SequenceResult(
        name=name,
        frames=len(frames),
        person_frames=sum(len(frame.true) for frame in frames),
        inferences_per_frame=sum(frame.inferences for frame in frames) / max(len(frames), 1),
        joints=joint_figures(frames),
        identity=identity_figures(frames),
    )


def together(runs: Sequence[Sequence[ScoredFrame]]) -> list[ScoredFrame]:
    """Several runs as one, with a cut between them and identities that never meet."""
    true_ids: dict[tuple[int, int], int] = {}
    found_ids: dict[tuple[int, int], int] = {}
    joined = []
    for number, frames in enumerate(runs):
        for index, frame in enumerate(frames):
            true = tuple(replace(p, id=true_ids.setdefault((number, p.id), len(true_ids))) for p in frame.true)
            found = tuple(replace(p, id=found_ids.setdefault((number, p.id), len(found_ids))) for p in frame.found)
            joined.append(ScoredFrame(true, found, frame.cut or index == 0, frame.inferences))
    return joined


def _found(people: People) -> list[FoundPerson]:
    size = np.array([people.width_px, people.height_px, 1], np.float32)
    return [FoundPerson(person.id, person.keypoints * size) for person in people.people]
