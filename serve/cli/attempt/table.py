"""The outcome of each attempt as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from alpharay.serve.cli.attempt.runs import Attempt, outcome_of

_HEAD = ("attempt", "member", "agent", "changed", "verification", "seconds")


def outcome_table(runs: Sequence[Attempt], branch: str | None) -> str:
    """runs: the best first. branch: where that one is; None: it has changed nothing."""
    rows = [_HEAD, *(_row(attempt) for attempt in sorted(runs, key=lambda attempt: attempt.number))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([*lines, "", _offered(runs[0], branch)])


def _row(attempt: Attempt) -> tuple[str, ...]:
    return (
        f"{attempt.number}",
        attempt.member,
        "" if attempt.agent is None else f"exit code {attempt.agent}",
        attempt.changes or ("" if attempt.agent is None else "nothing"),
        outcome_of(attempt),
        f"{attempt.seconds:.0f}",
    )


def _offered(best: Attempt, branch: str | None) -> str:
    if branch is None:
        passes = (
            "the verification passes without any change" if best.passed else "no attempt has changed anything"
        )
        return f"{passes}; there is no branch"
    see = f"see it with `git diff HEAD...{branch}`, take it with `git merge {branch}`, drop it with `git branch -D {branch}`"
    if best.passed:
        return f"attempt {best.number} passes: branch {branch}; {see}"
    return f"no attempt passes; attempt {best.number} is nearest: branch {branch}; {see}"
