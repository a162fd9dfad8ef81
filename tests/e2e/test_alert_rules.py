"""Every alert fires on what it is for, after the time that it waits, and on nothing when all is well: evaluated by
Prometheus' own `promtool` over made-up series."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.e2e.needing import needs
from tests.e2e.tools import find

pytestmark = [pytest.mark.e2e, needs("promtool")]

RULES: Final = Path(__file__).parents[2] / "deploy/prometheus/alerts.yaml"
INTERVAL: Final = "15s"
AT: Final = "20m"

WELL: Final[dict[str, str]] = {
    'up{job="gnomon-scheduler", instance="s1"}': "1x100",
    'gnomon_shards_led{instance="s1"}': "4x100",
    'gnomon_shards_led{instance="s2"}': "4x100",
    'gnomon_partitions{instance="s1"}': "8x100",
    'gnomon_shard_lag_seconds{instance="s1"}': "0x100",
    'gnomon_fire_lateness_seconds_bucket{trigger="schedule", le="0.05"}': "0+10x100",
    'gnomon_fire_lateness_seconds_bucket{trigger="schedule", le="10"}': "0+10x100",
    'gnomon_fire_lateness_seconds_bucket{trigger="schedule", le="+Inf"}': "0+10x100",
    'gnomon_lateness_slo_broken{instance="s1"}': "0x100",
    'gnomon_members{kind="executor"}': "2x100",
    'gnomon_members{kind="scheduler"}': "2x100",
    'gnomon_pool_pending{pool="default", priority="medium"}': "3x100",
    'gnomon_pool_in_flight{pool="default", priority="medium"}': "2x100",
    'gnomon_executions_running{instance="e1"}': "10x100",
    'gnomon_executor_slots{instance="e1"}': "100x100",
    'gnomon_executions_total{task_type="echo", status="completed"}': "0+10x100",
    'gnomon_executions_total{task_type="echo", status="failed"}': "0+1x100",
    'gnomon_task_type_misfits{task_type="echo"}': "0x100",
    'gnomon_dead_letters_total{reason="retries_exhausted"}': "2x100",
    'gnomon_ecosystem_messages_total{subject="account_service.user.deleted", fate="set_aside"}': "1x100",
    'gnomon_takeovers_total{instance="e1"}': "1x100",
    'gnomon_depositions_total{instance="s1"}': "1x100",
    'gnomon_stream_messages{stream="TASK_COMMANDS"}': "1x100",
    'gnomon_commands_total{verb="create", result="ok"}': "0+5x100",
    'gnomon_projector_lag_seconds{instance="a1"}': "0.5x100",
    'gnomon_projector_unreadable_total{instance="a1"}': "0x100",
    'gnomon_ledger_missing{instance="a1"}': "0x100",
    'gnomon_ledger_duplicate{instance="a1"}': "0x100",
    'gnomon_ledger_audited_timestamp_seconds{instance="a1"}': "0+15x100",
    'gnomon_check_ok{instance="a1", check="postgres"}': "1x100",
    'gnomon_catch_up_held{instance="s1"}': "0x100",
    'gnomon_shard_set_aside{instance="s1"}': "0x100",
    'gnomon_users_set_aside{instance="s1"}': "0x100",
    'gnomon_gates_set_aside{instance="s1"}': "0x100",
    'gnomon_check_ok{instance="e1", check="taking_work"}': "0x100",
    'gnomon_nats_reconnects_total{instance="e1"}': "1x100",
    'gnomon_event_loop_lag_seconds_bucket{instance="s1", le="0.01"}': "0+60x100",
    'gnomon_event_loop_lag_seconds_bucket{instance="s1", le="1"}': "0+60x100",
    'gnomon_event_loop_lag_seconds_bucket{instance="s1", le="+Inf"}': "0+60x100",
    'gnomon_http_request_seconds_count{status="200", route="/x"}': "0+50x100",
    'gnomon_http_request_seconds_count{status="503", route="/x"}': "0+1x100",
}
"""A system at work, every 15 seconds for 25 minutes."""

FAULTS: Final[dict[str, dict[str, str]]] = {
    "GnomonLedgerUnsound": {'gnomon_ledger_missing{instance="a1"}': "1x100"},
    # The clock of promtool begins at 0.
    "GnomonAuditStale": {'gnomon_ledger_audited_timestamp_seconds{instance="a1"}': "-1000+0x100"},
    "GnomonShardsWithoutLeader": {'gnomon_shards_led{instance="s2"}': "4x70 3x30"},
    "GnomonShardsLag": {'gnomon_shard_lag_seconds{instance="s1"}': "11x100"},
    "GnomonCatchUpHeld": {'gnomon_catch_up_held{instance="s1"}': "1x100"},
    "GnomonFiresLate": {'gnomon_fire_lateness_seconds_bucket{trigger="schedule", le="0.05"}': "0+9x100"},
    "GnomonLatenessBroken": {'gnomon_lateness_slo_broken{instance="s1"}': "1x100"},
    "GnomonNoExecutor": {'gnomon_members{kind="executor"}': "0x100"},
    "GnomonPoolStuck": {'gnomon_pool_in_flight{pool="default", priority="medium"}': "0x100"},
    "GnomonPoolBacklog": {'gnomon_pool_pending{pool="default", priority="medium"}': "1001x100"},
    "GnomonExecutorsFull": {'gnomon_executions_running{instance="e1"}': "96x100"},
    "GnomonExecutionsFail": {'gnomon_executions_total{task_type="echo", status="failed"}': "0+5x100"},
    "GnomonTypeMisfits": {'gnomon_task_type_misfits{task_type="echo"}': "3x100"},
    "GnomonDeadLetters": {'gnomon_dead_letters_total{reason="retries_exhausted"}': "2x60 3x40"},
    "GnomonEcosystemPoison": {
        'gnomon_ecosystem_messages_total{subject="account_service.user.deleted", fate="set_aside"}': "1x60 2x40"
    },
    "GnomonTakeovers": {'gnomon_takeovers_total{instance="e1"}': "0+1x100"},
    "GnomonDepositions": {'gnomon_depositions_total{instance="s1"}': "1x50 3x10 5x40"},
    "GnomonCommandsWait": {'gnomon_commands_total{verb="create", result="ok"}': "7x100"},
    "GnomonProjectorLag": {'gnomon_projector_lag_seconds{instance="a1"}': "61x100"},
    "GnomonTasksSetAside": {'gnomon_shard_set_aside{instance="s1"}': "1x100"},
    "GnomonUsersSetAside": {'gnomon_users_set_aside{instance="s1"}': "1x100"},
    "GnomonGatesSetAside": {'gnomon_gates_set_aside{instance="s1"}': "1x100"},
    "GnomonProjectorUnreadable": {'gnomon_projector_unreadable_total{instance="a1"}': "0x60 1x40"},
    "GnomonCheckFails": {'gnomon_check_ok{instance="a1", check="postgres"}': "0x100"},
    "GnomonNatsReconnects": {'gnomon_nats_reconnects_total{instance="e1"}': "1x50 3x9 6x40"},
    "GnomonEventLoopLag": {'gnomon_event_loop_lag_seconds_bucket{instance="s1", le="0.01"}': "0+50x100"},
    "GnomonHttpErrors": {'gnomon_http_request_seconds_count{status="503", route="/x"}': "0+5x100"},
    "GnomonTargetDown": {'up{job="gnomon-scheduler", instance="s1"}': "0x100"},
}
"""What differs from that, so that just this alert fires."""


def alerts() -> dict[str, dict[str, Any]]:
    """All rules by name."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def firing(name: str) -> dict[str, Any]:
    """That this alert fires, once."""
    return {
        "expr": f'count(ALERTS{{alertname="{name}", alertstate="firing"}})',
        "eval_time": AT,
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


QUIET: Final = {"expr": 'ALERTS{alertstate="firing"}', "eval_time": AT, "exp_samples": []}


def run(tmp_path: Path, changed: dict[str, str], *expected: dict[str, Any]) -> None:
    """Evaluate the rules over the series of a system at work with these changes."""
    assert changed.keys() <= WELL.keys(), "it changes a series that is there"
    series = [{"series": name, "values": values} for name, values in (WELL | changed).items()]
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": INTERVAL,
        "tests": [{"interval": INTERVAL, "input_series": series, "promql_expr_test": list(expected)}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(test))
    promtool = find("promtool")
    assert promtool is not None
    done = subprocess.run([promtool, "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules() -> None:
    """As `promtool check rules` says."""
    promtool = find("promtool")
    assert promtool is not None
    done = subprocess.run([promtool, "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_fires_while_all_is_well(tmp_path: Path) -> None:
    """A system at work, with the odd failure in it."""
    run(tmp_path, {}, QUIET)


def test_each_alert_has_its_fault() -> None:
    """None goes untried."""
    assert FAULTS.keys() == alerts().keys()


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_fires_on_its_fault_alone(tmp_path: Path, name: str) -> None:
    """It fires, and no other does."""
    alone = {
        "expr": f'ALERTS{{alertname!="{name}", alertstate="firing"}}',
        "eval_time": AT,
        "exp_samples": [],
    }
    run(tmp_path, FAULTS[name], firing(name), alone)


@pytest.mark.parametrize("name", [name for name, rule in alerts().items() if rule["for"] != "0m"])
def test_an_alert_that_waits_is_pending_first(tmp_path: Path, name: str) -> None:
    """A fault that has just begun wakes nobody up."""
    begun = {
        "expr": f'ALERTS{{alertname="{name}", alertstate="firing"}}',
        "eval_time": "0m",
        "exp_samples": [],
    }
    run(tmp_path, FAULTS[name], begun)
