"""Devices over MQTT, under the very files of `deploy/nats`: each hears its own user's notes, and can do nothing else.

The phones are aiomqtt over TLS, the server is the real one on `server-mqtt.conf`, the logins are what `gnomon device`
prints. That the whole system tells its devices under these permissions is shown in `test_nats_permissions`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiomqtt
import httpx
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client as Nats

from gnomon_cli.device_command import DeviceLogin, new_login
from gnomon_core.runtime.embedded import LOOPBACK
from tests.harness.deployed_nats import USERS, DeployedNats, trusting
from tests.harness.phones import granted, heard, phone

pytestmark = [pytest.mark.timeout(60), pytest.mark.asyncio(loop_scope="module")]

ANN: Final = new_login("ann", "phone")
BEN: Final = new_login("zoë@example.org", "phone")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(servers_folder: Path) -> AsyncIterator[DeployedNats]:
    """A nats-server that lets two phones in."""
    server = DeployedNats(servers_folder / "devices", devices=[ANN.entry, BEN.entry])
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(server: DeployedNats) -> AsyncIterator[Nats]:
    """A connection of the user that tells devices."""
    nc = await nats.connect(server.url("api"), allow_reconnect=False)
    yield nc
    await nc.close()


def subject(login: DeviceLogin) -> str:
    """Where the api tells it."""
    return login.topic.replace("/", ".")


async def test_each_phone_hears_its_own_user_alone(server: DeployedNats, api: Nats) -> None:
    async with phone(server.mqtt_ports[0], ANN) as of_ann, phone(server.mqtt_ports[0], BEN) as of_ben:
        assert await granted(of_ann, ANN.topic)
        assert await granted(of_ben, BEN.topic)
        for number in range(3):
            await api.publish(subject(ANN), b"ann %d" % number)
            await api.publish(subject(BEN), b"ben %d" % number)
        assert [await heard(of_ann) for _ in range(3)] == [(ANN.topic, b"ann %d" % n) for n in range(3)]
        assert [await heard(of_ben) for _ in range(3)] == [(BEN.topic, b"ben %d" % n) for n in range(3)]


async def test_what_is_not_its_own_is_refused(server: DeployedNats) -> None:
    others = (
        BEN.topic,
        "users/+/tasks",
        "users/#",
        f"{ANN.topic}/#",
        "#",
        "+/+/+",
        "task/+",
        "task/executed",
    )
    internal = ("$SYS/#", "$MQTT/#", "$JS/API/#", "$SRV/#", "_INBOX/#")
    async with phone(server.mqtt_ports[0], ANN) as of_ann:
        found = {topic: await granted(of_ann, topic) for topic in (*others, *internal)}
    assert found == dict.fromkeys((*others, *internal), False)


async def test_a_device_tells_nobody_anything(server: DeployedNats, api: Nats) -> None:
    """MQTT 3.1.1 has no word for a refused publish: it is acknowledged, dropped, and kept nowhere."""
    async with phone(server.mqtt_ports[0], ANN) as of_ann, phone(server.mqtt_ports[0], BEN) as of_ben:
        assert await granted(of_ann, ANN.topic)
        for qos in (0, 1):
            for topic in (ANN.topic, BEN.topic, "gnomon/cmd/task/create/x"):
                await of_ben.publish(topic, b"not from Gnomon", qos=qos, retain=True)
        await api.publish(subject(ANN), b"from Gnomon")
        assert await heard(of_ann) == (ANN.topic, b"from Gnomon")
    async with phone(server.mqtt_ports[0], ANN, "later") as later:
        assert await granted(later, ANN.topic)
        await api.publish(subject(ANN), b"later")
        assert await heard(later) == (ANN.topic, b"later"), "nothing was retained"


async def test_a_session_that_another_device_takes_over_leaks_nothing(
    server: DeployedNats, api: Nats
) -> None:
    """A client id is no secret, and nothing binds it to a login: who takes it gets the session, not what it heard."""
    async with phone(server.mqtt_ports[0], ANN, "one-id", clean_session=False) as of_ann:
        assert await granted(of_ann, ANN.topic)
    async with phone(server.mqtt_ports[0], BEN, "one-id", clean_session=False) as thief:
        assert await granted(thief, BEN.topic)
        await api.publish(subject(ANN), b"for ann")
        await api.publish(subject(BEN), b"for ben")
        assert await heard(thief) == (BEN.topic, b"for ben")


async def _comes_in(client: aiomqtt.Client) -> bool:
    try:
        async with client:
            return True
    except aiomqtt.MqttError:
        return False


@pytest.mark.parametrize("user", USERS)
async def test_no_service_comes_in_by_mqtt(server: DeployedNats, user: str) -> None:
    """The port is open to the outside, so a service's password must be of no use there."""
    login = DeviceLogin(user=user, password=server.passwords[user], topic="", entry="")
    assert not await _comes_in(phone(server.mqtt_ports[0], login))


def _words(login: DeviceLogin) -> tuple[str, str]:
    return login.user, login.password


async def _first_answer(address: str, *, greeted: bool, said: bytes) -> bytes:
    """What a server without TLS would answer: its first bytes after these; empty where it hangs up."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        if greeted:
            assert (await reader.readline()).startswith(b"INFO ")
        writer.write(said)
        async with asyncio.timeout(20):
            return await reader.read(100)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_no_device_comes_in_otherwise(server: DeployedNats) -> None:
    login = b"CONNECT " + json.dumps({"user": ANN.user, "pass": ANN.password}).encode() + b"\r\nPING\r\n"
    answer = await _first_answer(server.address, greeted=True, said=login)
    assert answer.startswith(b"-ERR 'Authorization Violation'")
    wrong = DeviceLogin(user=ANN.user, password=BEN.password, topic="", entry="")
    assert not await _comes_in(phone(server.mqtt_ports[0], wrong))
    assert not await _comes_in(aiomqtt.Client(LOOPBACK, port=server.mqtt_ports[0], tls_context=trusting()))


async def test_without_tls_nobody_comes_in(server: DeployedNats) -> None:
    """And the certificate is the one that was named."""
    strings = (b"MQTT\x04\xc2\x00\x3c", b"\x00\x01x", *(len(w).to_bytes(2) + w.encode() for w in _words(ANN)))
    body = b"\x00\x04" + b"".join(strings)
    answer = await _first_answer(
        f"{LOOPBACK}:{server.mqtt_ports[0]}", greeted=False, said=b"\x10" + len(body).to_bytes(1) + body
    )
    assert not answer.startswith(b"\x20"), "0x20 would be MQTT's own answer"

    def handshake(context: ssl.SSLContext) -> str | None:
        with (
            socket.create_connection((LOOPBACK, server.mqtt_ports[0]), timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=LOOPBACK) as wrapped,
        ):
            return wrapped.version()

    assert await asyncio.to_thread(handshake, trusting()) in {"TLSv1.2", "TLSv1.3"}
    with pytest.raises(ssl.SSLCertVerificationError):
        await asyncio.to_thread(handshake, ssl.create_default_context())


async def test_sessions_are_kept_where_devices_log_in_and_within_bounds(server: DeployedNats) -> None:
    async with phone(server.mqtt_ports[0], ANN, clean_session=False):
        pass
    async with httpx.AsyncClient(trust_env=False) as http:
        told = (await http.get(f"{server.monitors[0]}/jsz?accounts=true&streams=true")).json()
    streams = {
        account["name"]: {stream["name"] for stream in account.get("stream_detail", ())}
        for account in told["account_details"]
    }
    assert "$MQTT_sess" in streams["DEVICES"]
    assert not [name for name in streams.get("GNOMON", ()) if "MQTT" in name]
    (devices,) = [account for account in told["account_details"] if account["name"] == "DEVICES"]
    assert devices["reserved_storage"] == 64 * 1024 * 1024


async def test_logins_come_and_go_without_a_restart(server: DeployedNats, api: Nats) -> None:
    """Whoever is new is let in, whoever is gone is cut off, and nobody else notices."""
    new = new_login("new", "watch")
    async with phone(server.mqtt_ports[0], ANN) as stays:
        assert await granted(stays, ANN.topic)
        assert not await _comes_in(phone(server.mqtt_ports[0], new))
        gone = phone(server.mqtt_ports[0], BEN)
        await gone.__aenter__()
        assert await granted(gone, BEN.topic)
        server.let_in([ANN.entry, new.entry])
        with pytest.raises(aiomqtt.MqttError):
            await heard(gone)
        assert not await _comes_in(phone(server.mqtt_ports[0], BEN))
        async with phone(server.mqtt_ports[0], new) as watch:
            assert await granted(watch, new.topic)
            await api.publish(subject(new), json.dumps({"to": "watch"}).encode())
            assert await heard(watch) == (new.topic, b'{"to": "watch"}')
        await api.publish(subject(ANN), b"still there")
        assert await heard(stays) == (ANN.topic, b"still there")
    server.let_in([ANN.entry, BEN.entry])
