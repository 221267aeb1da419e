"""A recording in the forms that other programs read: CSV, Parquet, COCO results."""

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from edge_node.errors import UsageError
from edge_node.pose.skeleton import KEYPOINTS
from edge_node.recordings.output import whole_file
from edge_node.sink.messages import Pose, keypoints_of

Row = list[Any]
PERSON_CATEGORY = 1
"""COCO's category of people."""
BATCH = 4096

COLUMNS: tuple[tuple[str, type], ...] = (
    ("run", int),
    ("seq", int),
    ("ts", float),
    ("age_ms", float),
    ("accelerator", str),
    ("width", int),
    ("height", int),
    ("id", int),
    ("score", float),
    *((f"box_{side}", float) for side in ("x0", "y0", "x1", "y1")),
    *((f"{joint}_{part}", float) for joint in KEYPOINTS for part in ("x", "y", "score")),
)
"""One row for each person of each message. ``run`` counts from 0 the runs of the node that wrote into the same file."""


def rows(messages: Iterable[Pose]) -> Iterator[Row]:
    """The table's rows."""
    for run, message in _with_runs(messages):
        head = [run, *(message[key] for key in ("seq", "ts", "age_ms", "accelerator", "width", "height"))]
        for person in message["people"]:
            numbers = keypoints_of(person["keypoints"]).ravel().round(4).astype(float).round(4).tolist()
            yield [*head, person["id"], person["score"], *person["box"], *numbers]


def to_csv(messages: Iterable[Pose], path: Path) -> int:
    """Write a CSV file with a head line; returns the number of rows. Raises ``SinkError``."""
    count = 0
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([name for name, _ in COLUMNS])
        for row in rows(messages):
            writer.writerow(row)
            count += 1
    return count


def to_parquet(messages: Iterable[Pose], path: Path) -> int:
    """Write a Parquet file; returns the number of rows. Raises ``SinkError``, or ``UsageError`` without pyarrow."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, only for this
        from pyarrow import parquet  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        raise UsageError("export: Parquet needs pyarrow: pip install 'edge-node[parquet]'") from error
    types = {int: pa.int64(), float: pa.float64(), str: pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS])
    table_rows, count = rows(messages), 0
    with whole_file(path) as scratch, parquet.ParquetWriter(scratch, schema) as writer:
        while batch := list(islice(table_rows, BATCH)):
            columns = [pa.array(column, type=field.type) for column, field in zip(zip(*batch, strict=True), schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            count += len(batch)
    return count


def to_coco(messages: Iterable[Pose], path: Path) -> int:
    """Write COCO keypoint results: a list with ``image_id`` (number of the message in the file, from 0), ``category_id``, ``bbox`` and
    ``keypoints`` in pixels, ``score``; returns how many. Raises ``SinkError``.
    """
    count = 0
    with whole_file(path) as scratch, scratch.open("wb") as file:
        file.write(b"[")
        for number, message in enumerate(messages):
            for result in _coco_results(message, number):
                file.write((b",\n" if count else b"\n") + orjson.dumps(result))
                count += 1
        file.write(b"\n]\n")
    return count


FORMATS = {"csv": to_csv, "parquet": to_parquet, "coco": to_coco}


def _coco_results(message: Pose, image_id: int) -> Iterator[dict[str, Any]]:
    width, height = message["width"], message["height"]
    for person in message["people"]:
        keypoints = keypoints_of(person["keypoints"]).astype(float)
        keypoints[:, :2] *= (width, height)
        x0, y0, x1, y1 = person["box"]
        box = [x0 * width, y0 * height, (x1 - x0) * width, (y1 - y0) * height]
        yield {
            "image_id": image_id,
            "category_id": PERSON_CATEGORY,
            "keypoints": keypoints.round(3).ravel().tolist(),
            "bbox": [round(side, 3) for side in box],
            "score": person["score"],
        }


def _with_runs(messages: Iterable[Pose]) -> Iterator[tuple[int, Pose]]:
    """Each message with the run it is of: numbers begin again with a new one."""
    run, last = 0, -1
    for message in messages:
        run += message["seq"] <= last
        last = message["seq"]
        yield run, message
