"""A thread whose failure is never lost."""

import threading

import pytest

from edge_node.errors import ClosedError
from edge_node.worker import Worker


def end_of(body: object) -> list[BaseException | None]:
    ends: list[BaseException | None] = []
    worker = Worker("test", body, ends.append)  # type: ignore[arg-type]
    worker.start()
    assert worker.join(5)
    return ends


def test_a_normal_end_and_a_closed_slot_are_no_failure() -> None:
    def closed() -> None:
        raise ClosedError("the slot is closed")

    assert end_of(lambda: None) == [None]
    assert end_of(closed) == [None]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(3), MemoryError()])
def test_whatever_ends_it_is_handed_over(error: BaseException) -> None:
    def fail() -> None:
        raise error

    assert end_of(fail) == [error]


def test_one_that_does_not_stop_is_left_behind_and_said(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    worker = Worker("stuck", release.wait, lambda _: None)  # type: ignore[arg-type]
    worker.start()
    assert not worker.join(0.05)
    assert "stuck did not stop within 0.1 s and is left behind" in caplog.text
    release.set()
    assert worker.join(5)
