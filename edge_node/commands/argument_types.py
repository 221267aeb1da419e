"""What several verbs take as the value of an option."""

import argparse


def positive(text: str) -> int:
    """A whole number of 1 or more. Raises ``ArgumentTypeError``."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)
