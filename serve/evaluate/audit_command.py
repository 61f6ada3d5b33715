"""`alpharay audit`: whether an ensemble pays, from recorded outcomes."""

from __future__ import annotations

import argparse
from pathlib import Path

from alpharay.serve.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "outcomes", type=Path, metavar="OUTCOMES", help="outcomes (Parquet), as `alpharay eval` writes them"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the report goes")
    parser.add_argument(
        "--budget", type=positive(), metavar="K", help="samples to decide at (default: as many as were drawn)"
    )
    parser.add_argument(
        "--baseline",
        action="append",
        default=[],
        metavar="NAME=MEMBER,…",
        help="members that are not of the frontier but to be compared with, such as ordinary training checkpoints "
        "or a higher temperature (default: those named `temporal…`, `temperature…` or `NAME:…`)",
    )
    parser.epilog = (
        "example:\n  alpharay audit run/outcomes.parquet --out run/audit\n\n"
        "Writes report.md, report.json, frontier.png and portfolio.yaml."
    )


def run(arguments: argparse.Namespace) -> int:
    from alpharay.router.audit import TooLittle, audit
    from alpharay.serve.errors import OutcomesError
    from alpharay.serve.evaluate import report
    from alpharay.serve.evaluate.baselines import baselines_of
    from alpharay.serve.evaluate.outcomes import read_outcomes
    from alpharay.serve.evaluate.picture import draw

    outcomes = read_outcomes(arguments.outcomes)
    baselines = baselines_of([member.name for member in outcomes.members], arguments.baseline)
    try:
        result = audit(outcomes, budget=arguments.budget, baselines=baselines)
    except TooLittle as error:
        raise OutcomesError(f"{arguments.outcomes}: {error}") from error
    out: Path = arguments.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(report.as_json(result), encoding="utf-8")
        (out / "report.md").write_text(report.as_markdown(result), encoding="utf-8")
        (out / "portfolio.yaml").write_text(report.as_portfolio(result), encoding="utf-8")
        draw(result, out / report.PICTURE)
    except OSError as error:
        raise OutcomesError(f"{out} cannot be written: {error.strerror}") from error
    for line in report.lines(result):
        print(line)
    print(
        f"written: {', '.join(str(out / name) for name in ('report.md', 'report.json', report.PICTURE, 'portfolio.yaml'))}"
    )
    return 0
