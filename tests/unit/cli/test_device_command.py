"""`gnomon device`: an entry of nats-server's configuration, and nothing that could break out of it.

What nats-server makes of the entries is tried in `tests/integration/test_nats_devices.py`.
"""

from __future__ import annotations

import json

import pytest

from gnomon_cli.__main__ import main


def test_an_entry_lets_one_device_hear_one_subject(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", "u1"]) == 0
    comment, entry = capsys.readouterr().out.splitlines()
    assert comment == "# phone of 'u1': subscribes to users/dTE/tasks"
    assert entry.startswith('{ user: "phone-of-dTE", password: "')
    assert entry.endswith(
        'allowed_connection_types: ["MQTT"], permissions: { publish: { deny: [">"] }, '
        'subscribe: { allow: ["users.dTE.tasks"] } } }'
    )


def test_as_json_and_with_a_password_of_its_own_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    found = []
    for _ in range(2):
        assert main(["device", "zoë@example.org", "--name", "watch", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["user"] == found[1]["user"] == "watch-of-em_Dq0BleGFtcGxlLm9yZw"
    assert found[0]["topic"] == "users/em_Dq0BleGFtcGxlLm9yZw/tasks"
    assert found[0]["password"] != found[1]["password"]
    assert len(found[0]["password"]) == 22
    assert found[0]["password"] in found[0]["entry"]


def test_a_strange_user_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", 'x\n} users: ["']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].count('"') == 10


@pytest.mark.parametrize(
    ("words", "said"), [(["", "--name", "x"], "USER is empty"), (["u", "--name", "a b"], "'a b'")]
)
def test_what_cannot_be_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["device", *words]) == 2
    assert said in capsys.readouterr().err
