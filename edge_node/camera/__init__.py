"""Where frames come from."""

from typing import Protocol

from edge_node.data import Frame


class Camera(Protocol):
    """A source of frames, opened by ``open`` and read by one thread."""

    @property
    def live(self) -> bool:
        """A live source goes on without us: only its newest frame counts. Of one that is not live, every frame counts."""

    @property
    def description(self) -> str:
        """One line for log and ``info``: device, size, rate, pixel format."""

    def open(self) -> None:
        """Raises ``CameraError`` when it cannot be opened now, ``SourceUnusableError`` when it never can."""

    def read(self) -> Frame | None:
        """The next frame, RGB; ``None`` at the end of a file. ``seq`` goes on over a re-open.

        Raises ``CameraError`` when the source stalls (no frame in ``stall_s``) or is lost.
        """

    def close(self) -> None:
        """Give the device back, within a deadline. May be called more than once."""
