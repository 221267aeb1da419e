"""The name under which the node of a configuration file was tuned: when the file names it otherwise later, it is still that node."""

import hashlib
import logging
import re
from pathlib import Path

import orjson

from edge_node.config.models import NODE_NAME_PATTERN

log = logging.getLogger(__name__)


def former_name(state_directory: Path, configuration: Path) -> str | None:
    """The name last given to ``remember`` for this file; ``None`` when there is none that can be read."""
    try:
        content = orjson.loads(_record(state_directory, configuration).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    name = content.get("node") if isinstance(content, dict) else None
    return name if isinstance(name, str) and re.fullmatch(NODE_NAME_PATTERN, name) else None


def remember(state_directory: Path, configuration: Path, node: str) -> None:
    """Keep that the node of this file is tuned under the name ``node``. Writes only what is new; where that fails the log says so."""
    if former_name(state_directory, configuration) == node:
        return
    record = _record(state_directory, configuration)
    scratch = record.with_suffix(".new")
    try:
        scratch.write_bytes(orjson.dumps({"configuration": str(configuration.absolute()), "node": node}))
        scratch.replace(record)
    except OSError as error:
        log.warning("%s: %s; with another node.name the node would not find its tuned values", record, error.strerror or error)


def _record(state_directory: Path, configuration: Path) -> Path:
    digest = hashlib.sha256(bytes(configuration.absolute())).hexdigest()
    return state_directory / f"node-{digest[:16]}.json"
