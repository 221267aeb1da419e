"""Recordings and bench results as diagrams. Needs matplotlib, the extra ``plot``."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from edge_node.config.models import Smoothing
from edge_node.errors import RecordingError, UsageError
from edge_node.filesystem import is_file
from edge_node.pose.similarity import side_of
from edge_node.pose.skeleton import INDEX
from edge_node.pose.smoothing import BodyFilter
from edge_node.recordings.output import whole_file
from edge_node.sink.messages import Pose, PosePerson, keypoints_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = (".png", ".svg", ".pdf")
Floats = NDArray[np.float64]
LARGEST_BENCH = 1_000_000
"""Bytes; a recording may have any number of them."""
NARROW_IN, ROW_IN = 9.0, 2.6
Measured = Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True, slots=True)
class Track:
    """One person of a recording: ``seconds`` [n] since its start, ``keypoints_px`` float32 [n, 17, 3], ``sizes_px`` [n]: the longer
    sides of the boxes.
    """

    person: int
    seconds: Floats
    keypoints_px: NDArray[np.float32]
    sizes_px: Floats


class StageLatency(TypedDict):
    """Milliseconds."""

    p50: Measured
    p99: Measured


class Bench(TypedDict):
    """What is drawn of a bench result."""

    fps: Measured
    ratio: Measured
    stages: Annotated[dict[str, StageLatency], Field(min_length=1)]


def plot_recording(messages: Sequence[Pose], path: Path, joint: str, person: int | None, smoothing: Smoothing | None) -> None:
    """People over time, the path of one joint of one person (default: who is seen most), and the messages' ages, into ``path``.

    With ``smoothing`` the path is drawn as recorded and as that filter makes it. Raises ``RecordingError`` when the person is
    not in the recording, ``SinkError`` when ``path`` cannot be written.
    """
    track = _track(messages, person)
    figure, (people, x, y, age) = _figure(4)
    start = messages[0]["ts"]
    seconds = [message["ts"] - start for message in messages]
    people.step(seconds, [len(message["people"]) for message in messages], where="post", linewidth=1.2)
    people.set(ylabel="people", xlabel="s")
    people.locator_params(axis="y", integer=True)
    filtered = _smoothed(track, smoothing) if smoothing and len(track.seconds) else None
    for axis, column, name in ((x, 0, "x"), (y, 1, "y")):
        axis.plot(track.seconds, track.keypoints_px[:, INDEX[joint], column], linewidth=1.0, label="as recorded")
        if filtered is not None:
            axis.plot(track.seconds, filtered[:, INDEX[joint], column], linewidth=1.2, label="smoothed")
            axis.legend(loc="upper right", frameon=False)
        axis.set(ylabel=f"{joint} {name}, px", xlabel=f"s (person {track.person})")
    ages = np.array([message["age_ms"] for message in messages])
    age.hist(ages, bins=min(60, max(10, len(ages) // 20)))
    p50, p99 = np.percentile(ages, (50, 99))
    age.set(xlabel=f"age when written, ms (p50 {p50:.1f}, p99 {p99:.1f})", ylabel="messages")
    _save(figure, path)


def read_bench(path: Path) -> Bench | None:
    """The bench result (``edge-node bench --json``) at ``path``; ``None`` when there is another kind of file, or nothing.

    Raises ``RecordingError`` for one that is damaged.
    """
    if not is_file(path, RecordingError):
        return None  # of a pipe reading it would take what the recording needs
    try:
        with path.open("rb") as file:
            value = orjson.loads(file.read(LARGEST_BENCH))
    except (OSError, orjson.JSONDecodeError):
        return None  # more than one line: a recording, or nothing at all, as reading it will say
    if not (isinstance(value, dict) and Bench.__required_keys__ <= value.keys()):
        return None
    try:
        return TypeAdapter(Bench).validate_python(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RecordingError(f"{path}: not a result of edge-node bench: {place}: {first['msg'].lower()}") from None


def plot_bench(result: Bench, path: Path) -> None:
    """The stages' latencies of a bench result into ``path``. Raises ``SinkError``."""
    stages = result["stages"]
    figure, (axis,) = _figure(1)
    places = np.arange(len(stages))
    axis.barh(places - 0.2, [latency["p50"] for latency in stages.values()], 0.4, label="p50")
    axis.barh(places + 0.2, [latency["p99"] for latency in stages.values()], 0.4, label="p99")
    axis.set_yticks(places, list(stages))
    axis.invert_yaxis()
    axis.legend(frameon=False)
    axis.set(xlabel="ms", title=f"{result['fps']:.1f} fps, {result['ratio']:.2f} of the bare model's rate")
    _save(figure, path)


def check_output(path: Path) -> None:
    """Raises ``UsageError`` unless ``path`` is of a kind that can be drawn."""
    if path.suffix.lower() not in KINDS:
        raise UsageError(f"{path}: unknown kind of picture; one of {' '.join(KINDS)}")


def _track(messages: Sequence[Pose], person: int | None) -> Track:
    """Where one person was, message by message; by default the one who is seen most."""
    seen: dict[int, list[tuple[Pose, PosePerson]]] = defaultdict(list)
    for message in messages:
        for one in message["people"]:
            seen[one["id"]].append((message, one))
    if person is None:
        person = max(seen, key=lambda identity: len(seen[identity]), default=0)
    elif person not in seen:
        known = ", ".join(map(str, sorted(seen))) or "nobody"
        raise RecordingError(f"person {person} is not in the recording; there: {known}")
    own = seen.get(person, [])
    return Track(
        person,
        np.array([message["ts"] - messages[0]["ts"] for message, _ in own]),
        np.array([_keypoints_px(*both) for both in own], np.float32).reshape(-1, len(INDEX), 3),
        np.array([_size_px(*both) for both in own]),
    )


def _keypoints_px(message: Pose, person: PosePerson) -> NDArray[np.float32]:
    return keypoints_of(person["keypoints"]) * np.array([message["width"], message["height"], 1], np.float32)


def _size_px(message: Pose, person: PosePerson) -> float:
    width, height = message["width"], message["height"]
    x0, y0, x1, y1 = person["box"]
    return side_of((x0 * width, y0 * height, x1 * width, y1 * height))


def _smoothed(track: Track, settings: Smoothing) -> NDArray[np.float32]:
    """float32 [n, 17, 2] after the node's own filter."""
    smoother = BodyFilter()
    rows = zip(track.keypoints_px, track.sizes_px, track.seconds, strict=True)
    return np.array([smoother.apply(points, float(size), round(second * 1e9) + 1, settings) for points, size, second in rows])


def _figure(rows: int) -> "tuple[Figure, list[Axes]]":
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, only for this
    except ModuleNotFoundError as error:
        raise UsageError("plot: needs matplotlib: pip install 'edge-node[plot]'") from error
    figure = Figure(figsize=(NARROW_IN, 0.6 + ROW_IN * rows), layout="constrained")
    axes = [figure.add_subplot(rows, 1, row + 1) for row in range(rows)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def _save(figure: "Figure", path: Path) -> None:
    with whole_file(path) as scratch:
        figure.savefig(scratch, dpi=120, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
