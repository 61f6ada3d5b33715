"""Makes the virtual environment that `make env` promises, from nothing but Python and its pip.

The engine's CPU build asks for packages that it never imports and pins PyTorch by a local
version; pip has no way to override either, so uv is put into the environment first and does
the rest. uv does not read pip's configuration, so what a machine has set up for pip (a mirror,
a folder of wheels) is handed on.

    python3 deploy/make_env.py .venv --extra cpu --extra test
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the environment goes")
    parser.add_argument(
        "--extra", action="append", default=[], help="an extra of the project; may be repeated"
    )
    parser.add_argument(
        "--unconstrained", action="store_true", help="the newest versions, not constraints.txt"
    )
    parser.add_argument(
        "--wheel", action="store_true", help="install the project itself as a wheel, not editable"
    )
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
        found = ".".join(map(str, sys.version_info[:3]))
        print(
            f"error: Python 3.11 or newer is needed, this is {found}; "
            "name another one with `make PYTHON=python3.12 ...`",
            file=sys.stderr,
        )
        return 1
    try:
        install(
            arguments.folder,
            arguments.extra,
            constrained=not arguments.unconstrained,
            editable=not arguments.wheel,
        )
    except subprocess.CalledProcessError as error:
        print(
            f"error: the environment could not be made: `{' '.join(map(str, error.cmd))}` "
            f"ended with {error.returncode}; its own message is above",
            file=sys.stderr,
        )
        return 1
    return 0


def install(folder: Path, extras: list[str], *, constrained: bool, editable: bool) -> None:
    python = folder / "bin" / "python"
    if not python.exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
    command: list[str | Path] = [
        folder / "bin" / "uv", "pip", "install", "--python", python,
        *from_pip(python),
    ]  # fmt: skip
    if constrained:
        command += ["--constraint", ROOT / "constraints.txt"]
    if "cpu" in extras:
        command += ["--override", ROOT / "deploy" / "cpu-overrides.txt"]
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    command += ["--editable", project] if editable else [project]
    if "cpu" in extras and not has_local_torch(python):
        # Without this the registry's torch comes with several GB of CUDA libraries. Where its
        # index is out of reach, that build works as well, so the second try is the plain one.
        if subprocess.run([*command, "--torch-backend", "cpu"], check=False).returncode == 0:
            return
        print("note: the CPU build of PyTorch is out of reach, taking the registry's larger one", flush=True)
    subprocess.run(command, check=True)


def pip_setting(python: Path, name: str) -> list[str]:
    """The words of one of pip's settings, wherever it was made; empty when it was not."""
    found = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if found is None:
        asked = subprocess.run(
            [python, "-m", "pip", "config", "get", f"global.{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        found = asked.stdout
    return found.split()


def from_pip(python: Path) -> list[str]:
    words: list[str] = []
    for setting, option in [("index-url", "--index-url"), ("find-links", "--find-links")]:
        for value in pip_setting(python, setting):
            words += [option, value]
    return words


def has_local_torch(python: Path) -> bool:
    return any(
        next(Path(folder).glob("torch-2.13.0+cpu-*.whl"), None)
        for folder in pip_setting(python, "find-links")
    )


if __name__ == "__main__":
    sys.exit(main())
