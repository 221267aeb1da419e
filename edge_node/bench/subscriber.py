"""A subscriber in a process of its own, so that it takes no time from the node it watches: notes when each pose arrives.

Run as ``python -m edge_node.bench.subscriber PORT TOPIC``. Prints ``ready``; when its input ends, one line ``seq arrival_ns`` for
each message, by the monotonic clock, which all processes of a machine share.
"""

import contextlib
import json
import subprocess
import sys
import time
from typing import Any

from edge_node.errors import EdgeNodeError

START_S = 60.0


class Subscriber:
    """The child, seen from its parent. A context manager."""

    def __init__(self, port: int, topic: str) -> None:
        command = [sys.executable, "-m", "edge_node.bench.subscriber", str(port), topic]
        # In a process group of its own, which a Ctrl-C on the terminal does not reach: the child ends with its parent.
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0)

    def __enter__(self) -> "Subscriber":
        with contextlib.ExitStack() as stack:
            stack.callback(self.__exit__)  # also when a signal ends the program meanwhile
            output = self._child.stdout
            if output is None or output.readline().strip() != "ready":
                raise EdgeNodeError("the subscriber of the benchmark did not come up")
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()

    def arrivals_ns(self) -> dict[int, int]:
        """Ends the child; sequence number to monotonic nanoseconds of each pose that came."""
        text, _ = self._child.communicate(timeout=START_S)
        return {int(seq): int(arrived) for seq, arrived in (line.split() for line in text.splitlines())}


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
