"""Contest packages in the Kattis format: every labelled submission gets its label."""

import asyncio
from pathlib import Path

import pytest
import yaml

from alpharay.judge import Limits, VerdictKind, parse_tests

PACKAGES = Path(__file__).parent / "packages"
LABELS = {
    "accepted": VerdictKind.ACCEPTED,
    "wrong_answer": VerdictKind.WRONG_ANSWER,
    "run_time_error": VerdictKind.RUNTIME_ERROR,
    "time_limit_exceeded": VerdictKind.TIME_LIMIT,
}
LANGUAGES = {".py": "python", ".cpp": "cpp"}


def read_tests(package, settings):
    files = sorted((package / "data").glob("*/*.in"), key=lambda path: int(path.stem))
    cases = [{"input": path.read_text(), "output": path.with_suffix(".ans").read_text()} for path in files]
    flags = settings.get("validator_flags", "").split()
    tolerance = {"float_tolerance": float(flags[1])} if flags else {}
    return parse_tests({"kind": "stdio", "cases": cases, **tolerance})


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("package", sorted(PACKAGES.iterdir()), ids=lambda path: path.name)
async def test_every_submission_gets_its_label(pool, package):
    settings = yaml.safe_load((package / "problem.yaml").read_text())
    tests = read_tests(package, settings)
    limits = Limits(cpu_s=settings["limits"]["time_limit"], memory_mb=settings["limits"]["memory"])
    submissions = sorted(package.glob("submissions/*/*"))
    verdicts = await asyncio.gather(
        *(
            pool.judge(
                tests,
                f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```",
                limits=limits,
                language=LANGUAGES[path.suffix],
            )
            for path in submissions
        )
    )
    expected = {str(path): LABELS[path.parent.name] for path in submissions}
    found = {str(path): verdict.verdict for path, verdict in zip(submissions, verdicts, strict=True)}
    assert found == expected, [verdict for verdict in verdicts if not verdict.accepted]
    assert set(LABELS.values()) - set(expected.values()) <= {VerdictKind.TIME_LIMIT}
