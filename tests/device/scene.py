"""What the checks share: the machine, the broker outside it, the packages, and what was measured on the way."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from ear import Broker, Ear
from machine import HOST_SEEN_FROM_MACHINE, Machine

NODE = "device-test"
CONFIGURATION = "/etc/edge-node/edge-node.yaml"


class CheckError(Exception):
    """What a check found to be wrong."""


@dataclass
class Scene:
    """All that a check has to do with."""

    machine: Machine
    broker: Broker
    ear: Ear
    package: Path
    newer: Path
    foreign: Path
    models: Path
    clip: Path
    wheels: Path
    steady_minutes: float
    figures: dict[str, str] = field(default_factory=dict)

    @property
    def broker_address(self) -> str:
        """As the machine sees it."""
        return f"{HOST_SEEN_FROM_MACHINE}:{self.broker.port}"

    def journal(self, since: str) -> str:
        """The service's journal from ``since``, a cursor of ``journal_cursor``."""
        return self.machine.run(f"journalctl -u edge-node --after-cursor='{since}' -o cat --no-pager")

    def journal_cursor(self) -> str:
        """Where the journal stands now."""
        return self.machine.run("journalctl -n 0 --show-cursor -q | sed -n 's/^-- cursor: //p'")

    def wait_for_journal(self, since: str, words: str, timeout_s: float = 120) -> str:
        """The line with ``words``; raises ``CheckError`` when it does not come."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for line in self.journal(since).splitlines():
                if words in line:
                    return line
            time.sleep(1)
        raise CheckError(f"the journal does not say {words!r}; it says: {self.journal(since)[-700:]}")

    def main_pid(self) -> int:
        """The process of the service."""
        return int(self.machine.run("systemctl show -P MainPID edge-node"))

    def restarts(self) -> int:
        """How often systemd restarted the service."""
        return int(self.machine.run("systemctl show -P NRestarts edge-node"))


def expect(truth: bool, otherwise: str) -> None:
    """Raises ``CheckError`` with ``otherwise`` unless ``truth``."""
    if not truth:
        raise CheckError(otherwise)
