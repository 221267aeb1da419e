"""What ``edge-node doctor`` looks at: one module for each kind of thing, each giving ``Finding``s.

Nothing here changes anything, and what may crash (libedgetpu, picamera2) is tried in a process of its own.
"""

from dataclasses import dataclass
from typing import Literal

State = Literal["fine", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``note``: worth knowing, keeps nothing from working. ``advice``: what to do when it is not fine."""

    part: str
    state: State
    text: str
    advice: str = ""


def fine(part: str, text: str) -> Finding:
    """All is well."""
    return Finding(part, "fine", text)


def note(part: str, text: str, advice: str = "") -> Finding:
    """Worth knowing."""
    return Finding(part, "note", text, advice)


def wrong(part: str, text: str, advice: str) -> Finding:
    """Something does not work, or will not."""
    return Finding(part, "wrong", text, advice)
