"""The engine that the ``model`` section of the configuration asks for."""

from edge_node.config.models import Model
from edge_node.engine import Engine
from edge_node.engine.cpu import open_cpu_engine
from edge_node.health import Health


def create_engine(settings: Model, health: Health) -> Engine:  # noqa: ARG001
    """The engine for ``settings``, ready for its first square. Raises ``ModelError`` and ``EngineError``."""
    return open_cpu_engine(settings)
