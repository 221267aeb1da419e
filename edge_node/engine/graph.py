"""Recognising a MoveNet by its structure, and cutting its graph at the four heads.

MoveNet (Lightning and Thunder) ends in four heads, int8 grids at a quarter of the input's side, and a tail of small
operators that picks one person from them. The heads are found by what the tail does with them, never by tensor numbers:

* centre: what ARG_MAX over [1, cells, 1] reads; before a MUL with a constant of that size (the preference for the middle of
  the picture), where the file has that;
* regression and offset: 34 channels, read by GATHER_ND at one place ([1, 3] indices) and at 17 ([17, 3]);
* heatmap: 17 channels, what DIV divides by the distances.

The cut model is the same file with other inputs and outputs. It takes int8, ``pixel - 128``, behind the CAST and QUANTIZE in
front, and behind the normalisation (x / 127.5 - 1), which on quantised numbers changes nothing but costs a fifth of the
whole model's time. Every other model with MoveNet's finished output runs as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_node.engine import Heads, Quantised
from edge_node.engine.tflite import Operator, Tensor, TfliteFile
from edge_node.errors import ModelError

CUSTOM_OPERATOR = "edgetpu-custom-op"
KEYPOINTS = 17
STRIDE = 4
"""Input pixels per cell of the heads."""
HEADS = ("centre", "heatmap", "offset", "regression")
"""Order of a cut model's outputs."""
LOGISTIC_SCALE = 1 / 256
"""TensorFlow Lite knows no other for the int8 output of LOGISTIC; its zero point is -128."""
MULTIPOSE_SIZE_PX = 256
"""MultiPose takes any multiple of 32; this is the size its authors publish figures for."""


@dataclass(frozen=True, slots=True)
class Quantisation:
    """Real value = (stored - ``zero_point``) x ``scale``, and of that, where ``logistic``, the logistic function."""

    scale: float
    zero_point: int
    logistic: bool = False


@dataclass(frozen=True, slots=True)
class CutModel:
    """A MoveNet that ends at its heads.

    Its outputs are, in this order, centre, heatmap, offset, regression: int8, each ``cells`` x ``cells`` x (1, 17, 34, 34)
    values, whatever their nominal shape; an Edge TPU's model has more outputs behind them. The first two are cut off before their
    logistic function where that is an operator of its own: of 256 values it can be looked up. Its input is [1, size, size, 3]:
    uint8, or int8 ``pixel - 128``. ``closeness`` (float32 [cells, cells]) is the model's constant preference for the middle,
    where the file carries it; ``centre_weighted`` says whether it is multiplied into the centre. ``edgetpu``: compiled for
    the Edge TPU.
    """

    content: bytes
    input_size_px: int
    cells: int
    centre: Quantisation
    heatmap: Quantisation
    offset: Quantisation
    regression: Quantisation
    centre_weighted: bool
    closeness: NDArray[np.float32] | None
    edgetpu: bool

    def heads(self, outputs: Sequence[NDArray[np.int8]]) -> Heads:
        """The four output arrays, in the model's order, as ``Heads``; views, not copies."""
        grid = (self.cells, self.cells, -1)
        centre, heatmap, offset, regression = (output.reshape(grid) for output in outputs[: len(HEADS)])
        return Heads(
            centre=_quantised(centre, self.centre),
            heatmap=_quantised(heatmap, self.heatmap),
            offset=_quantised(offset, self.offset),
            regression=_quantised(regression, self.regression),
            centre_weighted=self.centre_weighted,
            closeness=self.closeness,
        )


@dataclass(frozen=True, slots=True)
class StockModel:
    """A model used by its finished output, and why.

    ``layout``: ``"single"`` is [1, 1, 17, 3], ``"multi"`` [1, 6, 56] (17 keypoints, a box and a score each). The input is
    [1, size, size, 3] of ``input_dtype`` with values 0..255 (int8: less 128). ``resize``: the file leaves the size open.
    """

    content: bytes
    input_size_px: int
    input_dtype: type[np.generic]
    layout: Literal["single", "multi"]
    resize: bool
    edgetpu: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _FoundHeads:
    """Tensor numbers of the heads; ``closeness`` may be absent."""

    centre: int
    heatmap: int
    offset: int
    regression: int
    centre_weighted: bool
    closeness: NDArray[np.float32] | None

    @property
    def tensors(self) -> tuple[int, int, int, int]:
        return self.centre, self.heatmap, self.offset, self.regression


def _quantised(values: NDArray[np.int8], of: Quantisation) -> Quantised:
    return Quantised(values, of.scale, of.zero_point, of.logistic)


class _NotRecognisedError(Exception):
    """The structure differs from a MoveNet's; the text says where."""


def read_model(content: bytes, heads: Literal["auto", "stock"] = "auto") -> CutModel | StockModel:
    """What a .tflite file is: a MoveNet cut at its heads, or one to be used by its finished output.

    ``heads="stock"`` never cuts. Raises ``ModelError`` for a damaged file, and for a model that is no MoveNet, saying what
    it is.
    """
    file = TfliteFile(content)
    stock = _stock_model(file, content)
    if heads == "stock":
        return stock
    try:
        return _cut_model(file, stock)
    except _NotRecognisedError as difference:
        return StockModel(
            content, stock.input_size_px, stock.input_dtype, stock.layout, stock.resize, stock.edgetpu, f"not cut: {difference}"
        )


def _stock_model(file: TfliteFile, content: bytes) -> StockModel:
    if len(file.inputs) != 1 or len(file.outputs) != 1:
        raise ModelError(f"not a MoveNet: {len(file.inputs)} inputs and {len(file.outputs)} outputs, a MoveNet has one of each")
    taken, given = file.tensors[file.inputs[0]], file.tensors[file.outputs[0]]
    layout = _layout(given)
    if len(taken.shape) != 4 or taken.shape[0] != 1 or taken.shape[3] != 3 or taken.shape[1] != taken.shape[2]:
        raise ModelError(f"not a MoveNet: its input is {_said(taken)}, a MoveNet takes [1, side, side, 3]")
    if taken.dtype not in (np.uint8, np.int8, np.int32, np.float32):
        raise ModelError(f"not a MoveNet: its input is {_said(taken)}, a MoveNet takes uint8, int8, int32 or float32")
    resize = taken.shape[1] <= 1
    size_px = MULTIPOSE_SIZE_PX if resize else taken.shape[1]
    if not 32 <= size_px <= 1024:
        raise ModelError(f"not a MoveNet: its input is {_said(taken)}")
    edgetpu = any(operator.kind == CUSTOM_OPERATOR for operator in file.operators)
    return StockModel(content, size_px, taken.dtype, layout, resize, edgetpu, "stock output asked for")


def _layout(given: Tensor) -> Literal["single", "multi"]:
    if given.dtype is np.float32 and given.shape == (1, 1, KEYPOINTS, 3):
        return "single"
    if given.dtype is np.float32 and len(given.shape) == 3 and given.shape[2] == 56:
        return "multi"
    raise ModelError(f"not a MoveNet: its output is {_said(given)}, a MoveNet gives [1, 1, 17, 3] or [1, 6, 56] float32")


def _cut_model(file: TfliteFile, stock: StockModel) -> CutModel:
    cells = stock.input_size_px // STRIDE
    found = _find_heads(file, cells)
    tensors = tuple(_before_logistic(file, tensor) for tensor in found.tensors)
    for tensor, channels in zip(tensors, (1, KEYPOINTS, 2 * KEYPOINTS, 2 * KEYPOINTS), strict=True):
        head = file.tensors[tensor]
        if head.dtype is not np.int8 or not head.scale > 0 or not math.isfinite(head.scale) or math.prod(head.shape) != cells**2 * channels:
            raise _NotRecognisedError(f"a head is {_said(head)}, not int8 {cells} x {cells} x {channels}")
    centre, heatmap, offset, regression = (
        Quantisation(file.tensors[t].scale, file.tensors[t].zero_point, logistic=t != told)
        for t, told in zip(tensors, found.tensors, strict=True)
    )
    return CutModel(
        content=file.cut((_source(file),), tensors + _also_written(file, tensors)),
        input_size_px=stock.input_size_px,
        cells=cells,
        centre=centre,
        heatmap=heatmap,
        offset=offset,
        regression=regression,
        centre_weighted=found.centre_weighted,
        closeness=found.closeness,
        edgetpu=stock.edgetpu,
    )


def _before_logistic(file: TfliteFile, head: int) -> int:
    """The tensor whose logistic function a head is, or the head itself."""
    operator = _producer(file, head, "LOGISTIC")
    if operator is None:
        return head
    before, after = file.tensors[operator.inputs[0]], file.tensors[head]
    same = before.shape == after.shape and before.dtype is after.dtype is np.int8
    return operator.inputs[0] if same and (after.scale, after.zero_point) == (LOGISTIC_SCALE, -128) else head


def _also_written(file: TfliteFile, heads: tuple[int, ...]) -> tuple[int, ...]:
    """Further outputs of the Edge TPU's operator. They stay outputs, or the interpreter gives the operator no memory to write them to."""
    compiled = _of_kind(file, CUSTOM_OPERATOR)
    return tuple(tensor for operator in compiled for tensor in operator.outputs if tensor not in heads)


def _find_heads(file: TfliteFile, cells: int) -> _FoundHeads:
    centre, weighted, closeness = _find_centre(file, cells)
    return _FoundHeads(
        centre=centre,
        heatmap=_find_heatmap(file, cells),
        offset=_find_gathered(file, cells, places=KEYPOINTS),
        regression=_find_gathered(file, cells, places=1),
        centre_weighted=weighted,
        closeness=closeness,
    )


def _find_centre(file: TfliteFile, cells: int) -> tuple[int, bool, NDArray[np.float32] | None]:
    """Tensor of the centre, whether the preference for the middle is in it, and that preference where the file has it."""
    flat = _only(
        {o.inputs[0] for o in _of_kind(file, "ARG_MAX") if file.tensors[o.inputs[0]].shape == (1, cells**2, 1)},
        f"ARG_MAX over {cells**2} cells",
    )
    reshape = _producer(file, flat, "RESHAPE")
    weighted = reshape.inputs[0] if reshape else flat
    product = _producer(file, weighted, "MUL")
    if product is None:
        return weighted, True, None
    for one, other in (product.inputs[:2], product.inputs[1::-1]):
        constant = file.constant(other)
        if constant is not None and constant.size == cells**2:
            tensor = file.tensors[other]
            values = (constant.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)
            return one, False, values.reshape(cells, cells)
    return weighted, True, None


def _find_gathered(file: TfliteFile, cells: int, *, places: int) -> int:
    return _only(
        {
            o.inputs[0]
            for o in _of_kind(file, "GATHER_ND")
            if len(o.inputs) == 2
            and file.tensors[o.inputs[0]].shape == (1, cells, cells, 2 * KEYPOINTS)
            and file.tensors[o.inputs[1]].shape == (places, 3)
        },
        f"GATHER_ND of {2 * KEYPOINTS} channels at {places} places",
    )


def _find_heatmap(file: TfliteFile, cells: int) -> int:
    divided = {o.inputs[0] for o in _of_kind(file, "DIV") if file.tensors[o.inputs[0]].shape == (1, cells, cells, KEYPOINTS)}
    tensor = _only(divided, f"DIV of {KEYPOINTS} channels")
    dequantize = _producer(file, tensor, "DEQUANTIZE")
    return dequantize.inputs[0] if dequantize else tensor


def _source(file: TfliteFile) -> int:
    """The tensor to feed: behind whatever only brings pixels to int8 ``pixel - 128``."""
    source = file.inputs[0]
    taken = file.tensors[source]
    if taken.dtype is not np.uint8:
        raise _NotRecognisedError(f"the input is {_said(taken)}, not uint8")
    cast = _only_consumer(file, source, ("CAST",))
    quantize = _only_consumer(file, cast.outputs[0], ("QUANTIZE",)) if cast else None
    if quantize is None:
        return source
    behind = file.tensors[quantize.outputs[0]]
    if behind.dtype is np.int8 and behind.scale == 1.0 and behind.zero_point == -128:
        return _behind_normalisation(file, quantize.outputs[0])
    return source


def _behind_normalisation(file: TfliteFile, source: int) -> int:
    """The last tensor after ``source`` that holds the same stored numbers, behind sums and products with constants.

    Where the exact result lies half-way between two stored numbers (x / 127.5 - 1 does), either is right: LiteRT takes the
    one that makes the chain an identity, tflite-runtime 2.14 for some values the other.
    """
    stored = np.arange(-128.0, 128.0)[:, None]
    values, last, tensor = stored, source, source
    while (operator := _only_consumer(file, tensor, ("ADD", "SUB", "MUL"))) is not None:
        constant = file.constant(operator.inputs[1]) if operator.inputs[0] == tensor and not operator.activated else None
        before, after = file.tensors[tensor], file.tensors[operator.outputs[0]]
        if (
            constant is None
            or constant.size not in (1, 3)
            or after.dtype is not np.int8
            or after.shape != before.shape
            or not after.scale > 0
        ):
            break
        of = file.tensors[operator.inputs[1]]
        other = (constant.reshape(-1).astype(np.float64) - of.zero_point) * of.scale
        exact = _ARITHMETIC[operator.kind]((values - before.zero_point) * before.scale, other) / after.scale + after.zero_point
        tensor = operator.outputs[0]
        identity = bool(np.all(np.abs(np.clip(exact, -128, 127) - stored) <= 0.5 + 1e-3))
        values, last = (stored, tensor) if identity else (np.clip(np.rint(exact), -128, 127), last)
    return last


_ARITHMETIC: dict[str, np.ufunc] = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}


def _of_kind(file: TfliteFile, kind: str) -> list[Operator]:
    return [operator for operator in file.operators if operator.kind == kind and operator.inputs and min(operator.inputs) >= 0]


def _producer(file: TfliteFile, tensor: int, kind: str) -> Operator | None:
    index = file.producer.get(tensor)
    if index is None:
        return None
    operator = file.operators[index]
    return operator if operator.kind == kind and operator.inputs and min(operator.inputs) >= 0 else None


def _only_consumer(file: TfliteFile, tensor: int, kinds: tuple[str, ...]) -> Operator | None:
    consumers = file.consumers(tensor)
    return consumers[0] if len(consumers) == 1 and consumers[0].kind in kinds and len(consumers[0].outputs) == 1 else None


def _only(tensors: set[int], what: str) -> int:
    if len(tensors) != 1:
        raise _NotRecognisedError(f"{len(tensors)} tensors instead of one feed {what}")
    return tensors.pop()


def _said(tensor: Tensor) -> str:
    dtype = "of unknown type" if tensor.dtype is None else np.dtype(tensor.dtype).name
    return f"{list(tensor.shape)} {dtype}"
