"""Host and port as they are written: an IPv6 address in brackets."""


def bracketed(host: str) -> str:
    """The host as it stands in an address."""
    return f"[{host}]" if ":" in host else host


def address(host: str, port: int) -> str:
    """``host:port``."""
    return f"{bracketed(host)}:{port}"
