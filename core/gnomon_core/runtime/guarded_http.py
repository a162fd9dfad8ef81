"""HTTP to addresses that users may have asked.

Whoever may create a task chooses a URL, for its work or for its sign of life, and executors and the api sit inside the
network: without a check they would read cloud metadata, databases and admin pages for anybody. So a host is resolved
here, each of its addresses is checked, and the connection goes to an address that passed, not to the name: a name
that answers something else the second time (DNS rebinding) gains nothing. Redirects connect through the same
door. Public addresses are allowed, and whatever `GNOMON_HTTP_ALLOW` names besides.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

import certifi
import httpcore
import httpx

__all__ = ["AddressGuard", "ForbiddenAddress", "GuardedTransport", "Network", "parse_networks"]

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_LOW_32: Final = (1 << 32) - 1


class ForbiddenAddress(Exception):
    """The host has no address that may be reached from here; the message says which setting would allow it."""

    def __init__(self, host: str, address: Address) -> None:
        kind = _kind(address)
        super().__init__(
            f"{host} may not be reached from here ({address} is a {kind} address). To allow it, name its network in "
            f"GNOMON_HTTP_ALLOW of this process, such as GNOMON_HTTP_ALLOW={address}/{address.max_prefixlen}"
        )


def parse_networks(text: str) -> tuple[Network, ...]:
    """Networks from a comma-separated list, such as `10.0.0.0/8,::1/128`. Raises ValueError naming the one at
    fault."""
    found: list[Network] = []
    for part in text.split(","):
        if word := part.strip():
            try:
                found.append(ipaddress.ip_network(word))
            except ValueError as error:
                raise ValueError(
                    f"{word!r} is not a network: allowed are addresses with a prefix length, like 10.0.0.0/8 "
                    f"or ::1/128 ({error})"
                ) from error
    return tuple(found)


class AddressGuard:
    """Says which addresses may be reached."""

    def __init__(self, allowed: Iterable[Network] = ()) -> None:
        self._allowed = tuple(allowed)

    def permits(self, address: Address) -> bool:
        """Whether an address is public or inside an allowed network. What carries an IPv4 address inside
        counts as it."""
        address = _inner(address)
        if any(address.version == network.version and address in network for network in self._allowed):
            return True
        return address.is_global and not address.is_multicast

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a host that may be reached, in the resolver's order.

        Raises ForbiddenAddress where it has none of that kind, OSError where the name cannot be resolved.
        """
        loop = asyncio.get_running_loop()
        answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        resolved = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
        permitted = [text for text in resolved if self.permits(_address(text))]
        if not permitted:
            raise ForbiddenAddress(host, _address(resolved[0]))
        return permitted


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to permitted addresses only."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first permitted address of the host that answers."""
        last: Exception | None = None
        for address in await self._guard.addresses(host, port):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
        assert last is not None
        raise last

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: a URL cannot name one."""
        raise OSError(f"unix sockets are not allowed: {path}")

    async def sleep(self, seconds: float) -> None:
        """See httpcore."""
        await self._inner.sleep(seconds)


class _Body(httpx.AsyncByteStream):
    """A response's body, as httpx wants it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx.AsyncBaseTransport):
    """An httpx transport that connects to permitted addresses only. Raises httpcore's errors and
    ForbiddenAddress."""

    def __init__(self, guard: AddressGuard) -> None:
        self._pool = httpcore.AsyncConnectionPool(ssl_context=_tls(), network_backend=_GuardedBackend(guard))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


@cache
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes longer than most requests, so they are read once."""
    return ssl.create_default_context(cafile=certifi.where())


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64), or the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & _LOW_32)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _kind(address: Address) -> str:
    address = _inner(address)
    kinds: Sequence[tuple[bool, str]] = (
        (address.is_loopback, "loopback"),
        (address.is_link_local, "link-local"),
        (address.is_multicast, "multicast"),
        (address.is_private, "private"),
    )
    return next((kind for holds, kind in kinds if holds), "reserved")
