"""Third-party packages that Python programs may import: those of a virtual environment, to read and not to change."""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

from alpharay.judge.errors import SandboxUnavailable
from alpharay.judge.sandbox import readable

# Imported before any program that names them is run: their start would cost each more than most programs take.
PRELOADED = {"numpy": ("numpy", "numpy.linalg", "numpy.random")}
MOST_EXTENSIONS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """folder: put last on the path on which modules are looked for.

    preloaded: modules that are imported beforehand, by the names in programs for which that is done.
    read: the folder, and the shared libraries of the system that its extensions need.
    """

    folder: str
    preloaded: dict[str, tuple[str, ...]]
    read: tuple[str, ...]


@functools.cache
def find(environment: Path) -> Packages:
    """The packages of a virtual environment. Raises SandboxUnavailable, saying how to make one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = (environment / "lib" / f"python{version}" / "site-packages").absolute()
    make = f"make one with: python{version} -m venv PATH && PATH/bin/pip install numpy"
    if not folder.is_dir():
        raise SandboxUnavailable(
            f"judge.packages: {environment} is no virtual environment of Python {version}, which runs the judge; {make}"
        )
    # What is installed beside it would be shown to programs: the hidden tests that come with it, and all that it needs.
    own_packages = [
        entry.name
        for entry in folder.iterdir()
        if entry.name.lower().startswith(("alpharay", "__editable__.alpharay"))
    ]
    if own_packages:
        raise SandboxUnavailable(
            f"judge.packages: {environment} holds alpharay itself, which no candidate may read; {make}"
        )
    folder = folder.resolve()
    extensions = sorted(str(path) for path in folder.rglob("*.so*") if path.is_file())[:MOST_EXTENSIONS]
    libraries = {
        library
        for library in readable.shared_libraries(readable.interpreter(), extensions)
        if not Path(library).resolve().is_relative_to(folder)
    }
    return Packages(
        folder=str(folder),
        preloaded={name: modules for name, modules in PRELOADED.items() if (folder / name).is_dir()},
        read=(str(folder), *sorted(libraries)),
    )
