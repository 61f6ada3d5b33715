"""Packages of a virtual environment that Python candidates may import: shown to be read, and nothing else."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from alpharay.judge import SandboxUnavailable, VerdictKind, parse_tests
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.sandbox.packages import find
from alpharay.serve.config import load

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADD = parse_tests(
    {"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}, {"input": "4 5", "output": "9"}]}
)
SUM = "import numpy as np\nprint(int(np.array(list(map(int, input().split()))).sum()))"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One with the numpy that these tests have, and a module of its own. Links would be followed out of it."""
    folder = tmp_path_factory.mktemp("packages")
    packages = folder / "lib" / VERSION / "site-packages"
    packages.mkdir(parents=True)
    installed = Path(np.__file__).parent
    for part in (installed, installed.parent / "numpy.libs"):
        if part.exists():
            _copy(part, packages / part.name)
    (packages / "ours.py").write_text("answer = 5\n")
    return folder


def _copy(source, target):
    """By hard links where that can be done: it is 60 MB."""
    for folder, _, names in os.walk(source):
        destination = target / Path(folder).relative_to(source)
        destination.mkdir()
        for name in names:
            file = Path(folder) / name
            try:
                (destination / name).hardlink_to(file)
            except OSError:
                (destination / name).write_bytes(file.read_bytes())


@pytest_asyncio.fixture(params=["full", "landlock"], scope="module", loop_scope="module")
async def own(request, environment):
    async with JudgePool(1, request.param, packages=environment) as pool:
        yield pool


async def test_programs_import_numpy(own):
    assert (await own.judge(ADD, SUM)).accepted
    assert not (await own.judge(ADD, SUM.replace("sum()", "max()"))).accepted


async def test_other_modules_of_the_environment_are_there_too(own):
    verdict = await own.judge(ADD, "import ours\nprint(ours.answer)")
    assert (verdict.verdict, verdict.passed) == (VerdictKind.WRONG_ANSWER, 1)


async def test_functions_are_called_with_numpy(own):
    tests = parse_tests({"kind": "call", "entry_point": "f", "cases": [{"args": [[1, 2]], "output": 3}]})
    assert (await own.judge(tests, "import numpy as np\ndef f(x):\n    return int(np.sum(x))")).accepted


async def test_no_two_runs_have_the_same_random_numbers(own):
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": ""}]})
    printed = {
        (
            await own.judge(tests, f"import numpy\nprint(numpy.random.rand())  # {run}", keep_output=True)
        ).stdout
        for run in range(3)
    }
    assert len(printed) == 3


async def test_the_environment_cannot_be_changed_and_no_other_can_be_read(own, environment):
    source = (
        "import os, sys, numpy\nfolder = sys.path[-1]\nfound = []\n"
        "for path in (folder + '/made.py', folder + '/ours.py', numpy.__file__):\n"
        "    try:\n        open(path, 'a')\n        found.append(path)\n    except OSError:\n        pass\n"
        f"try:\n    found += os.listdir({str(Path(np.__file__).parent)!r})\nexcept OSError:\n    pass\n"
        "print(*found or [sum(map(int, input().split()))])"
    )
    assert (await own.judge(ADD, source)).accepted
    assert (environment / "lib" / VERSION / "site-packages" / "ours.py").read_text() == "answer = 5\n"


async def test_threads_of_libraries_are_one(own):
    source = "import os, numpy\na = numpy.ones((300, 300))\n(a @ a).sum()\nprint(5 if os.environ['OMP_NUM_THREADS'] == '1' else 0)"
    tests = parse_tests({"kind": "stdio", "cases": [{"input": "", "output": "5"}]})
    assert (await own.judge(tests, source)).accepted


async def test_what_is_no_environment_of_this_python_is_refused(tmp_path):
    with pytest.raises(
        SandboxUnavailable, match=rf"is no virtual environment of Python .*{VERSION} -m venv PATH"
    ):
        async with JudgePool(1, packages=tmp_path):
            pass


async def test_an_environment_that_holds_the_hidden_tests_is_refused(tmp_path):
    (tmp_path / "lib" / VERSION / "site-packages" / "alpharay").mkdir(parents=True)
    with pytest.raises(SandboxUnavailable, match="holds alpharay itself"):
        find(tmp_path)


async def test_the_configuration_names_it_beside_its_own_file(tmp_path):
    for name in ("packages", "low", "high"):
        (tmp_path / name).mkdir()
    file = tmp_path / "config.yaml"
    file.write_text("endpoints: {low: low, high: high}\njudge: {packages: packages}\n")
    assert load(file).judge.packages == tmp_path / "packages"
