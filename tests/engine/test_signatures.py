"""Models known by their signature only: Thunder's larger grid, TF Hub's input types, MultiPose. Their graphs are built here."""

import os

import numpy as np
import pytest

from edge_node.engine.cpu import CpuEngine
from edge_node.engine.graph import CutModel, StockModel, read_model
from edge_node.engine.runtime import load_runtime
from edge_node.engine.threads import fixed_plan
from edge_node.errors import ModelError

pytest.importorskip("ai_edge_litert", reason="LiteRT's schema is needed to build the models")

from edge_node.engine import marker_model

RUNTIME = os.environ.get("EDGE_NODE_TEST_RUNTIME", "auto")
"""scripts/test runs these tests once more with tflite-runtime."""


def first_pixels_as_pose(kind: str, side: int = 192, *, people: int = 0) -> bytes:
    """A model that gives the first pixels of its input / 255 as its 17 keypoints, or as those of several people."""
    b = marker_model._Builder()
    pixels = b.tensor([1, side, side, 3], kind)
    taken = pixels
    if kind != "FLOAT32":
        codes = {"UINT8": 3, "INT32": 2}
        taken = b.op("CAST", [pixels], b.tensor([1, side, side, 3]), "CastOptions", inDataType=codes[kind], outDataType=0)
    count = 17 if not people else 56 * people // 3
    begin, size = (b.constant(np.array(v, np.int32)) for v in ([0, 0, 0, 0], [1, 1, count, 3]))
    row = b.op("SLICE", [taken, begin, size], b.tensor([1, 1, count, 3]), "SliceOptions")
    result = b.same("MUL", [row, b.number(1 / 255)])
    if people:
        result = b.reshape(result, [1, people, 56])
    if side == 1:
        b.graph.tensors[pixels].shapeSignature = [1, -1, -1, 3]
    b.graph.inputs, b.graph.outputs = [pixels], [result]
    return b.bytes()


def run(content: bytes):
    engine = CpuEngine(read_model(content), load_runtime(RUNTIME), fixed_plan(1))

    def fill(view):
        view[:] = np.arange(view.size, dtype=np.uint8).reshape(view.shape)

    (inference,) = engine.infer([fill], lambda stock: stock.keypoints.copy())
    size_px = engine.input_size_px
    engine.close()
    return size_px, inference.result * 255


@pytest.mark.parametrize("kind", ["UINT8", "INT32", "FLOAT32"])
@pytest.mark.parametrize("side", [192, 256])
def test_every_input_type_takes_pixels_from_0_to_255(kind, side):
    size_px, keypoints = run(first_pixels_as_pose(kind, side))
    assert size_px == side
    np.testing.assert_allclose(keypoints, np.arange(51).reshape(1, 17, 3), atol=1e-3)


def test_multipose_gives_several_people_and_its_open_size_is_set():
    size_px, keypoints = run(first_pixels_as_pose("UINT8", 1, people=6))
    assert size_px == 256
    flat = np.arange(6 * 56, dtype=np.uint8).reshape(6, 56)[:, :51]
    np.testing.assert_allclose(keypoints, flat.reshape(6, 17, 3), atol=1e-3)


def test_a_size_that_no_movenet_has_is_refused():
    with pytest.raises(ModelError, match=r"its input is \[1, 2048, 2048, 3\] uint8"):
        read_model(first_pixels_as_pose("UINT8", 2048))


def test_thunders_grid_is_recognised_by_structure(monkeypatch):
    """The marker model on Thunder's 256 pixels and 64 x 64 cells."""
    monkeypatch.setattr(marker_model, "SIZE", 256)
    monkeypatch.setattr(marker_model, "CELLS", 64)
    model = read_model(marker_model.build())
    assert isinstance(model, CutModel)
    assert (model.input_size_px, model.cells) == (256, 64)
    engine = CpuEngine(model, load_runtime(RUNTIME), fixed_plan(1))
    (inference,) = engine.infer([lambda view: view.fill(0)], lambda heads: heads.heatmap.values.shape)
    assert inference.result == (64, 64, 17)
    engine.close()


def test_a_model_without_heads_says_why_it_is_not_cut():
    model = read_model(first_pixels_as_pose("UINT8"))
    assert isinstance(model, StockModel)
    assert model.reason == "not cut: 0 tensors instead of one feed ARG_MAX over 2304 cells"
