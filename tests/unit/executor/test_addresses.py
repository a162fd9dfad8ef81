"""Which addresses `http_request` may reach."""

from __future__ import annotations

import ipaddress

import pytest

from gnomon_core.runtime.guarded_http import AddressGuard, ForbiddenAddress, parse_networks


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "fe80::1",
        "fd00::1",
        "0.0.0.0",
        "::",
        "100.64.0.1",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "192.0.2.1",
    ],
)
def test_inner_addresses_are_refused(address: str) -> None:
    """Loopback, private, link-local, shared, multicast, and IPv6 forms that lead to one of them."""
    assert not AddressGuard().permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "64:ff9b::101:101"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressGuard().permits(ipaddress.ip_address(address))


def test_what_is_named_is_allowed_and_nothing_else() -> None:
    guard = AddressGuard(parse_networks("127.0.0.0/8, ::1/128,10.1.0.0/16"))
    for address in ("127.0.0.1", "::1", "10.1.9.9", "::ffff:127.0.0.1"):
        assert guard.permits(ipaddress.ip_address(address))
    for address in ("10.2.0.1", "192.168.0.1", "fe80::1"):
        assert not guard.permits(ipaddress.ip_address(address))


@pytest.mark.parametrize("text", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "a.b.c.d/8"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not a network"):
        parse_networks(f"127.0.0.0/8,{text}")


async def test_a_host_without_a_permitted_address_says_how_to_allow_it() -> None:
    with pytest.raises(ForbiddenAddress, match=r"loopback address.*GNOMON_HTTP_ALLOW"):
        await AddressGuard().addresses("localhost", 80)


async def test_a_permitted_host_is_told_by_its_addresses() -> None:
    addresses = await AddressGuard(parse_networks("127.0.0.0/8,::1/128")).addresses("127.0.0.1", 80)
    assert addresses == ["127.0.0.1"]
