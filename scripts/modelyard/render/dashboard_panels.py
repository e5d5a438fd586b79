"""The pictures of the Grafana dashboard: what each asks Prometheus for, and what it tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_CHOSEN = 'model=~"$model", namespace=~"$namespace"'
_BY = "model, namespace, version"
_NAME = "{{namespace}} {{model}} {{version}}"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Args:
        title: What it shows.
        says: What a person reads from it.
        unit: Grafana's name of the unit.
        queries: Expressions of Prometheus, with the legend of their series.
        kind: Grafana's name of the picture.
    """

    title: str
    says: str
    unit: str
    queries: Sequence[tuple[str, str]]
    kind: str = "timeseries"


def _rate(metric: str, more: str = "") -> str:
    where = f"{_CHOSEN}, {more}" if more else _CHOSEN
    return f"sum by ({_BY}) (rate({metric}{{{where}}}[$__rate_interval]))"


def _share(part: str, whole: str) -> str:
    return f"{part} / ({whole} > 0)"


def _quantile(quantile: float) -> str:
    buckets = f"rate(modelyard_request_seconds_bucket{{{_CHOSEN}}}[$__rate_interval])"
    return f"histogram_quantile({quantile}, sum by (le, {_BY}) ({buckets}))"


_REQUESTS = _rate("modelyard_requests_total")

ROWS: Mapping[str, Sequence[Panel]] = {
    "What needs a person": (
        Panel(
            title="Models that fail",
            says="The watcher fails for them: they are neither promoted nor rolled back.",
            unit="none",
            kind="stat",
            queries=[
                ('sum(modelyard_watch_model_failing{model=~"$model"}) or vector(0)', "models")
            ],
        ),
        Panel(
            title="Rollbacks",
            says="In the time that is shown; `modelyard history MODEL` has the reasons.",
            unit="none",
            kind="stat",
            queries=[
                ('sum(increase(modelyard_rollbacks_total{model=~"$model"}[$__range]))', "rollbacks")
            ],
        ),
        Panel(
            title="Incidents and holds",
            says="`modelyard status` shows those that are open.",
            unit="none",
            kind="stat",
            queries=[
                (
                    'sum(increase(modelyard_incidents_total{model=~"$model"}[$__range]))',
                    "incidents",
                ),
                ('sum(increase(modelyard_holds_total{model=~"$model"}[$__range]))', "holds"),
            ],
        ),
    ),
    "Requests": (
        Panel(
            title="Requests a second",
            says="Of each version in each namespace; a canary has its share.",
            unit="reqps",
            queries=[(_REQUESTS, _NAME)],
        ),
        Panel(
            title="Answers with 5xx",
            says="The share of requests; ModelyardServerErrors pages above 5 %.",
            unit="percentunit",
            queries=[
                (
                    _share(_rate("modelyard_requests_total", 'code_class="5xx"'), _REQUESTS),
                    _NAME,
                )
            ],
        ),
        Panel(
            title="Refused for their content",
            says="The share of requests that break the contract.",
            unit="percentunit",
            queries=[(_share(_rate("modelyard_requests_refused_total"), _REQUESTS), _NAME)],
        ),
        Panel(
            title="Latency",
            says="The median and the slowest hundredth.",
            unit="s",
            queries=[(_quantile(0.5), f"{_NAME} p50"), (_quantile(0.99), f"{_NAME} p99")],
        ),
        Panel(
            title="Requests being answered",
            says="Those that wait for others are among them.",
            unit="none",
            queries=[(f"sum by ({_BY}) (modelyard_requests_in_flight{{{_CHOSEN}}})", _NAME)],
        ),
        Panel(
            title="Too busy",
            says="Requests answered with 503 because too many others waited, a second.",
            unit="reqps",
            queries=[(_rate("modelyard_requests_overloaded_total"), _NAME)],
        ),
    ),
    "Predictions": (
        Panel(
            title="Rows a second",
            says="A request may have many.",
            unit="cps",
            queries=[(_rate("modelyard_rows_total"), _NAME)],
        ),
        Panel(
            title="Missing values",
            says="The share of rows, by column.",
            unit="percentunit",
            queries=[
                (
                    "sum by (model, column) "
                    f"(rate(modelyard_input_nulls_total{{{_CHOSEN}}}[$__rate_interval])) "
                    "/ on (model) group_left "
                    f"sum by (model) (rate(modelyard_rows_total{{{_CHOSEN}}}[$__rate_interval]))",
                    "{{model}} {{column}}",
                )
            ],
        ),
        Panel(
            title="Levels not seen in training",
            says="Rows a second, by column.",
            unit="cps",
            queries=[
                (
                    "sum by (model, column) "
                    f"(rate(modelyard_input_unseen_total{{{_CHOSEN}}}[$__rate_interval]))",
                    "{{model}} {{column}}",
                )
            ],
        ),
        Panel(
            title="Rows that are not logged",
            says="The payload log is slower than the requests, or its disk is full.",
            unit="cps",
            queries=[(_rate("modelyard_payload_dropped_rows_total"), _NAME)],
        ),
    ),
    "Watchers and judges": (
        Panel(
            title="Since the last success of a watcher",
            says="ModelyardWatchSilent pages after 5 minutes.",
            unit="s",
            queries=[
                (
                    "time() - max by (shard) (modelyard_watch_last_success_timestamp_seconds)",
                    "shard {{shard}}",
                )
            ],
        ),
        Panel(
            title="Duration of a pass",
            says="The slowest hundredth.",
            unit="s",
            queries=[
                (
                    "histogram_quantile(0.99, sum by (le) "
                    "(rate(modelyard_watch_look_seconds_bucket[$__rate_interval])))",
                    "p99",
                )
            ],
        ),
        Panel(
            title="Verdicts",
            says="What judges answered, a second.",
            unit="cps",
            queries=[
                (
                    "sum by (outcome) (rate(modelyard_judge_verdicts_total[$__rate_interval]))",
                    "{{outcome}}",
                )
            ],
        ),
        Panel(
            title="Failures of judges",
            says="A judge that cannot answer leaves a release as it is.",
            unit="cps",
            queries=[
                (
                    "sum by (what) (rate(modelyard_judge_errors_total[$__rate_interval]))",
                    "{{what}}",
                )
            ],
        ),
    ),
}
"""The pictures by row, with the metrics' names as servers, watchers and judges export them."""
