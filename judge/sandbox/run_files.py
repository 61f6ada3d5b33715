"""The memory files of one order: inputs of its runs, and their outputs."""

import os
import struct
from typing import Any

from alpharay.judge.guest.candidate import SEPARATOR
from alpharay.judge.guest.scratch import SIZE_BYTES
from alpharay.judge.sandbox import memory_file
from alpharay.judge.sandbox.order import Ended, Order

# More than is kept of standard error.
STDERR_BYTES = 1 << 18
# What is given in these modes is the program's standard input.
STREAMED = ("stdio", "native", "tool", "checker", "workspace")
# In these a run leaves nothing but what it prints.
PRINTING = ("stdio", "native")


class RunFiles:
    """Files in memory. descriptors: in the order in which the fork server takes them (`guest.run`), the program first.

    cases: how many a run may answer.
    """

    def __init__(self, order: Order, program: int, cases: int) -> None:
        """program: a descriptor that stays the caller's. Raises OSError."""
        self._order = order
        self._cases = cases
        self._streams: list[tuple[int, int]] = []
        self._answers: int | None = None
        self._marks: int | None = None
        self._tests_stderr: int | None = None
        self.descriptors = [program]
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        order, streamed = self._order, self._order.mode in STREAMED
        for stdin_bytes in (order.input if streamed else b"", *order.rest):
            self._sealed("stdin", stdin_bytes)
            self._streams.append((self._empty("stdout"), self._empty("stderr")))
        if order.mode not in PRINTING:
            self._sealed("input", b"" if streamed else order.input)
            self._answers = self._empty("answers")
        if order.mode == "call":
            self._marks = self._empty("marks")
        elif order.nonce:
            self._sealed("nonce", order.nonce)
        if order.interactor is not None:
            if order.interactor.binary is None:
                self._sealed("program", SEPARATOR + order.interactor.program)
            else:
                self.descriptors.append(os.dup(order.interactor.binary))
            self._tests_stderr = self._empty("stderr")
        for _, content in order.files:
            self._sealed("file", content)

    def _sealed(self, name: str, content: bytes) -> None:
        self.descriptors.append(memory_file.sealed(name, content))

    def _empty(self, name: str) -> int:
        self.descriptors.append(memory_file.empty(name))
        return self.descriptors[-1]

    def close(self) -> None:
        for descriptor in self.descriptors[1:]:
            os.close(descriptor)
        del self.descriptors[1:]

    def ended(self, reports: list[dict[str, Any]]) -> Ended:
        """How the runs ended, from the fork server's report on each."""
        order = self._order
        more: dict[str, Any] = {}
        if self._marks is not None:
            marks, _ = memory_file.content(self._marks, 8 * self._cases)
            more["marks"] = list(struct.unpack(f"{len(marks) // 8}d", marks))
        if self._answers is not None:
            most = max(1, len(order.writes)) * (order.limits.output_bytes + SIZE_BYTES)
            more["answers"] = memory_file.content(self._answers, most)[0]
        if self._tests_stderr is not None:
            more["tests_stderr"] = memory_file.content(self._tests_stderr, STDERR_BYTES)[0]
        runs = list(zip(reports, self._streams, strict=False))
        if runs[1:]:
            more["rest"] = tuple(self._ended(report, *streams) for report, streams in runs[1:])
        report, streams = runs[0]
        return self._ended(report, *streams, **more)

    def _ended(self, report: dict[str, Any], stdout: int, stderr: int, **more: Any) -> Ended:
        """more: of the first run, what all runs left together."""
        most = self._order.limits.output_bytes
        printed, printed_size = memory_file.content(stdout, most)
        errors, errors_size = memory_file.content(stderr, max(most, STDERR_BYTES))
        return Ended(
            ended=report["ended"],
            code=report["code"],
            phase=report["phase"],
            cpu_s=report["cpu"],
            wall_s=report["wall"],
            memory=report["rss"],
            tests=report["tests"],
            stdout=printed,
            stderr=errors,
            sizes=(printed_size, errors_size),
            tests_phase=report["tests_phase"],
            first=report["first"],
            **more,
        )
