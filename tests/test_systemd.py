"""The words sent to systemd, received on a real datagram socket."""

import logging
import os
import socket
import time

import pytest

from edge_node.systemd import Notifier


@pytest.fixture
def manager(tmp_path):
    """The service manager's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def said(manager):
    words = []
    while True:
        try:
            words.append(manager.recv(4096).decode())
        except BlockingIOError:
            return words


def notifier(manager, **more):
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more})


def test_life_of_a_service_is_told_in_order(manager):
    told = notifier(manager)
    told.ready()
    told.status("cpu, 2 people,\n 30 fps")
    told.stopping()
    assert said(manager) == ["READY=1", "STATUS=cpu, 2 people, 30 fps", "STOPPING=1"]


def test_reloading_carries_the_monotonic_time(manager):
    before_us = time.monotonic_ns() // 1000
    notifier(manager).reloading()
    first, second = said(manager)[0].split("\n")
    assert first == "RELOADING=1"
    assert before_us <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000


def test_abstract_sockets_are_understood():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0edge-node-test-{os.getpid()}")
        receiver.setblocking(False)
        Notifier({"NOTIFY_SOCKET": f"@edge-node-test-{os.getpid()}"}).ready()
        assert said(receiver) == ["READY=1"]


def test_a_path_may_have_an_at_sign_in_it(tmp_path):
    (tmp_path / "user@1000").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "user@1000" / "notify"))
        receiver.setblocking(False)
        notifier(receiver).ready()
        assert said(receiver) == ["READY=1"]


def test_many_frames_make_few_pings(manager):
    watched = notifier(manager, WATCHDOG_USEC="15000000")
    for _ in range(1000):
        watched.watchdog()
    assert said(manager) == ["WATCHDOG=1"]


def test_pings_go_on_as_frames_do(manager):
    watched = notifier(manager, WATCHDOG_USEC="4000")
    for _ in range(3):
        watched.watchdog()
        time.sleep(0.002)
    assert said(manager) == ["WATCHDOG=1"] * 3


@pytest.mark.parametrize(("silent_s", "period_s"), [(20, 30), (130, 195)])
def test_the_watchdog_waits_for_longer_than_a_healthy_node_may_be_silent(manager, silent_s, period_s):
    notifier(manager, WATCHDOG_USEC="30000000").allow_silence(silent_s)
    assert said(manager) == [f"WATCHDOG_USEC={period_s}000000"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "0"}],
    ids=["not asked for", "meant for another process", "not a number", "off"],
)
def test_nobody_is_pinged_who_does_not_watch(manager, environment):
    watched = notifier(manager, **environment)
    watched.allow_silence(3600)
    watched.watchdog()
    assert said(manager) == []


def test_without_systemd_nothing_is_sent_nor_complained_of(caplog):
    told = Notifier({})
    for call in (told.ready, told.watchdog, told.reloading, told.stopping):
        call()
    told.status("fine")
    assert caplog.messages == []


def test_a_manager_that_went_away_is_reported_once_and_does_not_stop_the_node(manager, tmp_path, caplog):
    told = notifier(manager)
    (tmp_path / "notify").unlink()
    with caplog.at_level(logging.WARNING):
        told.ready()
        told.status("still here")
    assert [r.message for r in caplog.records if "does not hear" in r.message] == [caplog.records[0].message]
