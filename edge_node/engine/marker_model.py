"""The built-in marker model: a TensorFlow Lite graph with MoveNet's input, output and heads that finds marked joints.

For machines with neither network nor model, and for tests with exactly known truth. ``python -m edge_node.engine.marker_model``
writes ``marker.tflite`` beside this file; it needs the flatbuffers package and LiteRT's schema, which running the model does not.

How it sees. A pixel's colour, less grey, is a point in the plane of hues. The score of a hue is linear along it and falls to
zero ``HALF_ANGLE_DEG`` beside it: min(a, b) of two planes, taken as a - relu(a - b) by two 1 x 1 convolutions. Summed over a
window around each cell of the 48 x 48 grid, the score is the area of the joint's disc and its first moments are the disc's
centroid: the offset head. The heatmap is highest where the centroid lies inside the cell. The centre head is the same for
the centre's hue; from the area of its disc follows the figure's height, and so the regression head: an average standing body of
that height. Behind the heads comes MoveNet's own way of picking one person.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_node.camera.markers import AMPLITUDE, CENTRE_HUE_DEG, CENTRE_RADIUS, HUES_DEG

SIZE, CELLS, STRIDE, JOINTS = 192, 48, 4, 17
WINDOW = 5
"""Cells along a window's side: large enough for a disc of 8 pixels' radius, whose centre is in the middle cell."""
HALF_ANGLE_DEG = 12.0
FAINTEST = 0.1
"""Share of full colour below which a pixel counts as grey."""
AREA_NOISE, AREA_SURE = 0.5, 3.0
"""Areas in pixels: up to the first nothing is there, from the sum of both on a joint is there for sure."""
OFF_CELL = 0.3
"""How much lower the heatmap is for a centroid that is one cell off the middle."""

_MEAN_BODY = {  # (y, x) from the centre of a standing figure that faces the camera, in heights
    "nose": (-0.29, 0.0),
    "eye": (-0.31, 0.02),
    "ear": (-0.30, 0.045),
    "shoulder": (-0.15, 0.10),
    "elbow": (0.0, 0.13),
    "wrist": (0.13, 0.14),
    "hip": (0.15, 0.06),
    "knee": (0.38, 0.06),
    "ankle": (0.60, 0.06),
}

Floats = NDArray[np.float32]


class _Builder:
    """Collects tensors and operators of one graph; a tensor is named by its number."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.description = "edge_node marker model"
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.name = "main"
        self.model.subgraphs = [self.graph]
        self._codes: dict[int, int] = {}

    def tensor(self, shape: Sequence[int], kind: str = "FLOAT32", *, scale: float | None = None, zero_point: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape = list(shape)
        tensor.type = getattr(schema.TensorType, kind)
        tensor.buffer = 0
        tensor.name = f"t{len(self.graph.tensors)}"
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values: NDArray[Any]) -> int:
        number = self.tensor(values.shape, {"f": "FLOAT32", "i": "INT32"}[values.dtype.kind])
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        self.graph.tensors[number].buffer = len(self.model.buffers) - 1
        return number

    def number(self, value: float) -> int:
        return self.constant(np.array(value, np.float32))

    def op(self, kind: str, inputs: Sequence[int], output: int | Sequence[int], options: str | None = None, **values: Any) -> int:
        """Append an operator; returns its (first) output."""
        outputs = [output] if isinstance(output, int) else list(output)
        code = getattr(schema.BuiltinOperator, kind)
        if code not in self._codes:
            entry = schema.OperatorCodeT()
            entry.builtinCode, entry.deprecatedBuiltinCode, entry.version = code, min(code, 127), 1
            self._codes[code] = len(self.model.operatorCodes)
            self.model.operatorCodes.append(entry)
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = self._codes[code], list(inputs), outputs
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, options + "T")()
            for name, value in values.items():
                setattr(operator.builtinOptions, name, value)
        self.graph.operators.append(operator)
        return outputs[0]

    def same(self, kind: str, inputs: Sequence[int], *, shape: Sequence[int] | None = None, relu: bool = False) -> int:
        """An elementwise operator on floats, its output shaped like the first input unless told."""
        options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions"}.get(kind)
        values = {"fusedActivationFunction": schema.ActivationFunctionType.RELU} if relu else {}
        return self.op(kind, inputs, self.tensor(self.shape(inputs[0]) if shape is None else shape), options, **values)

    def shape(self, tensor: int) -> list[int]:
        return list(self.graph.tensors[tensor].shape)

    def integers(self, kind: str, options: str | None, inputs: Sequence[int], shape: Sequence[int]) -> int:
        return self.op(kind, inputs, self.tensor(shape, "INT32"), options)

    def reshape(self, tensor: int, shape: Sequence[int]) -> int:
        source = self.graph.tensors[tensor]
        output = self.tensor(shape)
        self.graph.tensors[output].type, self.graph.tensors[output].quantization = source.type, source.quantization
        return self.op("RESHAPE", [tensor, self.constant(np.array(shape, np.int32))], output, "ReshapeOptions", newShape=list(shape))

    def channels(self, tensor: int, first: int, count: int) -> int:
        """Some channels of a [1, rows, columns, channels] tensor."""
        shape = [*self.shape(tensor)[:3], count]
        begin, size = (self.constant(np.array(v, np.int32)) for v in ([0, 0, 0, first], shape))
        return self.op("SLICE", [tensor, begin, size], self.tensor(shape), "SliceOptions")

    def bytes(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def build() -> bytes:
    """The model file."""
    b = _Builder()
    pixels = b.tensor([1, SIZE, SIZE, 3], "UINT8")
    area, moment_y, moment_x = _areas(b, _hue_scores(b, pixels))
    offset_y = b.same("DIV", [moment_y, area])
    offset_x = b.same("DIV", [moment_x, area])
    presence = _presence(b, area, offset_y, offset_x)
    heatmap = _quantised(b, b.channels(presence, 0, JOINTS), 1 / 256, -128)
    centre = _quantised(b, b.channels(presence, JOINTS, 1), 1 / 256, -128)
    regression = _quantised(b, _mean_body(b, b.channels(area, JOINTS, 1)), 0.35, 0)
    offset = _quantised(b, _pairs(b, b.channels(offset_y, 0, JOINTS), b.channels(offset_x, 0, JOINTS)), 1 / 64, -32)
    b.graph.inputs, b.graph.outputs = [pixels], [_pick_one(b, centre, heatmap, offset, regression)]
    return b.bytes()


def _hue_scores(b: _Builder, pixels: int) -> int:
    """float [1, 192, 192, 18]: how much of each joint's colour, and last of the centre's, is in each pixel, 0..1."""
    shape = [1, SIZE, SIZE, 3]
    as_float = b.op("CAST", [pixels], b.tensor(shape), "CastOptions", inDataType=3, outDataType=0)
    stored = b.op("QUANTIZE", [as_float], b.tensor(shape, "INT8", scale=1.0, zero_point=-128), "QuantizeOptions")
    colour = b.op("DEQUANTIZE", [stored], b.tensor(shape), "DequantizeOptions")
    hues = np.radians([*HUES_DEG, CENTRE_HUE_DEG])[:, None]
    turns = np.radians([0, 120, 240])[None]
    # Projections on the hue and on the direction beside it; both blind to grey. A full mark projects to 1.
    along, beside = (direction / (1.5 * AMPLITUDE) for direction in (np.cos(hues - turns), -np.sin(hues - turns)))
    steep = 1 / math.tan(math.radians(HALF_ANGLE_DEG))
    one_side = _pointwise(b, colour, along + steep * beside, -FAINTEST)
    difference = _pointwise(b, colour, 2 * steep * beside, 0.0, relu=True)
    smaller = b.same("SUB", [one_side, difference], relu=True)
    return b.same("MUL", [smaller, b.number(1 / (1 - FAINTEST))])


def _pointwise(b: _Builder, tensor: int, weights: NDArray[np.float64], bias: float, *, relu: bool = False) -> int:
    """A 1 x 1 convolution with ``weights`` [out, in]."""
    outputs, inputs = weights.shape
    kernel = b.constant(weights.reshape(outputs, 1, 1, inputs).astype(np.float32))
    offsets = b.constant(np.full(outputs, bias, np.float32))
    output = b.tensor([*b.shape(tensor)[:3], outputs])
    activation = schema.ActivationFunctionType.RELU if relu else schema.ActivationFunctionType.NONE
    return b.op(
        "CONV_2D", [tensor, kernel, offsets], output, "Conv2DOptions", strideH=1, strideW=1, padding=0, fusedActivationFunction=activation
    )


def _depthwise(b: _Builder, tensor: int, kernel: NDArray[Any], stride: int) -> int:
    """Every channel summed with the weights of ``kernel`` [side, side], in steps of ``stride``, zeros outside."""
    channels = b.shape(tensor)[3]
    weights = np.repeat(kernel.astype(np.float32)[None, :, :, None], channels, axis=3)
    output = b.tensor([1, CELLS, CELLS, channels])
    inputs = [tensor, b.constant(weights), b.constant(np.zeros(channels, np.float32))]
    return b.op("DEPTHWISE_CONV_2D", inputs, output, "DepthwiseConv2DOptions", strideH=stride, strideW=stride, depthMultiplier=1, padding=0)


def _areas(b: _Builder, scores: int) -> tuple[int, int, int]:
    """Area, in pixels, and first moments (y, x) around each cell's corner, in pixels x cells: float [1, 48, 48, 18] each."""
    within = np.broadcast_to(((np.arange(STRIDE) + 0.5) / STRIDE)[:, None], (STRIDE, STRIDE))
    steps = np.broadcast_to(np.arange(WINDOW)[:, None] - WINDOW // 2, (WINDOW, WINDOW))
    every = np.ones((WINDOW, WINDOW))
    in_cell = _depthwise(b, scores, np.ones((STRIDE, STRIDE)), STRIDE)
    area = _depthwise(b, in_cell, every, 1)
    moments = []
    for inner, outer in ((within, steps), (within.T, steps.T)):
        in_window = _depthwise(b, _depthwise(b, scores, inner, STRIDE), every, 1)
        moments.append(b.same("ADD", [in_window, _depthwise(b, in_cell, outer, 1)]))
    return b.same("ADD", [area, b.number(1e-4)]), moments[0], moments[1]


def _presence(b: _Builder, area: int, offset_y: int, offset_x: int) -> int:
    """Whether a disc is there at all, and whether its centroid lies in this very cell: 0..1."""
    above = b.same("SUB", [area, b.number(AREA_NOISE)], relu=True)
    there = b.same("MINIMUM", [b.same("MUL", [above, b.number(1 / AREA_SURE)]), b.number(1.0)])
    off = [b.same("ABS", [b.same("SUB", [offset, b.number(0.5)])]) for offset in (offset_y, offset_x)]
    distance = b.same("MUL", [b.same("ADD", off), b.number(OFF_CELL)])
    near = b.same("SUB", [b.number(1.0), distance], shape=b.shape(distance), relu=True)
    return b.same("MUL", [there, near])


def _mean_body(b: _Builder, centre_area: int) -> int:
    """float [1, 48, 48, 34]: dy, dx, in cells, from a centre to each joint of a standing body of the height its disc tells."""
    half = [_MEAN_BODY["nose"]]
    for part in list(_MEAN_BODY)[1:]:
        y, x = _MEAN_BODY[part]
        half += [(y, x), (y, -x)]  # left, right, as one who faces the camera is seen
    body = np.array(half).reshape(-1)
    cells_per_height = 1 / (math.sqrt(math.pi) * CENTRE_RADIUS * STRIDE)
    return _pointwise(b, b.op("SQRT", [centre_area], b.tensor(b.shape(centre_area))), body[:, None] * cells_per_height, 0.0)


def _pairs(b: _Builder, first: int, second: int) -> int:
    """Two [.., 17] tensors interleaved to [.., 34]."""
    output = b.tensor([1, CELLS, CELLS, JOINTS, 2])
    packed = b.op("PACK", [first, second], output, "PackOptions", valuesCount=2, axis=4)
    return b.reshape(packed, [1, CELLS, CELLS, 2 * JOINTS])


def _quantised(b: _Builder, tensor: int, scale: float, zero_point: int) -> int:
    return b.op("QUANTIZE", [tensor], b.tensor(b.shape(tensor), "INT8", scale=scale, zero_point=zero_point), "QuantizeOptions")


def _pick_one(b: _Builder, centre: int, heatmap: int, offset: int, regression: int) -> int:
    """MoveNet's tail: the best centre, its rough joints, the best cell of each, its offset: float [1, 1, 17, 3], y, x, score."""
    row, column = _best_cell(b, b.reshape(centre, [1, CELLS**2, 1]), 1)
    cell = [b.constant(np.zeros(1, np.int32)), b.reshape(row, [1]), b.reshape(column, [1])]
    place = b.op("PACK", cell, b.tensor([1, 3], "INT32"), "PackOptions", valuesCount=3, axis=1)
    steps = b.op("GATHER_ND", [regression, place], b.tensor([1, 2 * JOINTS], "INT8", scale=0.35, zero_point=0), "GatherNdOptions")
    steps = b.reshape(b.op("DEQUANTIZE", [steps], b.tensor([1, 2 * JOINTS]), "DequantizeOptions"), [JOINTS, 2])
    step_y, step_x = b.tensor([JOINTS]), b.tensor([JOINTS])
    b.op("UNPACK", [steps], [step_y, step_x], "UnpackOptions", num=2, axis=1)
    weighed = _weighed(b, heatmap, (row, step_y), (column, step_x))
    rows, columns = _best_cell(b, b.reshape(weighed, [1, CELLS**2, JOINTS]), JOINTS)
    return _finished(b, heatmap, offset, b.reshape(rows, [JOINTS]), b.reshape(columns, [JOINTS]))


def _best_cell(b: _Builder, flat: int, count: int) -> tuple[int, int]:
    """Row and column, int32 [1, count], of the largest value of each channel."""
    axis, side = b.constant(np.array(1, np.int32)), b.constant(np.array(CELLS, np.int32))
    best = b.op("ARG_MAX", [flat, axis], b.tensor([1, count], "INT32"), "ArgMaxOptions", outputType=2)
    row = b.integers("FLOOR_DIV", "FloorDivOptions", [best, side], [1, count])
    return row, b.integers("SUB", "SubOptions", [best, b.integers("MUL", "MulOptions", [row, side], [1, count])], [1, count])


def _as_float(b: _Builder, integers: int) -> int:
    return b.op("CAST", [integers], b.tensor(b.shape(integers)), "CastOptions", inDataType=2, outDataType=0)


def _weighed(b: _Builder, heatmap: int, y: tuple[int, int], x: tuple[int, int]) -> int:
    """The heatmap divided by the distance, in cells, of each cell from the joint's rough place + 1.8."""
    grid = [1, CELLS, CELLS, JOINTS]
    squares = []
    for (cell, step), line in ((y, (1, CELLS, 1, 1)), (x, (1, 1, CELLS, 1))):
        places = b.constant(np.arange(CELLS, dtype=np.float32).reshape(line))
        rough = b.same("ADD", [step, b.reshape(_as_float(b, cell), [1])])
        apart = b.same("SUB", [places, rough], shape=[*line[:3], JOINTS])
        squares.append(b.same("MUL", [apart, apart]))
    distance = b.op("SQRT", [b.same("ADD", squares, shape=grid)], b.tensor(grid))
    value = b.op("DEQUANTIZE", [heatmap], b.tensor(grid), "DequantizeOptions")
    return b.same("DIV", [value, b.same("ADD", [distance, b.number(1.8)])])


def _finished(b: _Builder, heatmap: int, offset: int, rows: int, columns: int) -> int:
    batch, joint = b.constant(np.zeros(JOINTS, np.int32)), b.constant(np.arange(JOINTS, dtype=np.int32))
    places = b.op("PACK", [batch, rows, columns], b.tensor([JOINTS, 3], "INT32"), "PackOptions", valuesCount=3, axis=1)
    of_all = b.op("GATHER_ND", [offset, places], b.tensor([JOINTS, 2 * JOINTS], "INT8", scale=1 / 64, zero_point=-32), "GatherNdOptions")
    of_all = b.reshape(b.op("DEQUANTIZE", [of_all], b.tensor([JOINTS, 2 * JOINTS]), "DequantizeOptions"), [JOINTS, JOINTS, 2])
    own = b.constant(np.repeat(np.arange(JOINTS, dtype=np.int32)[:, None], 2, axis=1))
    steps = b.op("GATHER_ND", [of_all, own], b.tensor([JOINTS, 2]), "GatherNdOptions")
    cells = b.op("PACK", [_as_float(b, rows), _as_float(b, columns)], b.tensor([JOINTS, 2]), "PackOptions", valuesCount=2, axis=1)
    at = b.same("MUL", [b.same("ADD", [cells, steps]), b.number(1 / CELLS)])
    with_joint = b.op("PACK", [batch, rows, columns, joint], b.tensor([JOINTS, 4], "INT32"), "PackOptions", valuesCount=4, axis=1)
    scores = b.op("GATHER_ND", [heatmap, with_joint], b.tensor([JOINTS], "INT8", scale=1 / 256, zero_point=-128), "GatherNdOptions")
    scores = b.reshape(b.op("DEQUANTIZE", [scores], b.tensor([JOINTS]), "DequantizeOptions"), [JOINTS, 1])
    both = b.op("CONCATENATION", [at, scores], b.tensor([JOINTS, 3]), "ConcatenationOptions", axis=1)
    return b.reshape(both, [1, 1, JOINTS, 3])


if __name__ == "__main__":
    Path(__file__).with_name("marker.tflite").write_bytes(build())
