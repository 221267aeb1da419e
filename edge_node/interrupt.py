"""Ctrl-C while the program still starts."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

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
