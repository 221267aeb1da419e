"""Where frames come from. ``factory.open_camera`` gives an open ``Camera``; ``capture`` is the thread that reads it."""

from typing import Protocol

from edge_node.data import Frame


class Camera(Protocol):
    """An open source of frames, read and closed by one thread."""

    @property
    def live(self) -> bool:
        """A live source goes on without us: only its newest frame counts. Of one that is not live, every frame counts."""

    @property
    def description(self) -> str:
        """One line for log and ``info``: device, size, rate, pixel format. Never a password."""

    @property
    def due_ns(self) -> int:
        """Until then, on the monotonic clock, it only waits for the time of a frame that it knows; 0 for a source that comes by itself."""

    def read(self) -> Frame | None:
        """The next frame; blocks until it is due. ``None`` at the end of a file.

        Raises ``CameraError`` when the source stalls or is lost, ``SourceUnusableError`` when it has nothing to give at all.
        """

    def skip(self) -> bool:
        """Let the next frame pass without decoding it; blocks and raises as ``read`` does. False at the end of a file."""

    def close(self) -> None:
        """Give the device back. May be called more than once."""
