"""A MoveNet is recognised by its structure, cut at its heads without changing them, and nothing else is let in."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.engine import Quantised
from edge_node.engine.graph import HEADS, CutModel, StockModel, read_model
from edge_node.engine.runtime import load_runtime
from edge_node.engine.tflite import TfliteFile
from edge_node.errors import ModelError

RUNTIME = os.environ.get("EDGE_NODE_TEST_RUNTIME", "auto")
"""scripts/test runs these tests once more with tflite-runtime."""

CPU_FILE = "movenet_single_pose_lightning_ptq.tflite"
EDGETPU_FILE = "movenet_single_pose_lightning_ptq_edgetpu.tflite"
POSENET_FILE = "posenet_mobilenet_v1_075_353_481_quant.tflite"


@pytest.fixture(scope="module")
def cpu_bytes(shared) -> bytes:
    return (shared.models / CPU_FILE).read_bytes()


@pytest.fixture(scope="module")
def edgetpu_bytes(shared) -> bytes:
    return (shared.models / EDGETPU_FILE).read_bytes()


def input_dtype(cut: CutModel) -> type[np.generic] | None:
    file = TfliteFile(cut.content)
    return file.tensors[file.inputs[0]].dtype


def test_the_cpu_model_is_cut_at_its_unweighted_heads(cpu_bytes):
    cut = read_model(cpu_bytes)
    assert isinstance(cut, CutModel)
    assert (cut.input_size_px, cut.cells, cut.centre_weighted, cut.edgetpu) == (192, 48, False, False)
    assert input_dtype(cut) is np.int8
    assert (cut.centre.logistic, cut.heatmap.logistic, cut.offset.logistic, cut.regression.logistic) == (True, True, False, False)
    assert (cut.offset.scale, cut.offset.zero_point) == (pytest.approx(0.19978, rel=1e-4), -9)
    assert (cut.regression.scale, cut.regression.zero_point) == (pytest.approx(0.68844, rel=1e-4), -21)
    assert cut.closeness.shape == (48, 48)
    assert np.unravel_index(cut.closeness.argmax(), (48, 48)) in [(r, c) for r in (23, 24) for c in (23, 24)]


def test_the_edge_tpu_model_is_cut_around_its_one_custom_operator(edgetpu_bytes):
    cut = read_model(edgetpu_bytes)
    assert isinstance(cut, CutModel)
    assert (cut.edgetpu, cut.centre_weighted, cut.closeness) == (True, True, None)
    assert input_dtype(cut) is np.int8
    file = TfliteFile(cut.content)
    assert [operator.kind for operator in file.operators] == ["edgetpu-custom-op"]
    assert file.inputs == file.operators[0].inputs
    assert [file.tensors[t].shape[-1] for t in file.outputs[: len(HEADS)]] == [1, 17, 34, 34]
    assert set(file.outputs) == set(file.operators[0].outputs)  # one more: what the operator writes needs memory


def test_cutting_changes_nothing_in_the_heads(cpu_bytes, rng):
    """The heads of the cut model against the same tensors inside the whole one, for noise in which every grey level occurs."""
    runtime = load_runtime(RUNTIME)
    if runtime.name != "litert":
        pytest.skip("only LiteRT rounds the normalisation so that leaving it out is exact")
    whole_file = TfliteFile(cpu_bytes)
    cut = read_model(cpu_bytes)
    kept = TfliteFile(cut.content).outputs
    whole = runtime.interpreter(model_content=whole_file.cut(whole_file.inputs, kept), num_threads=1)
    short = runtime.interpreter(model_content=cut.content, num_threads=1)
    pixels = rng.integers(0, 256, (1, 192, 192, 3), dtype=np.uint8)
    for interpreter, taken in ((whole, pixels), (short, (pixels ^ 0x80).view(np.int8))):
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], taken)
        interpreter.invoke()
    for tensor in kept:
        np.testing.assert_array_equal(whole.get_tensor(tensor), short.get_tensor(tensor))


def test_a_logistic_function_that_was_cut_off_is_looked_up_to_the_same_values(cpu_bytes):
    """Each of the 256 values, through the file's own operators."""
    file, cut = TfliteFile(cpu_bytes), read_model(cpu_bytes)
    for number, head in ((0, cut.centre), (1, cut.heatmap)):
        before = TfliteFile(cut.content).outputs[number]
        operator = next(o for o in file.operators if o.kind == "LOGISTIC" and o.inputs == (before,))
        interpreter = load_runtime(RUNTIME).interpreter(model_content=file.cut((before,), operator.outputs), num_threads=1)
        interpreter.allocate_tensors()
        stored = np.resize(np.arange(-128, 128), file.tensors[before].shape).astype(np.int8)
        interpreter.set_tensor(before, stored)
        interpreter.invoke()
        after = interpreter.get_tensor(operator.outputs[0])
        looked_up = Quantised(stored, head.scale, head.zero_point, head.logistic).real(stored)
        np.testing.assert_array_equal(looked_up, (after.astype(np.float32) + 128) / 256)


def test_the_stock_output_is_used_when_asked_for(cpu_bytes):
    stock = read_model(cpu_bytes, "stock")
    assert isinstance(stock, StockModel)
    assert (stock.content, stock.layout, stock.input_dtype) == (cpu_bytes, "single", np.uint8)


def test_a_movenet_of_another_structure_runs_by_its_stock_output(cpu_bytes):
    """The same file whose GATHER_ND operators are called something else."""
    code_of_gather_nd = 107
    renamed = bytearray(cpu_bytes)
    for operator_code in range(len(renamed) - 8, len(renamed) - 2000, -1):
        if renamed[operator_code] == code_of_gather_nd:
            renamed[operator_code] = 106
    stock = read_model(bytes(renamed))
    assert isinstance(stock, StockModel)
    assert "GATHER_ND" in stock.reason


def test_a_model_that_is_no_movenet_is_refused_with_what_it_is(shared):
    with pytest.raises(ModelError, match="not a MoveNet: 1 inputs and 3 outputs"):
        read_model((shared.models / POSENET_FILE).read_bytes())


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x00" * 64, b"<!DOCTYPE html><html></html>", b"\x1c\x00\x00\x00TFL3" + b"\xff" * 40])
def test_what_is_no_model_is_refused(content):
    with pytest.raises(ModelError, match=r"not a TensorFlow Lite file|damaged"):
        read_model(content)


@settings(max_examples=40, deadline=None)
@given(kept=st.floats(0, 0.999))
def test_a_truncated_model_is_refused(edgetpu_bytes, kept):
    with pytest.raises(ModelError):
        read_model(edgetpu_bytes[: int(len(edgetpu_bytes) * kept)])


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_model_is_read_or_refused_and_never_crashes(edgetpu_bytes, cpu_bytes, data):
    """Damage where the structure lies: the tables are at both ends of the file, weights between them."""
    damaged = bytearray(data.draw(st.sampled_from((edgetpu_bytes, cpu_bytes))))
    for _ in range(data.draw(st.integers(1, 8))):
        near_the_end = data.draw(st.booleans())
        place = data.draw(st.integers(0, 20_000))
        damaged[-1 - place if near_the_end else place] = data.draw(st.integers(0, 255))
    try:
        read_model(bytes(damaged))
    except ModelError as error:
        assert str(error)  # noqa: PT017 - refusing is one of two right outcomes


def test_damage_that_only_cutting_comes_upon_is_refused(cpu_bytes):
    """Byte 43 of this file leads to its signatures."""
    damaged = bytearray(cpu_bytes)
    damaged[43] = 6
    with pytest.raises(ModelError, match="damaged TensorFlow Lite file: an offset leads beyond its end"):
        read_model(bytes(damaged))
