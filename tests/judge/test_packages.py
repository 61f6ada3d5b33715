"""Contest packages in the Kattis format: every labelled submission gets its label."""

import asyncio
from pathlib import Path

import pytest

from alpharay.judge import VerdictKind, parse_problem
from alpharay.judge.formats import kattis

PACKAGES = Path(__file__).parent / "packages"
LABELS = {
    "accepted": VerdictKind.ACCEPTED,
    "wrong_answer": VerdictKind.WRONG_ANSWER,
    "run_time_error": VerdictKind.RUNTIME_ERROR,
    "time_limit_exceeded": VerdictKind.TIME_LIMIT,
}
LANGUAGES = {".py": "python", ".cpp": "cpp"}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("package", sorted(PACKAGES.iterdir()), ids=lambda path: path.name)
async def test_every_submission_gets_its_label(pool, package):
    problem = parse_problem(kattis.convert(package))
    submissions = sorted(package.glob("submissions/*/*"))
    verdicts = await asyncio.gather(
        *(
            pool.judge(
                problem.tests,
                f"```{LANGUAGES[path.suffix]}\n{path.read_text()}```",
                limits=problem.limits(),
                language=LANGUAGES[path.suffix],
            )
            for path in submissions
        )
    )
    expected = {str(path): LABELS[path.parent.name] for path in submissions}
    actual = {str(path): verdict.verdict for path, verdict in zip(submissions, verdicts, strict=True)}
    assert actual == expected, [verdict for verdict in verdicts if not verdict.accepted]
    assert set(LABELS.values()) - set(expected.values()) <= {VerdictKind.TIME_LIMIT}
