"""A progress bar on the terminal; nothing where standard error is none."""

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
WIDTH = 32


def progress(items: Iterable[T], total: int, label: str) -> Iterator[T]:
    """Pass ``items`` on and show how many of ``total`` (0: not known) went by."""
    shown = sys.stderr.isatty()
    count = 0
    for count, item in enumerate(items, start=1):
        yield item
        if shown and (count % 10 == 0 or count == total):
            print(f"\r{label} {_bar(count, total)}", end="", file=sys.stderr, flush=True)
    if shown and count:
        print(f"\r{label} {_bar(count, count)}", file=sys.stderr)


def _bar(count: int, total: int) -> str:
    if total <= 0:
        return f"{count} frames"
    done = min(WIDTH, WIDTH * count // total)
    return f"[{'#' * done}{' ' * (WIDTH - done)}] {count}/{total}"
