"""Which sequences a name on the command line stands for."""

from collections.abc import Sequence as Several
from pathlib import Path

from edge_node.errors import UsageError
from edge_node.evaluate.clips import find_clips
from edge_node.evaluate.coco import Picture
from edge_node.evaluate.crowd import Crowd
from edge_node.evaluate.drawn import DrawnScene
from edge_node.evaluate.truth import Sequence
from edge_node.evaluate.virtual import MOTIONS, virtual_cameras

CROWD_WAYS = 3
"""Crowds that go different ways are averaged: one crossing more or less decides a single one."""


def sequences_of(what: str, pictures: Several[Picture], *, frames: int, figures: int, alone: bool) -> list[Sequence]:
    """``virtual``, ``virtual:MOTION``, ``crowd``, ``synthetic``, or the path of clips. ``alone``: one person at a time.

    Raises ``UsageError`` for a name that stands for nothing, ``AnnotationError`` when the sequences cannot be made.
    """
    kind, _, motion = what.partition(":")
    if kind == "virtual":
        if motion and motion not in MOTIONS:
            raise UsageError(f"--sequence {what}: {motion} is no motion; there are {', '.join(MOTIONS)}")
        return list(virtual_cameras(_demanded(what, pictures), [motion] if motion else list(MOTIONS), frames, alone))
    if what == "crowd":
        return [Crowd(_demanded(what, pictures), figures, frames, seed) for seed in range(CROWD_WAYS)]
    if what == "synthetic":
        return [DrawnScene(figures, frames)]
    return list(find_clips(Path(what)))


def _demanded(what: str, pictures: Several[Picture]) -> Several[Picture]:
    if not pictures:
        raise UsageError(f"--sequence {what}: is made from annotated pictures; give them with --coco DIR")
    return pictures
