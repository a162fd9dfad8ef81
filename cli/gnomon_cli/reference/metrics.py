"""The page of metrics, from their one list."""

from __future__ import annotations

from gnomon_core.runtime.metrics import Metric, MetricSpec
from gnomon_schemas.documents.pages import table

__all__ = ["metrics_page"]

_HEAD = """# Metrics

What every process serves under `/metrics` in the Prometheus text format: the api on its own port, scheduler and
executor on `GNOMON_HEALTH_PORT`. Durations are in seconds. Labels are few and bounded: never ids. Of a histogram
`<name>` there are `<name>_bucket`, `<name>_sum` and `<name>_count`.

Written by `python -m gnomon_cli.reference`.

"""


def metrics_page() -> str:
    """Every metric, in the order of the list."""
    rows = (_row(metric.value) for metric in Metric)
    return _HEAD + table(("metric", "kind", "what", "labels", "of"), rows)


def _row(spec: MetricSpec) -> list[str]:
    labels = ", ".join(f"`{label}`" for label in spec.labels)
    return [f"`{spec.name}`", spec.kind, spec.help, labels, ", ".join(spec.processes)]
