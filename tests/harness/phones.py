"""A phone: an MQTT client with one of the logins that `gnomon device` prints, over TLS."""

from __future__ import annotations

import asyncio
from typing import Any

import aiomqtt

from gnomon_cli.device_command import DeviceLogin
from gnomon_core.runtime.embedded import LOOPBACK
from tests.harness.deployed_nats import trusting

__all__ = ["granted", "heard", "phone"]


def phone(port: int, login: DeviceLogin, identifier: str = "", **more: Any) -> aiomqtt.Client:
    """A phone with this login, that trusts the tests' certificate and no other."""
    return aiomqtt.Client(
        LOOPBACK,
        port=port,
        identifier=identifier or login.user,
        username=login.user,
        password=login.password,
        tls_context=trusting(),
        timeout=20,
        **more,
    )


async def heard(client: aiomqtt.Client) -> tuple[str, bytes]:
    """The next message: its topic and what it says."""
    async with asyncio.timeout(30):
        message = await anext(client.messages)
    assert isinstance(message.payload, bytes)
    return message.topic.value, message.payload


async def granted(client: aiomqtt.Client, topic: str) -> bool:
    """Whether the server took a subscription: its answer is a code, 0x80 and above for no."""
    (code,) = await client.subscribe(topic)
    return (code if isinstance(code, int) else code.value) < 0x80
