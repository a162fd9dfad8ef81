"""Dashboard and alerts name metrics and labels that there are, their expressions parse, and each alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import promql_parser
import pytest
import yaml

from gnomon_core.runtime.metrics import Metric

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "deploy/prometheus/alerts.yaml"
DASHBOARD = ROOT / "deploy/grafana/gnomon.json"
PAGES = ROOT / "docs/alerts"

KNOWN: Final = {metric.value.name: metric.value for metric in Metric}
TARGET_LABELS: Final = frozenset({"instance", "job"})
"""Put on every series by whoever scrapes."""
VARIABLES: Final = {"$__rate_interval": "5m"}


def rules() -> list[dict[str, Any]]:
    """All alerting rules."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """All panels that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[Any]:
    """Every expression, with where it is from."""
    found = [pytest.param(rule["expr"], id=rule["alert"]) for rule in rules()]
    for panel in panels():
        found += [
            pytest.param(target["expr"], id=f"{panel['title']}-{target['refId']}")
            for target in panel["targets"]
        ]
    return found


def parse(expression: str) -> Any:
    """An expression, with the dashboard's variables filled in. Raises ValueError."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def walk(node: Any) -> Iterator[Any]:
    """A node of an expression and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        below = getattr(node, name, None)
        if below is not None:
            yield from walk(below)
    for argument in getattr(node, "args", None) or ():
        yield from walk(argument)


def selectors(node: Any) -> list[Any]:
    """The selectors of an expression."""
    return [each for each in walk(node) if isinstance(each, promql_parser.VectorSelector)]


def spec_of(series: str) -> tuple[Any, bool]:
    """The metric that a series belongs to, and whether it is a histogram's bucket. Raises KeyError."""
    for suffix in ("_bucket", "_count", "_sum"):
        base = series.removesuffix(suffix)
        if base != series and base in KNOWN and KNOWN[base].kind == "histogram":
            return KNOWN[base], suffix == "_bucket"
    spec = KNOWN[series]
    assert spec.kind != "histogram", f"{series} is a histogram: ask for its _bucket, _count or _sum"
    return spec, False


def test_what_the_tests_below_find_in_an_expression() -> None:
    """They would be worth nothing if a selector could hide from them."""
    node = parse(
        'histogram_quantile(0.9, sum by (le, a) (rate(x_bucket{b="c"}[$__rate_interval]))) > 1 and max(y) == 0'
    )
    assert [each.name for each in selectors(node)] == ["x_bucket", "y"]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_is_in_the_list_with_these_labels(expression: str) -> None:
    """By name, and by the labels that it is selected by; counters and buckets only below a rate or an increase."""
    node = parse(expression)
    found = selectors(node)
    assert found
    for selector in found:
        if selector.name == "up":
            continue
        spec, bucket = spec_of(selector.name)
        allowed = TARGET_LABELS | set(spec.labels) | ({"le"} if bucket else set())
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= allowed, f"{selector.name} has the labels {sorted(allowed)}"
        if spec.kind != "gauge":
            ranged = re.search(rf"(rate|increase)\({selector.name}(\{{[^}}]*\}})?\[", expression)
            assert ranged, f"{selector.name} only grows: take its rate or increase"
        else:
            assert not re.search(rf"(rate|increase)\({selector.name}\b", expression)


@pytest.mark.parametrize("expression", expressions())
def test_what_is_summed_by_are_labels_that_there_are(expression: str) -> None:
    """`sum by (nothing)` is one line without a name."""
    for node in walk(parse(expression)):
        modifier = getattr(node, "modifier", None)
        if modifier is None or not isinstance(node, promql_parser.AggregateExpr):
            continue
        allowed = set(TARGET_LABELS)
        for selector in selectors(node):
            spec, bucket = spec_of(selector.name)
            allowed |= set(spec.labels) | ({"le"} if bucket else set())
        assert set(modifier.labels) <= allowed, expression


def test_each_alert_has_a_page_and_each_page_an_alert() -> None:
    """By name, and the rule leads there by a path from the root of the repository."""
    named = {rule["alert"] for rule in rules()}
    assert named == {page.stem for page in PAGES.glob("Gnomon*.md")}
    for rule in rules():
        page = ROOT / rule["annotations"]["runbook_url"]
        assert page == PAGES / f"{rule['alert']}.md"
        text = page.read_text()
        assert text.startswith(f"# {rule['alert']}\n")
        for part in ("## What it means", "## How to look", "## What to do"):
            assert part in text, page
        assert f"```promql\n{rule['expr'].strip()}\n```\n" in text, f"{page} shows another expression"
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_list_of_alerts_has_each_with_its_severity() -> None:
    """Whoever is woken by a name must find its page, and how bad it is."""
    listed = dict(
        re.findall(r"^\| \[(Gnomon\w+)\]\(\1\.md\) \| (\w+) \|", (PAGES / "README.md").read_text(), re.M)
    )
    assert listed == {rule["alert"]: rule["labels"]["severity"] for rule in rules()}


def test_pages_name_only_metrics_and_checks_that_there_are() -> None:
    """Whoever is woken at night and looks for a metric must find it."""
    for page in PAGES.glob("*.md"):
        for name in re.findall(r"\bgnomon_[a-z_]+", page.read_text()):
            _ = spec_of(name) if not (name in KNOWN and KNOWN[name].kind == "histogram") else None


def test_every_metric_is_shown_on_the_dashboard() -> None:
    """What nobody sees need not be counted."""
    shown: set[str] = set()
    for panel in panels():
        for target in panel["targets"]:
            shown |= {spec_of(selector.name)[0].name for selector in selectors(parse(target["expr"]))}
    unseen = KNOWN.keys() - shown
    assert unseen == {
        "gnomon_batch_messages",  # for tuning, with gnomon_commit_seconds
        "gnomon_gates_set_aside",  # has an alert
        "gnomon_leases_gained_total",
        "gnomon_leases_held",
        "gnomon_projector_unreadable_total",  # has an alert
        "gnomon_shard_set_aside",  # has an alert
        "gnomon_users_set_aside",  # has an alert
    }


def test_panels_lie_beside_each_other() -> None:
    """Grafana moves what overlaps, and then nothing is where the rows say."""
    taken: set[tuple[int, int]] = set()
    ids = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells
        ids.add(panel["id"])
    assert len(ids) == len(json.loads(DASHBOARD.read_text())["panels"])


def test_the_list_keeps_prometheus_rules() -> None:
    """Names, suffixes, buckets; one metric a name."""
    assert len(KNOWN) == len(Metric)
    for spec in KNOWN.values():
        assert re.fullmatch(r"gnomon_[a-z][a-z_]*[a-z]", spec.name)
        assert (spec.kind == "counter") == spec.name.endswith("_total")
        assert (spec.kind == "histogram") == bool(spec.buckets)
        assert list(spec.buckets) == sorted(spec.buckets)
        assert spec.help.endswith(".")
        assert not {"task_id", "execution_id", "command_id", "user_id"} & set(spec.labels)
