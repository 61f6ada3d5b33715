"""What an installed wheel holds: every package, and the frontier that is served by default."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("judge", "merge", "router", "serve")
FOLDERS = ("alpharay", *PACKAGES)


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files of a wheel built from a clean copy: a stale build/ folder would be packed as well."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--wheel-dir",
            out,
            source,
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("alpharay-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_module_is_in_the_wheel(wheel_names):
    modules = {
        f"alpharay/{file.relative_to(ROOT)}" for name in PACKAGES for file in (ROOT / name).rglob("*.py")
    } | {str(file.relative_to(ROOT)) for file in (ROOT / "alpharay").rglob("*.py")}
    assert modules <= wheel_names


@pytest.mark.parametrize("folder", ["embedded", "gateway/page"])
def test_the_embedded_frontier_and_the_page_are_in_the_wheel(wheel_names, folder):
    files = (ROOT / "serve" / folder).rglob("*")
    assert {f"alpharay/{file.relative_to(ROOT)}" for file in files if file.is_file()} <= wheel_names


def test_the_types_are_in_the_wheel(wheel_names):
    assert {f"alpharay/{name}/py.typed" for name in PACKAGES} <= wheel_names


def test_the_source_of_the_compiled_kernel_is_in_the_wheel(wheel_names):
    assert "alpharay/merge/compute/block.c" in wheel_names
