"""Signals that end the program in order."""

import signal

import pytest

from edge_node.interrupt import ended_in_order_when_terminated, undisturbed


def test_a_signal_that_comes_while_something_starts_ends_the_program_behind_it() -> None:
    started: list[str] = []

    def start() -> None:
        with undisturbed():
            signal.raise_signal(signal.SIGTERM)
            started.append("the one that was starting")
        started.append("one more")

    with pytest.raises(SystemExit) as ended, ended_in_order_when_terminated():
        start()
    assert started == ["the one that was starting"]
    assert ended.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_is_ignored_stays_ignored_while_something_starts() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with undisturbed():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
