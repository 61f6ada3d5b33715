"""The shape of the repository: what is packaged, what imports what, what comes with the package."""

import ast
import importlib.resources
import json
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from alpharay.judge.problem import parse_problem
from alpharay.serve.config import load
from alpharay.serve.frontiers import embedded_config
from alpharay.serve.portfolio_file import read_portfolio

ROOT = Path(__file__).parents[1]
PARTS = ("merge", "judge", "router", "serve")

# The few files that may touch the engine and the cluster; a new one is a decision to be made here.
IMPORT_VLLM = {
    "serve/engine/vllm_engine.py",
    "serve/engine/vllm_samples.py",
    "serve/engine/vllm_scheduler.py",
    "serve/engine/preload.py",
    "serve/engine/statistics.py",
    "merge/engine/loader.py",
    "merge/engine/shift.py",
}
IMPORT_RAY = {
    "serve/cluster/bring_up.py",
    "serve/cluster/ray_cluster.py",
    "serve/cluster/deployments.py",
    "serve/cluster/listening.py",
    "serve/cluster/local_ray.py",
    "serve/loopback.py",
}

# What every part may import of `alpharay` itself: the root of all errors, packages that can be called, the progress line.
BASE = {"errors", "callable_package", "progress"}
# What drives a session, of which serving and `best_of` are two users.
DRIVER = {"driver"}

# Part -> what it may import of the others.
MAY_IMPORT = {
    "merge": BASE,
    "judge": BASE,
    "router": BASE | {"judge.verdict"},
    "serve": BASE | DRIVER | {"merge", "judge", "router"},
}

# The rooms of serve/, lowest first: a room imports those before it. "" is what lies in serve/ itself.
ROOMS = (
    "", "dialects", "state", "transport", "learn", "engine", "sampling", "gateway", "cluster", "evaluate", "cli",
)  # fmt: skip
# A folder that is larger, or deeper, holds more than one idea.
MOST_FILES, MOST_FLOORS = 14, 8


def sources():
    return [path for part in (*PARTS, "alpharay") for path in sorted((ROOT / part).rglob("*.py"))]


def module_of(path):
    """alpharay.serve.dialects for serve/dialects/__init__.py; alpharay.errors for alpharay/errors.py."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts[parts[0] == "alpharay" :]
    return ".".join(("alpharay", *(parts[:-1] if parts[-1:] == ("__init__",) else parts)))


MODULES = {module_of(path): path for path in sources()}


@cache
def imported(path):
    """Every module that a file imports anywhere, also within functions and for its types alone."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute, from the installed name"
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                modules.add(whole if whole in MODULES else node.module)
    return modules


def importers_of(package):
    return {
        str(path.relative_to(ROOT))
        for path in sources()
        if any(name.split(".")[0] == package for name in imported(path))
    }


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_folder_is_packaged_and_nothing_else_is():
    folders = {module_of(path) for path in sources() if path.name == "__init__.py"}
    assert set(pyproject()["tool"]["setuptools"]["packages"]) == folders


def test_every_folder_with_python_files_is_a_package():
    assert not [path for path in sources() if not (path.parent / "__init__.py").exists()]


def test_every_part_is_found_under_the_installed_name():
    assert pyproject()["tool"]["setuptools"]["package-dir"] == {"alpharay": "alpharay"} | {
        f"alpharay.{part}": part for part in PARTS
    }


@pytest.mark.parametrize("part", PARTS)
def test_imports_go_down_only(part):
    wrong = {}
    for path in (ROOT / part).rglob("*.py"):
        others = {
            name.removeprefix("alpharay.")
            for name in imported(path)
            if name.startswith("alpharay.") and name.split(".")[1] != part
        }
        allowed = MAY_IMPORT[part]
        if bad := {n for n in others if not any(n == a or n.startswith(f"{a}.") for a in allowed)}:
            wrong[str(path.relative_to(ROOT))] = bad
    assert not wrong


def room_of(name):
    """state for alpharay.serve.state.keys, "" for alpharay.serve.errors."""
    path = MODULES[name].relative_to(ROOT / "serve")
    return path.parts[0] if len(path.parts) > 1 else ""


def test_every_room_of_serving_has_its_floor():
    folders = {room_of(name) for name in MODULES if name.startswith("alpharay.serve")}
    assert folders == set(ROOMS)


def test_a_room_of_serving_imports_only_those_below_it():
    wrong = {
        (name, other)
        for name, path in MODULES.items()
        if name.startswith("alpharay.serve.")
        for other in imported(path) & MODULES.keys()
        if other.startswith("alpharay.serve.") and ROOMS.index(room_of(other)) > ROOMS.index(room_of(name))
    }
    assert not wrong


def folders():
    return sorted({path.parent for path in sources()})


@pytest.mark.parametrize("folder", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in folders()])
def test_a_folder_fits_in_the_head(folder):
    names = {name for name, path in MODULES.items() if path.parent == folder}
    files = [name for name in names if MODULES[name].name != "__init__.py"]

    @cache
    def floor(name):
        return 1 + max((floor(other) for other in imported(MODULES[name]) & names - {name}), default=0)

    assert len(files) <= MOST_FILES
    assert max(map(floor, names)) <= MOST_FLOORS


def test_our_own_modules_are_imported_by_their_installed_name():
    assert not {path for path in sources() if {name.split(".")[0] for name in imported(path)} & set(PARTS)}


def test_vllm_is_imported_only_where_it_is_hosted():
    assert importers_of("vllm") <= IMPORT_VLLM


def test_ray_is_imported_only_where_it_is_hosted():
    assert importers_of("ray") <= IMPORT_RAY


def test_no_two_files_import_each_other():
    graph = {name: imported(path) & MODULES.keys() - {name} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def printed_after(arguments, expression):
    """What the command line prints, and then the value of that expression in its process."""
    script = (
        "import sys\nfrom alpharay.serve.cli import main as cli\n"
        f"try:\n    cli.main({arguments})\nexcept SystemExit:\n    pass\n"
        f"print({expression})"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_the_help_of_the_command_line_loads_nothing_heavy():
    heavy = ["vllm", "ray", "torch", "transformers", "numpy"]
    printed = printed_after(["--help"], f"[name for name in {heavy} if name in sys.modules]")
    assert "usage: alpharay" in printed
    assert printed.splitlines()[-1] == "[]"


def test_a_command_does_not_import_the_others():
    others = "('alpharay.judge', 'alpharay.serve.')"
    printed = printed_after(
        ["merge", "--help"], f"[name for name in sys.modules if name.startswith({others})]"
    )
    assert "usage: alpharay merge" in printed
    assert printed.splitlines()[-1] == "['alpharay.serve.cli', 'alpharay.serve.cli.main']"


def embedded(name=""):
    return importlib.resources.files("alpharay.serve") / "embedded" / name


@pytest.mark.parametrize("endpoint", ["low", "high", "parts/init", "parts/low", "parts/high"])
def test_the_embedded_frontier_has_whole_checkpoints(endpoint):
    files = {file.name for file in embedded(endpoint).iterdir()}
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= files
    with (embedded(endpoint) / "model.safetensors").open("rb") as weights:
        header = json.loads(weights.read(int.from_bytes(weights.read(8), "little")))
    assert any(name.endswith("embed_tokens.weight") for name in header)


def test_the_embedded_configuration_points_at_the_embedded_checkpoints():
    config = load(None)
    checkpoints = dict(config.checkpoints)
    adapter = checkpoints.pop("lora_high")
    assert (str(adapter.adapter), adapter.base) == (str(embedded("lora_high")), "init")
    assert {name: str(path) for name, path in checkpoints.items()} == {
        name: str(embedded(name)) for name in ("init", "low", "high")
    }
    assert config.router.policy == "portfolio"
    # Every member off the line low..high was found by a search, and is there because its schedule draws from it.
    members = {f"frontier@{point.name}": point.alpha for point in config.points}
    schedule = read_portfolio(config.router.portfolio, members).schedule
    assert set(schedule) == {name for name, alpha in members.items() if alpha is None}


def test_the_frontier_of_several_parts_serves_its_own_checkpoints_by_its_own_schedule():
    config = load(embedded_config("parts"))
    assert {name: str(path) for name, path in config.checkpoints.items()} == {
        name: str(embedded(f"parts/{name}")) for name in ("init", "low", "high")
    }
    assert config.router.policy == "portfolio"
    members = {f"frontier@{point.name}" for point in config.points}
    assert {"frontier@0", "frontier@1"} <= set(read_portfolio(config.router.portfolio, members).schedule)


def test_everything_embedded_is_package_data():
    data = pyproject()["tool"]["setuptools"]["package-data"]
    assert "embedded/**" in data["alpharay.serve"]
    assert "page/**" in data["alpharay.serve.gateway"]
    assert "py.typed" in data["*"]
    assert "*.c" in data["alpharay.merge.compute"]
    assert all((ROOT / part / "py.typed").exists() for part in PARTS)


@pytest.mark.parametrize(
    "name", ["problems.jsonl", "parts/problems.jsonl", "parts/problems-validation.jsonl"]
)
def test_every_embedded_problem_can_be_judged(name):
    problems = [parse_problem(json.loads(line)) for line in embedded(name).read_text().splitlines()]
    assert len({problem.id for problem in problems}) == len(problems) > 0


def test_what_runs_for_ever_is_supervised():
    """A bare task that raises is silently over; loops are given to `judge/supervise.py`."""
    bare = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in {"create_task", "ensure_future", "Thread"}
        and "_forever" in ast.unparse(node)
    }
    assert not bare
