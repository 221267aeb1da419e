"""Who may look: host name, origin, token and rate of each request. Decisions only; nothing here does I/O.

A page on loopback needs no token, but a web site open in the same browser must not reach it: the ``Host`` must be ours (no DNS
rebinding) and the ``Origin`` of a WebSocket must be the page's own.
"""

import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import parse_qs, quote, unquote, urlsplit

from edge_node.config.models import Web

COOKIE = "edge_node_token"
REQUESTS_PER_S = 20.0
BURST = 100.0
WRONG_TOKEN_COST = 20.0
"""A wrong token counts as so many requests, so that guessing runs dry after four, and goes on at one a second."""
ADDRESSES_REMEMBERED = 1024
FOR_ANYBODY = frozenset({"/style.css", "/icon.svg"})
"""What the page that asks for the token looks like."""


@dataclass(frozen=True, slots=True)
class Denied:
    """Why a request is turned away."""

    status: HTTPStatus
    reason: str


class Access:
    """The rules for one server. Belongs to the server's thread."""

    def __init__(self, config: Web, token: str | None) -> None:
        self._names = {"localhost", config.host.lower(), *(name.lower() for name in config.allowed_hosts), *_own_names()}
        self._token = token
        self._allowance: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, method: str, path: str, headers: Mapping[str, str], address: str, websocket: bool) -> Denied | None:
        """``None`` when the request may go on. ``address`` is the viewer's, without the port."""
        if not self._pay(address, 1.0):
            return Denied(HTTPStatus.TOO_MANY_REQUESTS, "too many requests; wait a few seconds")
        if method != "GET":
            return Denied(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is served")
        host = _value(headers, "Host") or ""
        if not self._is_ours(host):
            return Denied(HTTPStatus.MISDIRECTED_REQUEST, "this node is not known by that name; add it to web.allowed_hosts")
        origin = _value(headers, "Origin")
        if (websocket or origin is not None) and _netloc(origin or "").lower() != host.lower():
            return Denied(HTTPStatus.FORBIDDEN, "requests from other pages are refused")
        return self._check_token(path, headers, address)

    def allows_message(self, address: str) -> bool:
        """Whether a viewer may ask for something over the live connection: that counts like a request."""
        return self._pay(address, 1.0)

    def cookie(self, headers: Mapping[str, str], token: str) -> str:
        """The cookie that keeps a right ``token``: name and value."""
        return f"{_cookie_name(_value(headers, 'Host') or '')}={quote(token, safe='')}"

    def token_in_query(self, path: str) -> str | None:
        """The token given in the address, to be moved into a cookie; ``None`` when there is none or it is wrong."""
        given = parse_qs(path.partition("?")[2]).get("token", [""])[0]
        return given if self._token and _same(given, self._token) else None

    def _check_token(self, path: str, headers: Mapping[str, str], address: str) -> Denied | None:
        if self._token is None or path in FOR_ANYBODY or self.token_in_query(path):
            return None
        given = _cookie(_value(headers, "Cookie") or "", _cookie_name(_value(headers, "Host") or ""))
        if given is not None and _same(given, self._token):
            return None
        typed = "token=" in path
        if (given is not None or typed) and not self._pay(address, WRONG_TOKEN_COST):
            return Denied(HTTPStatus.TOO_MANY_REQUESTS, "too many wrong tokens; wait a few seconds")
        return Denied(HTTPStatus.UNAUTHORIZED, "That is not this node's token" if typed else "A token is needed")

    def _is_ours(self, host: str) -> bool:
        try:
            name, _ = _name_and_port(host)
        except ValueError:  # [::1 or a:b
            return False
        if name in self._names:
            return True
        try:
            # An address cannot be rebound by anybody's name server.
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _pay(self, address: str, cost: float) -> bool:
        """A token bucket for each address."""
        now = time.monotonic()
        left, since = self._allowance.pop(address, (BURST, now))
        left = min(BURST, left + (now - since) * REQUESTS_PER_S)
        allowed = left >= cost
        self._allowance[address] = (left - cost if allowed else left, now)
        if len(self._allowance) > ADDRESSES_REMEMBERED:
            self._allowance.popitem(last=False)
        return allowed


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    short = name.split(".")[0]
    return {name, short, f"{short}.local"}


def _value(headers: Mapping[str, str], name: str) -> str | None:
    """``None`` where there is no such header; empty, which is never right, where it stands twice."""
    try:
        return headers.get(name)
    except LookupError:
        return ""


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # http://[
        return ""


def _cookie(text: str, name: str) -> str | None:
    """Our cookie's value. Others that this host name has set may hold anything."""
    cookies = dict(part.strip().partition("=")[::2] for part in text.split(";"))
    return unquote(cookies[name]) if name in cookies else None


def _cookie_name(host: str) -> str:
    """A browser keeps one set of cookies for all ports of a machine, which may have several nodes. ``host``: the page's, with its port."""
    _, port = _name_and_port(host)
    return f"{COOKIE}_{port}" if port else COOKIE


def _name_and_port(host: str) -> tuple[str, int | None]:
    """What a ``Host`` says. Raises ``ValueError``."""
    parts = urlsplit(f"//{host}")
    return parts.hostname or "", parts.port


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(*(text.encode(errors="surrogateescape") for text in (given, right)))
