"""Adds up the runs of one candidate to its verdict."""

import hashlib

from alpharay.judge.pool.job import case_prefix
from alpharay.judge.sandbox.order import Ended
from alpharay.judge.verdict import Captured, Verdict, VerdictKind
from alpharay.judge.verdicts import Failure
from alpharay.judge.workspace.files import fetched

STDOUT_BYTES = 4096
DIGEST = 16  # hexadecimal digits by which outputs are compared


class Tally:
    """Adds up the runs of one candidate."""

    def __init__(self, total: int, keep_output: bool) -> None:
        self._total = total
        self._keep = keep_output
        self._passed = 0
        self._failure: tuple[int, Failure] | None = None
        self._cpu = self._total_cpu = self._wall = 0.0
        self._memory = 0
        self._stdout: str | None = "" if keep_output else None
        self._last: Ended | None = None
        self.note = ""
        self.outputs: dict[int, str] = {}

    def saw(self, case: int, output: bytes) -> None:
        """Any output passes; its digest is kept."""
        self._passed += 1
        self.outputs[case] = hashlib.sha256(output).hexdigest()[:DIGEST]

    def ran(self, ended: Ended, cpu_s: float) -> None:
        self._cpu = max(self._cpu, cpu_s)
        self._total_cpu += ended.cpu_s
        self._wall += ended.wall_s
        self._last = ended
        self._memory = max(self._memory, ended.memory)
        if self._keep:
            self._stdout = ended.stdout[:STDOUT_BYTES].decode("utf-8", "replace")

    def passed(self) -> None:
        self._passed += 1

    def failed(self, case: int, failure: Failure) -> None:
        if self._failure is None:
            self._failure = (case, failure)

    def judged(self, failure: Failure | None) -> None:
        """The next case, in their order."""
        if failure is None:
            self.passed()
        else:
            self.failed(self._passed, failure)

    def captured(self, fetch: tuple[str, ...] = ()) -> Captured:
        """What the last run printed; a compiler's words where it came to none. fetch: files that it was to leave."""
        if self._last is None:
            return Captured(compiled=False, stderr=self._failure[1].detail if self._failure else "")
        ended = self._last
        return Captured(
            compiled=True,
            stdout=ended.stdout.decode("utf-8", "replace"),
            stderr=ended.stderr.decode("utf-8", "replace"),
            code=ended.code if ended.ended == "exit" else None,
            files=tuple(fetched(ended.answers, fetch).items()) if fetch else (),
        )

    def verdict(self, *, observed: bool = False) -> Verdict:
        kind, detail = VerdictKind.ACCEPTED, self.note
        failed_case = None
        if self._failure is not None:
            case, failure = self._failure
            kind, failed_case = failure.kind, case
            where = case_prefix(case, self._total) if failure.of_case else ""
            detail = where + failure.detail + (f" ({self.note})" if self.note else "")
        return Verdict(
            kind,
            self._passed,
            self._total,
            cpu_s=round(self._cpu, 6),
            wall_s=round(self._wall, 6),
            memory_mb=round(self._memory / (1 << 20), 2),
            detail=detail,
            stdout=self._stdout,
            failed_case=failed_case,
            total_cpu_s=round(self._total_cpu, 6),
            outputs=tuple(map(self.outputs.get, range(self._total))) if observed else (),
        )
