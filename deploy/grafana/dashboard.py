"""Makes the Grafana dashboard, `alpharay.json` beside this file.

    python deploy/grafana/dashboard.py            # writes it
    python deploy/grafana/dashboard.py --check    # exit 1 when the committed file is another one

A test runs every query below against a real Prometheus that scrapes a real server under load.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableOption

TARGET = Path(__file__).with_name("alpharay.json")
SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
RATE, WINDOW = "$__rate_interval", "$window"
# Only members that are served now; a member's name tells its alpha, or is the name of a point off the line.
SERVED = "* on (member) group_left () max by (member) (alpharay_checkpoint_info)"


@dataclass(frozen=True)
class Panel:
    """queries: legend -> PromQL; a legend in braces names a label. text: what to conclude from it.

    bars: the current values as bars rather than lines over time.
    """

    title: str
    unit: str
    queries: dict[str, str]
    text: str = ""
    stacked: bool = False
    bars: bool = False
    width: int = 8


def quantile(q: float, histogram: str, by: str = "le") -> str:
    return f"histogram_quantile({q}, sum by ({by}) (rate({histogram}_bucket[{RATE}])))"


def share(part: str, window: str = WINDOW) -> str:
    """By member, the share of judged samples that are `part` (a label matcher); our own faults left out."""
    judged = f'sum by (member) (increase(alpharay_verdicts_total{{verdict!="judge_error"}}[{window}]))'
    matching = f"sum by (member) (increase(alpharay_verdicts_total{{{part}}}[{window}]))"
    return f"({matching} or 0 * {judged}) / ({judged} > 0) {SERVED}"


def portion(metric: str) -> str:
    """By member, its portion of all that the metric counted."""
    own = f"sum by (member) (increase({metric}[{WINDOW}]))"
    return f"{own} / on () group_left () (sum(increase({metric}[{WINDOW}])) > 0) {SERVED}"


CORRECTNESS = 'verdict=~"wrong_answer|runtime_error|compile_error|no_program|output_limit|security_violation"'
# Ray exports a counter only once it has counted something.
ASKED = f"sum by (model_name) (rate(ray_vllm_prefix_cache_queries_total[{WINDOW}]))"
EFFICIENCY = 'verdict=~"time_limit|memory_limit"'

ROWS: dict[str, list[Panel]] = {
    "Service": [
        Panel("Requests by outcome", units.RequestsPerSecond,
              {"{{outcome}}": f"sum by (outcome) (rate(alpharay_requests_total[{RATE}]))"}, stacked=True),
        Panel("Answered", units.PercentUnit,
              {"answered": f'sum(rate(alpharay_requests_total{{outcome="ok"}}[{WINDOW}])) / (sum(rate(alpharay_requests_total{{outcome!~"invalid|client_gone"}}[{WINDOW}])) > 0)'},
              "Of the requests that were well-formed and whose client stayed, the share that was answered. The objective is 99 %."),
        Panel("Time to the whole answer", units.Seconds,
              {"p50": quantile(0.5, "alpharay_request_duration_seconds"),
               "p95": quantile(0.95, "alpharay_request_duration_seconds"),
               "p99": quantile(0.99, "alpharay_request_duration_seconds")}),
        Panel("Time to first token, streamed", units.Seconds,
              {"p50": quantile(0.5, "alpharay_time_to_first_token_seconds"),
               "p95": quantile(0.95, "alpharay_time_to_first_token_seconds")},
              "With a budget the first token comes after the last sample that was waited for."),
        Panel("Requests under way", units.Short, {"under way": "sum(alpharay_requests_in_flight)"}),
        Panel("Turned away", units.RequestsPerSecond,
              {"{{reason}}": f"sum by (reason) (rate(alpharay_rejections_total[{RATE}]))"}, stacked=True),
    ],
    "Frontier": [
        Panel("Solve rate by member", units.PercentUnit, {"{{member}}": share('verdict="accepted"')},
              "Of the judged samples. Members differ in what they solve, too: the ensemble may solve more than its best member."),
        Panel("Correctness failures by member", units.PercentUnit, {"{{member}}": share(CORRECTNESS)}),
        Panel("Efficiency failures by member", units.PercentUnit, {"{{member}}": share(EFFICIENCY)},
              "Out of time or memory. Along the frontier these fall where correctness failures rise."),
        Panel("Share of the budget", units.PercentUnit, {"{{member}}": portion("alpharay_samples_total")},
              "A member whose share of the wins stays far below its share of the budget is money spent in vain.", bars=True),
        Panel("Share of the wins", units.PercentUnit, {"{{member}}": portion("alpharay_selected_total")},
              "Whose sample was the first choice of an answer.", bars=True),
        Panel("Split of the configured policy", units.PercentUnit,
              {"{{member}}": f"max by (member) (alpharay_router_weight) {SERVED}"}, bars=True),
        Panel("Samples to the first pass", units.Short,
              {"p50": quantile(0.5, "alpharay_samples_to_first_pass"), "p90": quantile(0.9, "alpharay_samples_to_first_pass")},
              "Of the requests that had one. A budget beyond the p90 is seldom of use.", width=12),
        Panel("Verdicts", units.PercentUnit,
              {"{{verdict}}": f"sum by (verdict) (increase(alpharay_verdicts_total[{WINDOW}])) / on () group_left () (sum(increase(alpharay_verdicts_total[{WINDOW}])) > 0)"},
              stacked=True, width=12),
    ],
    "Engines by member": [
        Panel("Requests running", units.Short, {"{{model_name}}": "sum by (model_name) (ray_vllm_num_requests_running)"}),
        Panel("Requests waiting", units.Short, {"{{model_name}}": "sum by (model_name) (ray_vllm_num_requests_waiting)"},
              "Samples that wait for a place in the engine's batch."),
        Panel("Tokens written a second", units.Short,
              {"{{model_name}}": f"sum by (model_name) (rate(ray_vllm_generation_tokens_total[{RATE}]))"}, stacked=True),
        Panel("KV cache in use", units.PercentUnit, {"{{model_name}}": "max by (model_name) (ray_vllm_kv_cache_usage_perc)"}),
        Panel("Prefix cache hits", units.PercentUnit,
              {"{{model_name}}": f"(sum by (model_name) (rate(ray_vllm_prefix_cache_hits_total[{WINDOW}])) or 0 * {ASKED}) / ({ASKED} > 0)"},
              "Samples of one request share their prompt; only whole blocks of it count."),
        Panel("Time to first token in the engine, p95", units.Seconds,
              {"{{model_name}}": quantile(0.95, "ray_vllm_time_to_first_token_seconds", "le, model_name")}),
    ],
    "Judge": [
        Panel("Time to a verdict", units.Seconds,
              {"p50": quantile(0.5, "alpharay_judge_duration_seconds"), "p95": quantile(0.95, "alpharay_judge_duration_seconds")},
              "From handing a sample over, waiting included."),
        Panel("Waiting for a judge", units.Short, {"samples": "max(alpharay_judge_queue_depth)"}),
        Panel("Judge's own errors", units.PercentUnit,
              {"judge_error": f'(sum(rate(alpharay_verdicts_total{{verdict="judge_error"}}[{WINDOW}])) or vector(0)) / (sum(rate(alpharay_verdicts_total[{WINDOW}])) > 0)'},
              "Never counted against a sample. None is expected."),
    ],
    "Reliability": [
        Panel("Replicas that can answer", units.Short, {"{{member}}": "sum by (member) (alpharay_replica_up)"}),
        Panel("Engine restarts", units.Short, {"{{member}}": f"sum by (member) (increase(alpharay_replica_restarts_total[{WINDOW}]))"}),
        Panel("Samples lost to faults", units.PercentUnit,
              {"lost": f'(sum(rate(alpharay_samples_total{{outcome="lost"}}[{WINDOW}])) or vector(0)) / (sum(rate(alpharay_samples_total[{WINDOW}])) > 0)'},
              "They are drawn again: a client sees only the time it took."),
        Panel("Ray Serve's replicas that are healthy", units.Short,
              {"{{deployment}}": "sum by (deployment) (ray_serve_deployment_replica_healthy)"}, width=12),
        Panel("Judge at work", units.Short, {"judge": "max(alpharay_judge_up)"}, width=12),
    ],
    "Spend": [
        Panel("Tokens a second", units.Short, {"{{kind}}": f"sum by (kind) (rate(alpharay_tokens_total[{RATE}]))"}, stacked=True),
        Panel("Completion tokens by member", units.Short,
              {"{{member}}": f'sum by (member) (rate(alpharay_tokens_total{{kind="completion"}}[{RATE}])) {SERVED}'}, stacked=True),
        Panel("Tokens not returned", units.PercentUnit,
              {"{{reason}}": f'sum by (reason) (rate(alpharay_wasted_tokens_total[{WINDOW}])) / on () group_left () (sum(rate(alpharay_tokens_total{{kind="completion"}}[{WINDOW}])) > 0)'},
              "The price of choosing: failed samples, and passing ones that were not needed.", stacked=True),
        Panel("Samples an answer", units.Short,
              {"samples": f'sum(rate(alpharay_samples_total{{outcome="finished"}}[{WINDOW}])) / (sum(rate(alpharay_requests_total{{outcome="ok"}}[{WINDOW}])) > 0)'}, width=12),
        Panel("Samples drawn, by what became of them", units.Short,
              {"{{outcome}}": f"sum by (outcome) (rate(alpharay_samples_total[{RATE}]))"}, stacked=True, width=12),
    ],
}  # fmt: skip


def panels() -> Iterator[Panel]:
    for row in ROWS.values():
        yield from row


def built() -> str:
    """The dashboard as JSON, the same text every time."""
    made = (
        dashboard.Dashboard("alpharay")
        .uid("alpharay")
        .description("A frontier of checkpoints: what it answers, solves and spends.")
        .tags(["alpharay", "vllm"])
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(1)  # the same moment on every panel
        .with_variable(dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus"))
        .with_variable(
            dashboard.IntervalVariable("window")
            .label("Window of shares")
            .values("5m,15m,1h,6h,1d,7d")
            .current(VariableOption(selected=True, text="15m", value="15m"))
        )
    )
    for title, row in ROWS.items():
        made = made.with_row(dashboard.Row(title))
        for panel in row:
            made = made.with_panel(visual(panel))
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def visual(panel: Panel) -> bargauge.Panel | timeseries.Panel:
    made: bargauge.Panel | timeseries.Panel
    if panel.bars:
        made = (
            bargauge.Panel()
            .orientation(VizOrientation.HORIZONTAL)
            .display_mode(BarGaugeDisplayMode.BASIC)
            .max(1)
        )
    else:
        legend = (
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        made = timeseries.Panel().legend(legend).fill_opacity(30 if panel.stacked else 0).line_width(2)
        if panel.stacked:
            made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    made = made.title(panel.title).unit(panel.unit).min(0).datasource(SOURCE).span(panel.width).height(8)
    if panel.text:
        made = made.description(panel.text)
    for number, (legend_format, query) in enumerate(panel.queries.items()):
        target = (
            prometheus.Dataquery().expr(query).legend_format(legend_format).ref_id(chr(ord("A") + number))
        )
        made = made.with_target(target.instant() if panel.bars else target.range())
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    arguments = parser.parse_args()
    text = built()
    if arguments.check:
        if TARGET.read_text(encoding="utf-8") != text:
            print(
                f"error: {TARGET} is not what this script makes; run it without --check, and commit what it writes",
                file=sys.stderr,
            )
            return 1
        return 0
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
