"""A subscriber in a process of its own, so that it takes no time from the node it watches: notes when each pose arrives.

Run as ``python -m edge_node.bench.subscriber PORT TOPIC``. Prints ``ready``; when its input ends, one line ``seq arrival_ns`` for
each message, by the monotonic clock, which all processes of a machine share.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from edge_node.errors import EdgeNodeError
from edge_node.interrupt import undisturbed

START_S = 60.0


class Subscriber:
    """The child, seen from its parent."""

    def __init__(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def arrivals_ns(self) -> dict[int, int]:
        """Ends the child; sequence number to monotonic nanoseconds of each pose that came."""
        text, _ = self._child.communicate(timeout=START_S)
        return {int(seq): int(arrived) for seq, arrived in (line.split() for line in text.splitlines())}


@contextlib.contextmanager
def subscriber(port: int, topic: str) -> Iterator[Subscriber]:
    """One that listens to ``topic`` at a broker of this machine while the context lasts. Raises ``EdgeNodeError`` if it does not start."""
    command = [sys.executable, "-m", "edge_node.bench.subscriber", str(port), topic]
    with contextlib.ExitStack() as stack:
        with undisturbed():
            # In a process group of its own, which a Ctrl-C on the terminal does not reach: the child ends with its parent.
            child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)
            stack.callback(_end, child)
        if child.stdout is None or child.stdout.readline().strip() != "ready":
            raise EdgeNodeError("the subscriber of the benchmark did not come up")
        yield Subscriber(child)


def _end(child: "subprocess.Popen[str]") -> None:
    if child.poll() is None:
        child.kill()
        child.wait()


def main() -> int:
    """The child."""
    import paho.mqtt.client as mqtt  # noqa: PLC0415 - only the child needs it
    from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415 - the same

    port, topic = sys.argv[1:]
    arrivals: list[tuple[int, bytes]] = []

    def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        arrivals.append((time.monotonic_ns(), bytes(message.payload)))

    def on_subscribe(*_: Any) -> None:
        print("ready", flush=True)  # noqa: T201 - for the parent

    # MQTT 3.1.1 is half of the work of 5 for a message: this process and the node share the machine.
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_message, client.on_subscribe = on_message, on_subscribe
    client.connect("127.0.0.1", int(port))
    client.subscribe(topic, 0)
    client.loop_start()
    sys.stdin.read()
    client.loop_stop()
    for arrived_ns, payload in arrivals:
        print(json.loads(payload)["seq"], arrived_ns)  # noqa: T201 - for the parent
    return 0


if __name__ == "__main__":
    sys.exit(main())
