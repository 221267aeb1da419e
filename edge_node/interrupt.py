"""Signals that end the program: Ctrl-C while it still starts, and what others send to a program that has something to clear away."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from edge_node.errors import EXIT_INTERRUPTED


@contextlib.contextmanager
def ended_at_once_by_ctrl_c() -> Iterator[None]:
    """For imports: a ``KeyboardInterrupt`` in the midst of one comes out as an error of any kind, so the process ends without it.

    Not to be used where there is something to clean up. On another thread than the main one, which gets no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # the other case: a process in the background, told to ignore it
        return
    signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(EXIT_INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def ended_in_order_when_terminated() -> Iterator[None]:
    """Have SIGTERM, or SIGHUP of a terminal that is closed, end the program as an error would: programs it has started are ended, too, and
    its temporary files taken away. On another thread than the main one it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, _frame: FrameType | None) -> None:
        for each in taken:  # one is enough: a second would end what clears away
            signal.signal(each, signal.SIG_IGN)
        raise SystemExit(128 + number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Signals that would end the program in order do so behind this block: what it starts is then already known to what clears away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ending = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ending = {number: handler for number, handler in ending.items() if callable(handler)}  # others end it at once, or never
    came: list[int] = []
    for number in ending:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in ending.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)
