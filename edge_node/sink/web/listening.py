"""The page's listening sockets. They keep no more connections open than the node can spare, in total and of one address.

A connection that asks for nothing costs a descriptor until it is given up, token or not; without a limit a few hundred of them
would take those that the camera, a recording and the state directory need.
"""

import errno
import resource
import socket
from typing import Any
from weakref import WeakKeyDictionary

BESIDE_VIEWERS = 64
"""Connections beyond those of ``web.max_viewers``: each page that is opened makes a few."""
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""``localhost`` is also an address of IPv6, which a machine may not have."""


class Room:
    """Which connections are open over all listening sockets of a page. For one thread."""

    def __init__(self, max_viewers: int) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(max_viewers + BESIDE_VIEWERS, descriptors // 2)
        self._most_of_one = max(self._most // 2, min(max_viewers + BESIDE_VIEWERS // 8, self._most))
        self._open: WeakKeyDictionary[socket.socket, str] = WeakKeyDictionary()

    def admit(self, connection: socket.socket, address: str) -> bool:
        """Count a new connection; False when there is no room for it, or its address has its share: half, or what all viewers take."""
        addresses = [where for one, where in self._open.items() if one.fileno() >= 0]
        if len(addresses) >= self._most or addresses.count(address) >= self._most_of_one:
            return False
        self._open[connection] = address
        return True


class ListeningSocket(socket.socket):
    """Closes a connection at once where there is no room; whoever accepts never sees it."""

    def __init__(self, family: int, room: Room) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._room = room

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self._room.admit(connection, address[0]):
            return connection, address
        connection.close()
        raise ConnectionAbortedError("no room for another connection")


def listening_sockets(host: str, port: int, max_viewers: int) -> list[ListeningSocket]:
    """A bound socket for each address of ``host`` that this machine has, all with one port. Raises ``OSError`` or ``UnicodeError``."""
    room = Room(max_viewers)
    bound: list[ListeningSocket] = []
    missing: OSError | None = None
    for family, _, _, _, address in socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
        try:
            bound.append(_bound(family, (address[0], port, *address[2:]), room))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            missing = error
        else:
            port = bound[-1].getsockname()[1]
    if missing is not None and not bound:
        raise missing
    return bound


def _bound(family: int, address: tuple[Any, ...], room: Room) -> ListeningSocket:
    listening = ListeningSocket(family, room)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
    except OSError:
        listening.close()
        raise
    return listening
