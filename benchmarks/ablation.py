"""What each decision of pose estimation is worth: the figure as shipped, and with one decision taken back.

    python benchmarks/ablation.py MODEL.tflite COCO_DIRECTORY [--only boxes|people|sequence]

Annotated pictures as in `edge-node evaluate --coco`, the sequence as in `--sequence virtual:pan` with one person (smoothing) and
with the reference's crop sizes. The result is kept in benchmarks/accuracy.md.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from edge_node.config.load import override
from edge_node.config.models import Config, Model
from edge_node.config.settings import Settings
from edge_node.engine import Engine, Fill
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import Picture, read_coco
from edge_node.evaluate.protocols import run_protocol
from edge_node.evaluate.run import follow, result, together
from edge_node.evaluate.sources import sequences_of
from edge_node.pose import attention, estimator, finding, movenet, region, similarity, smoothing, still

FRAMES = 30


def sampler_with(flags: int) -> Callable[..., Fill]:
    """A sampler that resizes a cut-out with another filter."""

    def sampler(image: np.ndarray, place: region.Placement) -> Fill:
        across, down = place.across, place.down
        pixels = image[down.start : down.end, across.start : across.end]
        flag = flags if across.scale > 1 else cv2.INTER_LINEAR

        def fill(target: np.ndarray) -> None:
            target.fill(0)
            shape = (across.last - across.first, down.last - down.first)
            if pixels.size:
                target[down.first : down.last, across.first : across.last] = cv2.resize(pixels, shape, interpolation=flag)

        return fill

    return sampler


@contextlib.contextmanager
def one_vote() -> Iterator[None]:
    """One offset for each joint, as the model's own post-processing takes it."""
    movenet._near_cells.cache_clear()  # noqa: SLF001 - ablation takes a decision back
    with patch.object(movenet, "_NEAR", np.array([[0, 0, 1]], np.float32)):
        yield
    movenet._near_cells.cache_clear()  # noqa: SLF001 - as above


def mean_score(keypoints_px: np.ndarray, finds: movenet.Finds, _threshold: float) -> list[float]:
    """Score of a pose without the centre head's."""
    return [float(s) for s in keypoints_px[..., 2].mean(axis=-1)] if len(finds.centre) else []


def set_to(module: Any, **values: Any) -> contextlib.AbstractContextManager[Any]:
    """Other constants in a module."""
    change: contextlib.AbstractContextManager[Any] = patch.multiple(module, **values)
    return change


def parametric(poses: Sequence[Any], _threshold: float, _most_alike: float) -> list[int]:
    """Parametric NMS in the place of OKS NMS."""
    return similarity.suppress_parametric(poses)


BOXES: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "as shipped": contextlib.nullcontext,
    "sampling: nearest pixel": lambda: set_to(finding, sampler=sampler_with(cv2.INTER_NEAREST)),
    "sampling: area filter": lambda: set_to(finding, sampler=sampler_with(cv2.INTER_AREA)),
    "crop: 1.25 x box": lambda: set_to(still, BOX_FACTOR=1.25),
    "crop: 1.4 x box": lambda: set_to(still, BOX_FACTOR=1.4),
    "decode: one offset, no votes": one_vote,
    "score: mean of keypoints only": lambda: set_to(finding, pose_scores=mean_score),
}
PEOPLE: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "as shipped": contextlib.nullcontext,
    "attention: no square of one's own before the further opinions": lambda: set_to(still, FILLING=0.0),
    "attention: tiles before people": lambda: set_to(still, TILE_PROMISE=0.2),
    "attention: no further opinions": lambda: set_to(still, OPINION_FACTORS=()),
    "attention: crops of 1.5 x extent": lambda: set_to(still, CROP_FACTOR=1.5),
    "nms: OKS 0.8": lambda: set_to(still, DUPLICATE_OKS=0.8),
    "nms: parametric": lambda: set_to(still, suppress=parametric),
    "score: mean of keypoints only": lambda: set_to(finding, pose_scores=mean_score),
}
SEQUENCE: dict[str, Callable[[], contextlib.AbstractContextManager[Any]]] = {
    "as shipped": contextlib.nullcontext,
    "smoothing off": contextlib.nullcontext,
    "filter: not moving with the body": lambda: set_to(smoothing, BODY_CUTOFF_HZ=1e-6),
    "filter: limbs not carried on": lambda: set_to(smoothing, CARRIED=0.0),
    "filter: opened by the least speed": lambda: set_to(smoothing, STILL_SIZES_PER_S=0.0),
    "filter: no limit to leaps": lambda: set_to(smoothing, LEAP_SIZES=100.0),
    "attention: no closer look at who has just come": lambda: set_to(estimator, FILLING=0.0),
    "filter: no doubt": lambda: set_to(smoothing, LEAST_TRUST=1.0),
    "crop: 1.2 x extent": lambda: set_to(attention, CROP_FACTOR=1.2),
    "crop: 1.7 x extent": lambda: set_to(attention, CROP_FACTOR=1.7),
}


def boxes(pictures: Sequence[Picture], engine: Engine, model: Path) -> None:
    """Print the rows of the protocol ``boxes``."""
    for name, change in BOXES.items():
        with change():
            row("boxes", name, pictures, engine, 1)
    stock = open_cpu_engine(Model(name=str(model), threads=2, heads="stock"))
    row("boxes", "decode: the model's stock output", pictures, stock, 1)
    stock.close()


def people(pictures: Sequence[Picture], engine: Engine) -> None:
    """Print the rows of the protocol ``people``."""
    for budget in (1, 4, 9):
        row("people", f"as shipped, at most {budget}", pictures, engine, budget)
    for name, change in list(PEOPLE.items())[1:]:
        with change():
            row("people", name, pictures, engine, 9)


def row(protocol: str, name: str, pictures: Sequence[Picture], engine: Engine, budget: int) -> None:
    """Measure and print one row."""
    measured = run_protocol(protocol, pictures, engine, budget, lambda _done, _of: None)
    precision = measured.precision
    print(
        f"| {protocol} | {name} | {precision.ap:.3f} | {precision.ap50:.3f} | {precision.ar:.3f} | {measured.inferences_per_image:.2f} |",
        flush=True,
    )


def sequence(pictures: Sequence[Picture], engine: Engine) -> None:
    """Print the rows of the sequence."""
    for name, change in SEQUENCE.items():
        keys = {"pose.max_people": 1, "smoothing.enabled": name != "smoothing off"}
        settings = Settings(partial(override, Config(), keys))
        with change():
            scenes = sequences_of("virtual:pan", pictures, frames=FRAMES, figures=1, alone=True)
            runs = [follow(scene, engine, settings) for scene in scenes]
        each = [result(scene.name, run).joints for scene, run in zip(scenes, runs, strict=True)]
        total = result("", together(runs)).joints
        bend = np.nanmedian([j.second_difference for j in each])
        lag = np.nanmedian([j.lag_frames for j in each])
        print(f"| sequence | {name} | {total.pck10:.3f} | {total.pck20:.3f} | {bend:.4f} | {lag:+.2f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("coco", type=Path)
    parser.add_argument("--only", choices=("boxes", "people", "sequence"))
    arguments = parser.parse_args()
    engine = open_cpu_engine(Model(name=str(arguments.model), threads=2))
    pictures = read_coco(arguments.coco, None).pictures
    if arguments.only in (None, "boxes"):
        boxes(pictures, engine, arguments.model)
    if arguments.only in (None, "people"):
        people(pictures, engine)
    if arguments.only in (None, "sequence"):
        sequence(pictures, engine)
    engine.close()


if __name__ == "__main__":
    main()
