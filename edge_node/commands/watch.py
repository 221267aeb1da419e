"""``edge-node watch``: a subscriber for the terminal. Every node with its people, rate and accelerator, live."""

import argparse
import json
import shutil
import ssl
import sys
import time
from collections.abc import Iterable
from typing import Any

from edge_node import paths
from edge_node.client import Client, ClientError, NodeView
from edge_node.commands.argument_types import node_name, port, user_name
from edge_node.data import People
from edge_node.errors import EXIT_FAILED, EXIT_OK
from edge_node.log import harmless
from edge_node.sink.certificate import file_trouble

SETTLE_S = 1.5
TERMINAL_INTERVAL_S = 0.25
LINE_INTERVAL_S = 1.0
_CLEAR = "\x1b[H\x1b[J"
_LOST = "the connection to the broker is lost; trying again"
_COLUMNS = f"{'NODE':<20} {'STATE':<8} {'FPS':>6} {'POSES/S':>8} {'PEOPLE':>6}  {'ON':<8} POSTURE"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the verb takes."""
    parser.add_argument("--host", default="localhost", help="broker's host name or address (localhost)")
    parser.add_argument("--port", type=port, help="broker's TCP port (1883, with TLS 8883)")
    parser.add_argument("--node", type=node_name, metavar="NAME", help="only the node of this name")
    parser.add_argument("--username", type=user_name, help="user name at the broker; the password: EDGE_NODE_MQTT_PASSWORD")
    parser.add_argument("--tls", action="store_true", help="encrypt the connection; the broker's certificate is verified")
    parser.add_argument("--ca-file", metavar="FILE", help="certificate authority, PEM; means --tls")
    parser.add_argument("--once", action="store_true", help="say how the nodes are now, and end")
    parser.add_argument("--json", action="store_true", help="print JSON: a list of nodes a line")
    parser.epilog = "Goes on until Ctrl-C (exit code 130); with --once the exit code is 0, or 1 when no node is online."


def run(arguments: argparse.Namespace) -> int:
    """Show the fleet until interrupted."""
    with _client(arguments) as client:
        if arguments.once:
            return _once(client, arguments.json)
        live = sys.stdout.isatty() and not arguments.json
        connected = True
        while True:
            time.sleep(TERMINAL_INTERVAL_S if live else LINE_INTERVAL_S)
            before, connected = connected, client.connected
            if live:
                lost = "" if connected else f"{_LOST}; as it was before:\n"
                print(_CLEAR + lost + screen(client.fleet().values(), shutil.get_terminal_size().columns), end="", flush=True)
                continue
            if connected != before:
                print("connected to the broker again" if connected else _LOST, file=sys.stderr, flush=True)
            if connected:
                _print_lines(client.fleet().values(), arguments.json)


def screen(nodes: Iterable[NodeView], width: int) -> str:
    """The whole picture for a terminal of so many columns."""
    lines = [_COLUMNS]
    for node in nodes:
        lines.append(_row(node))
        lines += [f"  ! {part}: {text}" for part, text in sorted(node.problems.items())]
        lines += [f"  {text}" for text in _people(node)]
    if len(lines) == 1:
        lines.append("no node has been heard yet")
    return "\n".join(harmless(line)[:width] for line in lines) + "\n"


def summary(node: NodeView) -> dict[str, Any]:
    """One node as JSON has it. What a broker keeps of one that is gone says nothing of now."""
    if node.status is not None and not node.online:
        node = NodeView(node.name, node.heard_s, node.status)
    health, state = node.health, node.state
    return {
        "node": node.name,
        "state": node.status["state"] if node.status else "unknown",
        "fps": health["fps"] if health else None,
        "pose_rate_hz": round(node.pose_rate_hz, 1),
        "people": _count(node),
        "accelerator": _accelerator(node),
        "posture": state["posture"] if state else None,
        "problems": dict(node.problems),
    }


def _client(arguments: argparse.Namespace) -> Client:
    tls = None
    if arguments.tls or arguments.ca_file:
        try:
            tls = ssl.create_default_context(cafile=arguments.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ClientError(f"--ca-file {arguments.ca_file}: {file_trouble(error)}") from None
    return Client(
        arguments.host,
        arguments.port or (8883 if tls else 1883),
        node=arguments.node,
        username=arguments.username,
        password=paths.secret("mqtt-password"),
        tls=tls,
    )


def _once(client: Client, as_json: bool) -> int:
    time.sleep(SETTLE_S)
    nodes = list(client.fleet().values())
    if as_json:
        print(json.dumps([summary(node) for node in nodes]))
    else:
        print(screen(nodes, 1000), end="")
    return EXIT_OK if any(node.online for node in nodes) else EXIT_FAILED


def _print_lines(nodes: Iterable[NodeView], as_json: bool) -> None:
    if as_json:
        print(json.dumps([summary(node) for node in nodes]), flush=True)
        return
    for node in nodes:
        problems = "".join(f" !{part}: {text}" for part, text in sorted(node.problems.items()))
        print(harmless(_row(node).rstrip() + problems), flush=True)


def _row(node: NodeView) -> str:
    said = summary(node)
    fps = f"{said['fps']:.1f}" if said["fps"] is not None else "-"
    people = "-" if said["people"] is None else said["people"]
    posture = said["posture"] or ""
    return (
        f"{node.name:<20} {said['state']:<8} {fps:>6} {said['pose_rate_hz']:>8.1f} {people:>6}  {said['accelerator'] or '-':<8} {posture}"
    )


def _people(node: NodeView) -> Iterable[str]:
    people = _newest(node)
    if people is None or not node.online:
        return
    for person in people.people:
        seen = int((person.keypoints[:, 2] >= 0.2).sum())
        x0, y0, x1, y1 = person.box
        yield f"  #{person.id}  score {person.score:.2f}  {seen:>2} of 17 joints  from {x0:.2f},{y0:.2f} to {x1:.2f},{y1:.2f}"


def _newest(node: NodeView) -> People | None:
    """The people of the last pose, unless none comes any more (``mqtt.pose`` may be tuned off) and the state tells of another number."""
    people, state = node.people, node.state
    if people is None or node.pose_rate_hz > 0 or state is None or state["count"] == len(people.people):
        return people
    return None


def _count(node: NodeView) -> int | None:
    people = _newest(node)
    if people is not None:
        return len(people.people)
    if node.state is not None:
        return node.state["count"]
    return node.health["people"] if node.health else None


def _accelerator(node: NodeView) -> str | None:
    people = _newest(node)
    if people is not None:
        return people.accelerator
    return node.health["accelerator"] if node.health else None
