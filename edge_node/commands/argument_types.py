"""What several verbs take as the value of an option."""

import argparse
import threading


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
