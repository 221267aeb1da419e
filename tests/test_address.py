"""Host and port as they are written."""

from edge_node.address import address


def test_only_an_ipv6_address_stands_in_brackets() -> None:
    assert [address(host, 1883) for host in ("broker.local", "10.0.0.2", "::1")] == ["broker.local:1883", "10.0.0.2:1883", "[::1]:1883"]
