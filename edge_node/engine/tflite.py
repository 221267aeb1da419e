"""Reading a .tflite file, a FlatBuffer, without any library: tensors, operators, constants; and cutting its graph short.

Every offset in the file is checked against the file's end before it is followed, so a damaged file ends in ``ModelError``.
Source of the layout: FlatBuffers' "internals" page and TensorFlow Lite's ``schema.fbs``.
"""

import contextlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.errors import ModelError

IDENTIFIER = b"TFL3"
DTYPES: dict[int, type[np.generic]] = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 7: np.int16, 9: np.int8}
"""TensorType of the schema to numpy, for the types this program looks into."""

OPERATORS = {
    0: "ADD",
    6: "DEQUANTIZE",
    14: "LOGISTIC",
    18: "MUL",
    22: "RESHAPE",
    32: "CUSTOM",
    41: "SUB",
    42: "DIV",
    53: "CAST",
    56: "ARG_MAX",
    107: "GATHER_ND",
    114: "QUANTIZE",
}
"""BuiltinOperator of the schema, as far as a MoveNet is recognised by it."""

# Field numbers of the schema's tables.
_MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS, _MODEL_METADATA, _MODEL_SIGNATURES = 1, 2, 4, 6, 7
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_OPERATORS = 0, 1, 2, 3
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_QUANTISATION = 0, 1, 2, 4
_QUANTISATION_SCALE, _QUANTISATION_ZERO_POINT = 2, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS, _OPERATOR_OPTIONS = 0, 1, 2, 4
_ARITHMETIC_ACTIVATION = 0  # of AddOptions, SubOptions and MulOptions
_CODE_OLD, _CODE_CUSTOM, _CODE_NEW = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Tensor:
    """``scale`` is 0 where the tensor is not quantised per tensor. ``buffer`` is the index of its constant, 0 for none."""

    shape: tuple[int, ...]
    dtype: type[np.generic] | None
    buffer: int
    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True)
class Operator:
    """``kind``: a name of ``OPERATORS``, a custom operator's own name, or empty. Inputs of -1 are absent ones.

    ``activated``: an ADD, SUB or MUL with an activation function behind it.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    activated: bool = False


class TfliteFile:
    """The first graph of a .tflite file. Raises ``ModelError`` for bytes that are none, or that are damaged."""

    def __init__(self, content: bytes) -> None:
        self._bytes = content
        if content[4:8] != IDENTIFIER:
            raise ModelError("not a TensorFlow Lite file: the mark TFL3 is missing")
        with _damage_told():
            self._read()

    def _read(self) -> None:
        model = _Table(self._bytes, _follow(self._bytes, 0))
        codes = [_operator_kind(table) for table in model.tables(_MODEL_CODES)]
        self._model = model
        self._buffers = model.tables(_MODEL_BUFFERS)
        self._graph = _first(model.tables(_MODEL_SUBGRAPHS), "graph")
        self.tensors = [_tensor(table, len(self._buffers)) for table in self._graph.tables(_GRAPH_TENSORS)]
        self.operators = [_operator(table, codes) for table in self._graph.tables(_GRAPH_OPERATORS)]
        self.inputs = self._graph.integers(_GRAPH_INPUTS)
        self.outputs = self._graph.integers(_GRAPH_OUTPUTS)
        for buffer in self._buffers:
            buffer.data(0)
        self._check_indices()
        self.producer = {tensor: i for i, operator in enumerate(self.operators) for tensor in operator.outputs}

    def constant(self, tensor: int) -> NDArray[np.generic] | None:
        """The values of a constant tensor in its shape, or ``None`` for one that is computed or of another length."""
        one = self.tensors[tensor]
        data = self._buffers[one.buffer].data(0)
        if one.dtype is None or not data or len(data) != int(np.prod(one.shape, dtype=np.int64)) * np.dtype(one.dtype).itemsize:
            return None
        return np.frombuffer(data, one.dtype).reshape(one.shape)

    def consumers(self, tensor: int) -> list[Operator]:
        """The operators that read ``tensor``."""
        return [operator for operator in self.operators if tensor in operator.inputs]

    def cut(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> bytes:
        """The file with other inputs and outputs, and only the operators between them.

        The operators' vector is compacted where it lies; the new lists are appended; signatures and metadata, which would
        name tensors that are gone, are emptied. Raises ``ModelError`` when ``outputs`` cannot be computed from ``inputs``.
        """
        needed = self._needed(inputs, outputs)
        patched = bytearray(self._bytes)
        with _damage_told():  # signatures and metadata are followed here for the first time
            for field in (_MODEL_SIGNATURES, _MODEL_METADATA):
                self._model.set_length(patched, field, 0)
            self._graph.keep(patched, _GRAPH_OPERATORS, needed)
            for field, indices in ((_GRAPH_INPUTS, inputs), (_GRAPH_OUTPUTS, outputs)):
                patched += bytes(-len(patched) % 4)
                self._graph.point(patched, field, len(patched))
                patched += struct.pack(f"<I{len(indices)}i", len(indices), *indices)
        return bytes(patched)

    def _needed(self, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> list[int]:
        operators: set[int] = set()
        waiting = list(outputs)
        while waiting:
            tensor = waiting.pop()
            if tensor in inputs or tensor < 0:
                continue
            operator = self.producer.get(tensor)
            if operator is None:
                if not self._buffers[self.tensors[tensor].buffer].data(0):
                    raise ModelError(f"tensor {tensor} is computed by nothing")
                continue
            if operator not in operators:
                operators.add(operator)
                waiting.extend(self.operators[operator].inputs)
        return sorted(operators)

    def _check_indices(self) -> None:
        used = [i for operator in self.operators for i in (*operator.inputs, *operator.outputs)]
        if any(not -1 <= i < len(self.tensors) for i in used):
            raise ModelError("damaged TensorFlow Lite file: an operator names a tensor that is not there")
        if any(not 0 <= i < len(self.tensors) for i in (*self.inputs, *self.outputs)):
            raise ModelError("damaged TensorFlow Lite file: input or output is a tensor that is not there")


@contextlib.contextmanager
def _damage_told() -> Iterator[None]:
    """What offsets that lead nowhere raise, as ``ModelError``."""
    try:
        yield
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        reason = "an offset leads beyond its end" if "buffer" in str(error) else error
        raise ModelError(f"damaged TensorFlow Lite file: {reason}") from error


class _Table:
    """A table of a FlatBuffer at ``position``; fields are found through its vtable."""

    __slots__ = ("_bytes", "_fields", "position")

    def __init__(self, content: bytes, position: int) -> None:
        self._bytes = content
        self.position = position
        vtable = position - _integer(content, "<i", position)
        size = _integer(content, "<H", vtable)
        if size < 4 or size % 2 or vtable + size > len(content):
            raise struct.error("a table has no valid field list")
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", content, vtable + 4)

    def place(self, field: int) -> int | None:
        """Position of a field's value, or ``None`` for one that is absent."""
        offset = self._fields[field] if field < len(self._fields) else 0
        return self.position + offset if offset else None

    def number(self, field: int, layout: str) -> int:
        place = self.place(field)
        return 0 if place is None else _integer(self._bytes, layout, place)

    def vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """Position of the first item, and the number of items; (0, 0) for an absent vector."""
        place = self.place(field)
        if place is None:
            return 0, 0
        start = _follow(self._bytes, place)
        count = _integer(self._bytes, "<I", start)
        if start + 4 + count * item_bytes > len(self._bytes):
            raise struct.error("a list goes beyond the end of the file")
        return start + 4, count

    def table(self, field: int) -> "_Table | None":
        place = self.place(field)
        return None if place is None else _Table(self._bytes, _follow(self._bytes, place))

    def data(self, field: int) -> bytes:
        start, count = self.vector(field, 1)
        return self._bytes[start : start + count]

    def values(self, field: int, item: str) -> tuple[int | float, ...]:
        start, count = self.vector(field, struct.calcsize(item))
        return struct.unpack_from(f"<{count}{item}", self._bytes, start)

    def integers(self, field: int) -> tuple[int, ...]:
        start, count = self.vector(field, 4)
        return struct.unpack_from(f"<{count}i", self._bytes, start)

    def tables(self, field: int) -> "list[_Table]":
        start, count = self.vector(field, 4)
        return [_Table(self._bytes, _follow(self._bytes, start + 4 * i)) for i in range(count)]

    def set_length(self, patched: bytearray, field: int, length: int) -> None:
        start, count = self.vector(field, 4)
        if count:
            struct.pack_into("<I", patched, start - 4, length)

    def keep(self, patched: bytearray, field: int, items: Iterable[int]) -> None:
        """Compact a vector of tables to ``items``; an entry is relative to its own position, so moving changes it."""
        start, _ = self.vector(field, 4)
        kept = [_follow(self._bytes, start + 4 * i) for i in items]
        for i, target in enumerate(kept):
            struct.pack_into("<I", patched, start + 4 * i, target - (start + 4 * i))
        self.set_length(patched, field, len(kept))

    def point(self, patched: bytearray, field: int, target: int) -> None:
        place = self.place(field)
        if place is None:
            raise ModelError("the graph lists no inputs or outputs")
        struct.pack_into("<I", patched, place, target - place)


def _integer(content: bytes, layout: str, position: int) -> int:
    if position < 0:
        raise struct.error("an offset points before the start of the file")
    return int(struct.unpack_from(layout, content, position)[0])


def _follow(content: bytes, position: int) -> int:
    return position + _integer(content, "<I", position)


def _first(tables: list[_Table], what: str) -> _Table:
    if not tables:
        raise ModelError(f"damaged TensorFlow Lite file: no {what}")
    return tables[0]


def _operator_kind(table: _Table) -> str:
    code = max(table.number(_CODE_OLD, "<b"), table.number(_CODE_NEW, "<i"))
    kind = OPERATORS.get(code, "")
    return table.data(_CODE_CUSTOM).decode() if kind == "CUSTOM" else kind


def _tensor(table: _Table, buffers: int) -> Tensor:
    buffer = table.number(_TENSOR_BUFFER, "<I")
    if buffer >= buffers:
        raise struct.error("a tensor names a constant that is not there")
    quantisation = table.table(_TENSOR_QUANTISATION)
    scales = quantisation.values(_QUANTISATION_SCALE, "f") if quantisation else ()
    zero_points = quantisation.values(_QUANTISATION_ZERO_POINT, "q") if quantisation else ()
    scale, zero_point = (float(scales[0]), int(zero_points[0]) if zero_points else 0) if len(scales) == 1 else (0.0, 0)
    shape = table.integers(_TENSOR_SHAPE)
    return Tensor(shape, DTYPES.get(table.number(_TENSOR_TYPE, "<b")), buffer, scale, zero_point)


def _operator(table: _Table, codes: list[str]) -> Operator:
    code = table.number(_OPERATOR_CODE, "<I")
    if code >= len(codes):
        raise struct.error("an operator is of a kind that is not listed")
    options = table.table(_OPERATOR_OPTIONS) if codes[code] in ("ADD", "SUB", "MUL") else None
    activated = options is not None and options.number(_ARITHMETIC_ACTIVATION, "<b") != 0
    return Operator(codes[code], table.integers(_OPERATOR_INPUTS), table.integers(_OPERATOR_OUTPUTS), activated)
