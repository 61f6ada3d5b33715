"""What a run has from birth: each fork copies the page tables of it, and a program may look at it."""

import pytest

from alpharay.judge import parse_tests
from alpharay.judge.sandbox.toolchains import installed

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Loaded beforehand for programs that name them.
RARE = {"argparse", "ast", "dataclasses", "datetime", "decimal", "difflib", "inspect", "platform", "unittest"}


def nothing_found(program):
    """Tests that call `found` and expect nothing, and the program."""
    return parse_tests(
        {"kind": "call", "entry_point": "found", "cases": [{"args": [], "output": []}]}
    ), program


async def test_a_run_has_loaded_what_most_programs_use_and_nothing_else(pool):
    names = ", ".join(f"{name[::-1]!r}" for name in sorted(RARE))  # one that names them gets them
    program = f"import sys\ndef found():\n    return [n for n in ({names}) if n[::-1] in sys.modules]"
    verdict = await pool.judge(*nothing_found(program))
    assert verdict.accepted, verdict.detail


async def test_a_run_holds_no_path_of_what_compiles_other_languages(pool):
    toolchains = installed.present().values()
    paths = [tool.path[::-1] for toolchain in toolchains for tool in toolchain.tools.values()]
    program = f"""
import gc
def found():
    gc.unfreeze()
    paths = set({paths!r})
    return sorted(
        text
        for holder in gc.get_objects()
        if isinstance(holder, (dict, list, tuple, set, frozenset))
        for text in (holder.values() if isinstance(holder, dict) else holder)
        if isinstance(text, str) and text[::-1] in paths
    )
"""
    assert paths, "no toolchain on this machine"
    verdict = await pool.judge(*nothing_found(program))
    assert verdict.accepted, verdict.detail
