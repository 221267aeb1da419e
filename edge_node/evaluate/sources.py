"""Which sequences a name on the command line stands for."""

from collections.abc import Sequence as Several
from pathlib import Path

from edge_node.errors import UsageError
from edge_node.evaluate.clips import find_clips
from edge_node.evaluate.coco import Picture
from edge_node.evaluate.truth import Sequence
from edge_node.evaluate.virtual import MOTIONS, virtual_cameras


def sequences_of(what: str, pictures: Several[Picture], *, frames: int, alone: bool) -> list[Sequence]:
    """``virtual``, ``virtual:MOTION``, or the path of clips. ``alone``: one person at a time.

    Raises ``UsageError`` for a name that stands for nothing, ``AnnotationError`` when the sequences cannot be made.
    """
    kind, _, motion = what.partition(":")
    if kind == "virtual":
        if motion and motion not in MOTIONS:
            raise UsageError(f"--sequence {what}: {motion} is no motion; there are {', '.join(MOTIONS)}")
        return list(virtual_cameras(_demanded(what, pictures), [motion] if motion else list(MOTIONS), frames, alone))
    return list(find_clips(Path(what)))


def _demanded(what: str, pictures: Several[Picture]) -> Several[Picture]:
    if not pictures:
        raise UsageError(f"--sequence {what}: is made from annotated pictures; give them with --coco DIR")
    return pictures
