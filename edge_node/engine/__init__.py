"""Running a model: the interface that every engine offers, and what comes out of it.

An engine is given, for each square, a function that writes the square's pixels straight into the model's input, and one
function that reads the model's output where it lies. So nothing is copied on the way, and an engine with several
interpreters does sampling and decoding beside the running ``invoke``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@lru_cache(maxsize=32)
def real_values(scale: float, zero_point: int, logistic: bool) -> NDArray[np.float32]:
    """Real value for each of the 256 bit patterns of an int8, in the order of the pattern read as uint8.

    The logistic function in the steps in which the model's own operator gives it.
    """
    real = (np.arange(256, dtype=np.uint8).view(np.int8).astype(np.float64) - zero_point) * scale
    if logistic:
        real = np.minimum(np.rint(256 / (1 + np.exp(-real))), 255) / 256
    table = real.astype(np.float32)
    table.setflags(write=False)
    return table


@dataclass(frozen=True, slots=True)
class Quantised:
    """One quantised head: real value = (``values`` - ``zero_point``) x ``scale``, and of that, where ``logistic``, the logistic function.

    ``values``: int8 [rows, columns, channels].
    """

    values: NDArray[np.int8]
    scale: float
    zero_point: int
    logistic: bool = False

    def real(self, stored: NDArray[np.int8]) -> NDArray[np.float32]:
        """The real values of what was taken from ``values``, float32 of the same shape."""
        return real_values(self.scale, self.zero_point, self.logistic)[stored.view(np.uint8)]


@dataclass(frozen=True, slots=True)
class Heads:
    """The four heads of a MoveNet, each on a grid of ``rows`` x ``columns`` cells over the square (48 x 48 for Lightning).

    ``centre`` [.., 1]: how likely a person's centre is in the cell; when ``centre_weighted`` it is multiplied with the
    model's constant preference for the middle. ``heatmap`` [.., 17]. ``offset`` [.., 34]: dy, dx for each keypoint, in
    cells. ``regression`` [.., 34]: dy, dx from a centre to each keypoint, in cells. ``closeness`` is the constant preference
    as float32 [rows, columns], to divide out of a weighted centre, where the model file carries it.

    The arrays may be views of the interpreter's memory: they are valid only inside the ``decode`` call they are given to.
    """

    centre: Quantised
    heatmap: Quantised
    offset: Quantised
    regression: Quantised
    centre_weighted: bool
    closeness: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class StockPoses:
    """The finished output of a model that is not cut: float32 [people, 17, 3], y, x, score, 0..1 of the square."""

    keypoints: NDArray[np.float32]


ModelOutput = Heads | StockPoses
Fill = Callable[[NDArray[np.uint8]], None]
"""Writes RGB into the uint8 [size, size, 3] array it is given, every byte of it."""


@dataclass(frozen=True, slots=True)
class Inference(Generic[T_co]):
    """What became of one square: the decoded result, who computed it (``"cpu"`` or ``"edgetpu"``), and the time of each stage."""

    result: T_co
    accelerator: str
    sample_ms: float
    invoke_ms: float
    decode_ms: float


class Engine(Protocol):
    """Runs one model. Used by one thread; a context manager in the sense that ``close`` gives everything back."""

    @property
    def input_size_px(self) -> int:
        """Side of the model's square input (192 for Lightning)."""

    @property
    def parallel(self) -> int:
        """How many squares run at the same time."""

    @property
    def takes_every_core(self) -> bool:
        """One square is run by threads on all cores: whatever else runs meanwhile makes them wait for each other."""

    @property
    def accelerator(self) -> str:
        """What runs the next square: ``"cpu"`` or ``"edgetpu"``."""

    @property
    def description(self) -> str:
        """One line for log and ``info``: runtime, version, threads, heads or stock output."""

    def infer(self, fills: Sequence[Fill], decode: Callable[[ModelOutput], T]) -> list[Inference[T]]:
        """Run every square, in the order given. Raises ``EngineError`` when a square could not be run at all."""

    def close(self) -> None:
        """Give back interpreters, threads, processes and devices. May be called more than once."""
