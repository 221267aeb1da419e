"""One interpreter of TensorFlow Lite that takes one square at a time."""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from edge_node.engine import Fill, Inference, ModelOutput, StockPoses
from edge_node.engine.graph import KEYPOINTS, CutModel, StockModel
from edge_node.engine.model_input import ModelInput
from edge_node.engine.runtime import Runtime
from edge_node.errors import EngineError, ModelError

T = TypeVar("T")

CPU = "cpu"


class Square:
    """One interpreter: takes one square at a time. Used by one thread at a time."""

    def __init__(self, model: CutModel | StockModel, runtime: Runtime, threads: int) -> None:
        refuse_compiled(model)
        self._model = model
        try:
            self._interpreter = runtime.interpreter(model_content=model.content, num_threads=threads)
            self._allocate(model)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{runtime.title} cannot run this model: {_first_line(error)}") from error
        taken = self._interpreter.get_input_details()[0]
        self._input = self._interpreter.tensor(taken["index"])
        self._outputs = [self._interpreter.tensor(given["index"]) for given in self._interpreter.get_output_details()]
        self._model_input = ModelInput(np.dtype(taken["dtype"]), model.input_size_px)
        self.invoke()  # the first one allocates and packs weights

    def run(self, fill: Fill, decode: Callable[[ModelOutput], T]) -> Inference[T]:
        """Sample, invoke, decode; raises what ``fill`` and ``decode`` raise, and ``EngineError`` when the model fails."""
        start = time.perf_counter()
        self._model_input.write(fill, self._input()[0])  # it refuses to run while a view of its memory is alive
        sampled = time.perf_counter()
        self.invoke()
        invoked = time.perf_counter()
        result = decode(self._output())
        done = time.perf_counter()
        return Inference(result, CPU, (sampled - start) * 1e3, (invoked - sampled) * 1e3, (done - invoked) * 1e3)

    def invoke(self) -> None:
        """Run the model on what is in its input. Raises ``EngineError``."""
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise EngineError(f"the model could not be run: {_first_line(error)}") from error

    def _allocate(self, model: CutModel | StockModel) -> None:
        if isinstance(model, StockModel) and model.resize:
            index = self._interpreter.get_input_details()[0]["index"]
            self._interpreter.resize_tensor_input(index, [1, model.input_size_px, model.input_size_px, 3])
        self._interpreter.allocate_tensors()

    def _output(self) -> ModelOutput:
        arrays = [output() for output in self._outputs]
        if isinstance(self._model, CutModel):
            return self._model.heads(arrays)
        if self._model.layout == "single":
            return StockPoses(arrays[0][0])
        people = arrays[0][0]
        return StockPoses(people[:, : KEYPOINTS * 3].reshape(len(people), KEYPOINTS, 3))


def refuse_compiled(model: CutModel | StockModel) -> None:
    """Raises ``ModelError`` for a model that only an Edge TPU can run."""
    if model.edgetpu:
        raise ModelError(
            "compiled for the Edge TPU, it cannot run on the CPU; "
            "give the model it was compiled from, and keep this one beside it, the same name with _edgetpu behind"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
