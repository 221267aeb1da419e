"""What several verbs take as the value of an option."""

import argparse
import re
import threading

from edge_node.config.models import NODE_NAME_PATTERN


def positive(text: str) -> int:
    """A whole number of 1 or more. Raises ``ArgumentTypeError``."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def duration_s(text: str) -> float:
    """Seconds, more than none and no more than can be waited for. Raises ``ArgumentTypeError``."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= threading.TIMEOUT_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def port(text: str) -> int:
    """A TCP port that can be connected to. Raises ``ArgumentTypeError``."""
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)


def node_name(text: str) -> str:
    """A name that a node can have. Raises ``ArgumentTypeError``."""
    if not re.fullmatch(NODE_NAME_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a node: letters, digits, _ and -")
    return text


def user_name(text: str) -> str:
    """What MQTT can carry. Raises ``ArgumentTypeError``."""
    if not text.isprintable() or len(text.encode()) > 65_535:  # a byte that is no UTF-8 is not printable
        raise argparse.ArgumentTypeError(f"{text[:60]!r} is not a user name")
    return text
