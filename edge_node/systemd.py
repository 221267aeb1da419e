"""Telling systemd how the node is: ready, alive, reloading, stopping (the protocol of sd_notify(3): one datagram each).

Without systemd (no ``NOTIFY_SOCKET``) every call does nothing.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

PINGS_PER_PERIOD = 4
WATCHDOG_SPARE = 1.5
"""The watchdog waits so many times as long as a healthy node may be silent."""


class Notifier:
    """Speaks to the service manager that started this process. Its methods may be called from any thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._period_s = _watchdog_period_s(environment)
        self._next_ping_s = 0.0
        self._reachable = True

    def ready(self) -> None:
        """Started, or done with reloading."""
        self._send("READY=1")

    def allow_silence(self, seconds: float) -> None:
        """A healthy node may give no sign of life for so long: the watchdog waits longer where the unit's ``WatchdogSec`` is too short."""
        if self._period_s is not None:
            self._period_s = max(self._period_s, WATCHDOG_SPARE * seconds)
            self._send(f"WATCHDOG_USEC={round(self._period_s * 1e6)}")  # always: what the node said before a restart of itself still holds

    def watchdog(self) -> None:
        """The node works. Call it after a fresh frame was processed, never from a timer: a timer certifies a hang.

        While there is no camera to give frames, a finished attempt to open it is the work that counts; while a clip's next frame is not
        due, that the node waits for it; while the poses of a file wait for the broker, that it was looked for again. May be called for
        every frame; it sends a few datagrams in a watchdog period.
        """
        if self._period_s is None:
            return
        now_s = time.monotonic()
        if now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._period_s / PINGS_PER_PERIOD
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for ``systemctl status``."""
        self._send("STATUS=" + " ".join(text.split()))

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The node comes to its end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.sendto(message.encode(), self._address)
            self._reachable = True
        except OSError as error:  # a node that cannot speak to systemd still has people to look at
            if self._reachable:
                log.warning("systemd does not hear this node at %s: %s", self._address, error)
            self._reachable = False


def _watchdog_period_s(environment: Mapping[str, str]) -> float | None:
    """``WatchdogSec`` of the unit: the service is killed when no ping came for so long. ``None`` when nobody watches this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1e6 if microseconds.isdecimal() and int(microseconds) > 0 else None
