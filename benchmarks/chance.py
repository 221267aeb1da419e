"""How much of an accuracy figure is chance: the stills measured again with every square moved by less than half a pixel.

    python benchmarks/chance.py MODEL.tflite COCO_DIRECTORY [DRAWS]

A move so small makes no square better or worse; what the figures differ by, no decision should be made on.
"""

import statistics
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from edge_node.config.models import Model
from edge_node.data import Region
from edge_node.engine.cpu import open_cpu_engine
from edge_node.evaluate.coco import read_coco
from edge_node.evaluate.protocols import run_protocol
from edge_node.pose import finding
from edge_node.pose.region import Placement, placed

FIGURES = {"people, at most 9": ("people", 9), "people, at most 4": ("people", 4), "single": ("single", 9)}


def main() -> None:
    """Measure and print."""
    engine = open_cpu_engine(Model(name=sys.argv[1]))
    pictures = read_coco(Path(sys.argv[2])).pictures
    moves = np.random.default_rng(1).uniform(-0.5, 0.5, (int(sys.argv[3]) if len(sys.argv) > 3 else 6, 2))
    print("| squares moved by, pixels | " + " | ".join(FIGURES) + " |")
    print("|---|" + "---:|" * len(FIGURES))
    rows = []
    for across_px, down_px in ((0.0, 0.0), *moves.tolist()):

        def moved(region: Region, *size: int, across_px: float = across_px, down_px: float = down_px) -> Placement:
            return placed(replace(region, left_px=region.left_px + across_px, top_px=region.top_px + down_px), *size)

        with patch.object(finding, "placed", moved):
            measured = [run_protocol(protocol, pictures, engine, most, lambda _done, _of: None) for protocol, most in FIGURES.values()]
        rows.append([result.precision.ap for result in measured])
        print(f"| {across_px:+.2f}, {down_px:+.2f} | " + " | ".join(f"{ap:.3f}" for ap in rows[-1]) + " |", flush=True)
    means = (f"{statistics.mean(column):.3f} +- {statistics.stdev(column):.3f}" for column in zip(*rows, strict=True))
    print("| **mean, standard deviation** | " + " | ".join(means) + " |")
    engine.close()


if __name__ == "__main__":
    main()
