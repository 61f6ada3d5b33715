"""What a run has from birth: each fork copies the page tables of what is loaded, and a program may look at it."""

import pytest

from alpharay.judge import parse_tests
from alpharay.judge.sandbox.toolchains import installed

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Loaded beforehand for programs that import them, and for no others.
RARE = {
    "argparse",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "inspect",
    "platform",
    "pprint",
    "queue",
    "unittest",
}
WAYS = [
    "import {0}",
    "import sys, {0} as it",
    "from {0} import *",
    "if loaded: import {0}",
    "__import__('{0}')",
    "importlib.import_module('{0}')",
]
FIND = """
import gc, sys
def listing():
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


def expects_nothing(program, kind):
    """Tests that expect `listing` to be empty, and the program."""
    if kind == "stdio":
        return parse_tests(
            {"kind": "stdio", "cases": [{"input": "", "output": "[]"}]}
        ), f"{program}\nprint(listing())"
    return parse_tests(
        {"kind": "call", "entry_point": "listing", "cases": [{"args": [], "output": []}]}
    ), program


@pytest.mark.parametrize("kind", ["stdio", "call"])
async def test_what_few_programs_use_is_not_loaded_for_the_others(pool, kind):
    names = ", ".join(f"{name[::-1]!r}" for name in sorted(RARE))
    search = "queue, platform, inspect = [0], None, 'decimal'  # as a search names what it is at"
    program = f"import sys\ndef listing():\n    {search}\n    return [n for n in ({names}) if n[::-1] in sys.modules]"
    verdict = await pool.judge(*expects_nothing(program, kind))
    assert verdict.accepted, verdict.detail


@pytest.mark.parametrize("name", sorted(RARE))
async def test_what_a_program_imports_is_loaded_before_it_runs(pool, name):
    program = f"import sys\nloaded = {name!r} in sys.modules\nimport {name}\ndef listing():\n    return [] if loaded else [1]"
    for kind in ("stdio", "call"):
        verdict = await pool.judge(*expects_nothing(program, kind))
        assert verdict.accepted, (kind, verdict.detail)


@pytest.mark.parametrize("way", WAYS)
async def test_so_is_what_it_imports_in_any_other_way(pool, way):
    way = way.format("decimal")
    program = f"import importlib, sys\nloaded = 'decimal' in sys.modules\n{way}\ndef listing():\n    return [] if loaded else [1]"
    verdict = await pool.judge(*expects_nothing(program, "stdio"))
    assert verdict.accepted, verdict.detail


@pytest.mark.parametrize("name", ["datetime.date.today()", "mean([1])", "statistics.median([1, 2])"])
async def test_what_a_function_finds_without_an_import_is_there(pool, name):
    verdict = await pool.judge(*expects_nothing(f"def listing():\n    {name}\n    return []", "call"))
    assert verdict.accepted, verdict.detail


@pytest.mark.parametrize("kind", ["stdio", "call"])
@pytest.mark.parametrize("more", ["", "import datetime\n"], ids=["usual", "more modules"])
async def test_a_run_holds_no_path_of_what_compiles_other_languages(pool, kind, more):
    toolchains = installed.present()
    if "cpp" not in toolchains:
        pytest.skip("no compiler of C++ on this machine")
    paths = [tool.path[::-1] for toolchain in toolchains.values() for tool in toolchain.tools.values()]
    adds = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    compiled = await pool.judge(
        adds, '```cpp\n#include <cstdio>\nint main() { puts("1"); }\n```', language="cpp"
    )
    assert compiled.accepted, compiled.detail
    verdict = await pool.judge(*expects_nothing(more + FIND.format(paths=paths), kind))
    assert verdict.accepted, verdict.detail
