"""Tests of kind `repo`: their commands one after another in one folder, which is removed when the candidate is judged."""

import shlex
from collections.abc import AsyncIterator

from alpharay.judge.limits import Limits
from alpharay.judge.sandbox.order import Ended, Order, Runner
from alpharay.judge.verdict import VerdictKind
from alpharay.judge.verdicts import Failure, JudgeFault, beyond_limits, failure_of, signal_name
from alpharay.judge.workspace.files import Tree, packed
from alpharay.judge.workspace.repo import Command, RepoTests, answered
from alpharay.judge.workspace.shown import pytest_files

_LONGEST_MESSAGE = 1500


async def run_repo(
    runner: Runner, tests: RepoTests, answer: str, limits: Limits, *, captures: bool
) -> AsyncIterator[tuple[Ended, Failure | None]]:
    """How each command of `verify` ended, up to the first that fails.

    answer: a patch or a program, as the tests say. captures: what a command prints is reported in full anyway.
    `setup` runs before the answer is laid over the files: its failure is a JudgeFault. Raises PatchError for an answer that
    cannot be laid over them, and what `Runner.run` does.
    """
    shown = pytest_files() if tests.uses_pytest else {}
    before = dict(tests.files)
    waiting: Tree = {**shown, **before}
    for number, command in enumerate(tests.setup, 1):
        ended = await runner.run(_order(tests, command, limits, packed(waiting) if waiting else b""))
        waiting = {}
        if failure := _failure(tests, command, ended, limits):
            raise JudgeFault(f"setup command {number} of {len(tests.setup)} failed: {failure.detail}")
    after = answered(tests, answer)
    changed = {
        path: content for path, content in after.items() if not tests.setup or before.get(path) != content
    }
    archive = packed({**({} if tests.setup else shown), **changed}, without=before.keys() - after.keys())
    for command in tests.verify:
        ended = await runner.run(_order(tests, command, limits, archive))
        archive = b""
        failure = (
            failure_of(ended, ended.cpu_s, limits) if captures else _failure(tests, command, ended, limits)
        )
        yield ended, failure
        if failure is not None:
            return


def _order(tests: RepoTests, command: Command, limits: Limits, archive: bytes) -> Order:
    return Order(
        mode="workspace",
        program=b"",
        input=tests.stdin,
        limits=limits,
        files=(("files", archive),) if archive else (),
        writes=tests.fetch,
        arguments=command,
    )


def _failure(tests: RepoTests, command: Command, ended: Ended, limits: Limits) -> Failure | None:
    """None: the command ended with 0. What it printed may quote hidden tests, and is shown where they are public."""
    if ended.phase[-1:] != "R":
        stderr = ended.stderr.decode("utf-8", "replace").strip()
        raise JudgeFault(f"the sandbox could not start a command: {stderr[-300:] or ended.ended}")
    beyond = beyond_limits(ended, ended.cpu_s, limits)
    if beyond is None and ended.code == 0:
        return None
    how = f"was killed by {signal_name(-ended.code)}" if ended.code < 0 else f"ended with {ended.code}"
    detail = f"python {shlex.join(command)} " + (
        how if beyond is None else f"went past a limit: {beyond.detail}"
    )
    if tests.public:
        printed = (ended.stdout + b"\n" + ended.stderr).decode("utf-8", "replace").strip()
        detail += f": {printed[-_LONGEST_MESSAGE:]}" if printed else ""
    return Failure(VerdictKind.WRONG_ANSWER if beyond is None else beyond.kind, detail)
