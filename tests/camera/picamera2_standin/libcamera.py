"""Stand-in for the module ``libcamera``."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transform:
    hflip: int = 0
    vflip: int = 0
