"""A mosquitto of one's own on a free port of this machine, for the demonstration and the benchmark."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from edge_node.errors import SinkError
from edge_node.interrupt import undisturbed
from edge_node.temporary import temporary_folder

_PLACES = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin"
_START_S = 10.0
NO_DELAY = "set_tcp_nodelay true\n"
"""Without it the broker holds a pose back until a subscriber has acknowledged the one before, up to 10 ms at 30 a second."""


def mosquitto() -> str | None:
    """The path of the mosquitto program, also where ``sbin`` is not on the user's path."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_PLACES)


@contextlib.contextmanager
def local_broker() -> Iterator[int]:
    """A broker on loopback for as long as the context lasts; gives its port.

    Raises ``SinkError`` when mosquitto is not installed or does not come up, ``OutputError`` when there is no room for its configuration.
    """
    program = mosquitto()
    if program is None:
        raise SinkError("mosquitto is not installed; install it with: sudo apt install mosquitto")
    with temporary_folder("edge-node-broker-") as folder:
        port = _free_port()
        configuration = folder / "mosquitto.conf"
        configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n{NO_DELAY}", encoding="ascii")
        with (folder / "log").open("w+", encoding="utf-8") as output, contextlib.ExitStack() as stack:
            with undisturbed():
                process = subprocess.Popen([program, "-c", str(configuration)], stdout=output, stderr=output)
                stack.callback(_end, process)
            _wait_until_open(port, process, Path(output.name))
            yield port


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_open(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise SinkError(f"mosquitto did not start: {log.read_text(encoding='utf-8').strip() or 'no reason given'}")
