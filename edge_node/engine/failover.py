"""The Edge TPU while it works, the CPU the moment it does not: the square in hand is run on the CPU and published.

Both run the same model; the CPU twin is loaded and warm from the start. Who computed a frame is said with each result.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from edge_node.engine import Engine, Fill, Inference, ModelOutput
from edge_node.engine.edgetpu import InferenceLostError
from edge_node.engine.edgetpu_keeper import Keeper

T = TypeVar("T")


class FailoverEngine:
    """An ``Engine`` of two: what ``keeper`` offers, else ``cpu``. Closes both."""

    def __init__(self, cpu: Engine, keeper: Keeper) -> None:
        self._cpu = cpu
        self._keeper = keeper

    @property
    def input_size_px(self) -> int:
        return self._cpu.input_size_px

    @property
    def parallel(self) -> int:
        return self._active.parallel

    @property
    def takes_every_core(self) -> bool:
        return self._active.takes_every_core

    @property
    def accelerator(self) -> str:
        return self._active.accelerator

    @property
    def description(self) -> str:
        edgetpu = self._keeper.current
        return f"{edgetpu.description}; on the CPU {self._cpu.description}" if edgetpu else f"{self._cpu.description}; no Edge TPU at work"

    def infer(self, fills: Sequence[Fill], decode: Callable[[ModelOutput], T]) -> list[Inference[T]]:
        """Run every square, each on the Edge TPU or, from where that fails, on the CPU."""
        edgetpu = self._keeper.current
        if edgetpu is None:
            return self._cpu.infer(fills, decode)
        try:
            return edgetpu.infer(fills, decode)
        except InferenceLostError as lost:
            return lost.done + self._cpu.infer(fills[len(lost.done) :], decode)
        finally:
            if edgetpu.failure is not None:
                self._keeper.lost(edgetpu)

    def close(self) -> None:
        self._keeper.close()
        self._cpu.close()

    @property
    def _active(self) -> Engine:
        return self._keeper.current or self._cpu
