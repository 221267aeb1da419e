"""What was measured, as JSON and as text."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edge_node.evaluate.precision import Precision
from edge_node.evaluate.protocols import StillsResult
from edge_node.evaluate.run import SequenceResult

Report = dict[str, Any]


def stills_json(result: StillsResult, engine: str, missing: int) -> Report:
    """Keys: ``protocol images people ap ap50 ap75 ap_medium ap_large ar inferences_per_image whole_frame missing skipped engine``."""
    report: Report = {"protocol": result.protocol, "images": result.images}
    report |= asdict(result.precision)
    report["inferences_per_image"] = result.inferences_per_image
    if result.whole_frame is not None:
        report["whole_frame"] = asdict(result.whole_frame)
    return _rounded(report | {"missing": missing, "skipped": len(result.skipped), "engine": engine})


def sequences_json(what: str, parts: Sequence[SequenceResult], total: SequenceResult, engine: str) -> Report:
    """The figures of all together at the top, and each sequence's under ``sequences``."""
    each = [_sequence_json(part) for part in parts]
    return _rounded({"sequence": what, **_sequence_json(total), "sequences": each, "engine": engine})


def describe_stills(result: StillsResult, engine: str, missing: int) -> str:
    """A few lines for the terminal."""
    counts = f"{result.images} pictures, {result.precision.people} people, {result.inferences_per_image:.2f} inferences a picture"
    lines = [
        f"{result.protocol}: {counts}",
        f"engine: {engine}",
        f"  {'':22}{'AP':>7}{'AP50':>7}{'AP75':>7}{'medium':>8}{'large':>7}{'AR':>7}",
    ]
    if result.whole_frame is not None:
        lines.append(_precision_line("whole frame once", result.whole_frame))
    lines.append(_precision_line({"boxes": "box given"}.get(result.protocol, "as the node on a still"), result.precision))
    if missing:
        lines.append(f"{missing} annotated pictures are not in the folder and were left out")
    return "\n".join(lines)


def describe_sequences(parts: Sequence[SequenceResult], total: SequenceResult, engine: str) -> str:
    """A table for the terminal, one line a sequence."""
    columns = [("frames", 7), ("@0.1", 7), ("@0.2", 7), ("2nd d.", 8), ("true", 7), ("lag", 7), ("recall", 8), ("prec.", 7)]
    columns += [("switch", 7), ("MOTA", 7), ("HOTA", 7), ("inf.", 6)]
    head = " " * 30 + "".join(f"{name:>{width}}" for name, width in columns)
    lines = [f"engine: {engine}", head]
    for part in [*parts, *([total] if len(parts) > 1 else [])]:
        joints, identity = part.joints, part.identity
        lines.append(
            f"{part.name[:29]:30}{part.frames:7}{joints.pck10:7.3f}{joints.pck20:7.3f}{joints.second_difference:8.4f}"
            f"{joints.second_difference_true:7.4f}{joints.lag_frames:7.2f}{identity.recall:8.3f}{identity.precision:7.3f}"
            f"{identity.identity_switches:7}{identity.mota:7.3f}{identity.hota:7.3f}{part.inferences_per_frame:6.2f}"
        )
    return "\n".join(lines)


def _precision_line(name: str, p: Precision) -> str:
    return f"  {name:22}{p.ap:7.3f}{p.ap50:7.3f}{p.ap75:7.3f}{p.ap_medium:8.3f}{p.ap_large:7.3f}{p.ar:7.3f}"


def _sequence_json(result: SequenceResult) -> Report:
    return {
        "name": result.name,
        "frames": result.frames,
        "person_frames": result.person_frames,
        **asdict(result.joints),
        **asdict(result.identity),
        "inferences_per_frame": result.inferences_per_frame,
    }


def _rounded(report: Report) -> Report:
    """Floats to 5 places; what could not be measured is null, since JSON has no NaN."""
    return {key: _rounded_value(value) for key, value in report.items()}


def _rounded_value(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    if isinstance(value, dict):
        return _rounded(value)
    if isinstance(value, list):
        return [_rounded_value(inner) for inner in value]
    return value
