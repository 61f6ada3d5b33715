"""The commands as a user meets them: exit codes, one clear line, no traceback."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from alpharay.judge.errors import SandboxUnavailable
from alpharay.judge.sandbox.choice import LayerReport
from alpharay.merge.errors import Mismatch, UsageError
from alpharay.serve.cli import main
from alpharay.serve.cluster import lifecycle
from alpharay.serve.config import load
from alpharay.serve.errors import EngineMissing
from alpharay.serve.frontiers import EMBEDDED, embedded_config


@pytest.fixture
def alpharay(capsys):
    """alpharay(*arguments) runs a command here: (exit code, standard output, standard error)."""

    def run(*arguments):
        try:
            code = main.main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_cluster(monkeypatch):
    """Everything that `serve` checks before it starts Ray; reaching Ray fails the test."""

    def started(*_):
        raise AssertionError("Ray would have been started")

    monkeypatch.setattr(lifecycle, "cluster", started)
    monkeypatch.setattr(lifecycle, "check_sandbox", lambda *_: None)


@pytest.fixture
def taken_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def checkpoint(tmp_path):
    """checkpoint(name, shape) is a folder with one weight of that shape."""

    def write(name, shape=(4, 4)):
        folder = tmp_path / name
        folder.mkdir()
        save_file({"w": np.full(shape, 0.5, np.float32)}, folder / "model.safetensors", {"format": "pt"})
        (folder / "config.json").write_text(
            json.dumps({"architectures": ["LlamaForCausalLM"], "hidden_size": 4})
        )
        return folder

    return write


@pytest.fixture
def configured(tmp_path):
    """configured(low, high, **keys) is a configuration file with a free port; without endpoints, the embedded ones."""

    def write(low=None, high=None, **keys):
        embedded = embedded_config().parent
        endpoints = {"low": str(low or embedded / "low"), "high": str(high or embedded / "high")}
        path = tmp_path / "frontier.yaml"
        path.write_text(json.dumps({"endpoints": endpoints, "server": {"port": 0}, **keys}))
        return path

    return write


@pytest.fixture
def layers(monkeypatch):
    """The sandbox layers that doctor finds, without starting any."""
    reports = [LayerReport("full", True, "works"), LayerReport("landlock", True, "works")]
    monkeypatch.setattr("alpharay.judge.sandbox.choice.probe", lambda: reports)
    return reports


def lacking(monkeypatch, *missing):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name in missing else real(name, *rest)
    )


def one_line(err):
    """The one line of an error."""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


# Usage


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sreve"],
        ["--nonsense"],
        ["serve", "--port", "many"],
        ["serve", "--port", "70000"],
        ["serve", "--port", "-1"],
        ["serve", "a.yaml", "b.yaml"],
        ["doctor", "--nonsense"],
        ["judge"],
    ],
)
def test_wrong_usage_is_2_and_says_how_to_use_it(alpharay, arguments):
    code, out, err = alpharay(*arguments)
    assert (code, out) == (2, "")
    assert "usage: alpharay" in err


@pytest.mark.parametrize("command", [["serve"], ["doctor"], ["eval", "p", "--samples", "1", "--out", "o"],
    ["search", "p", "--samples", "1", "--out", "o"], ["solve", "p", "--budget", "1", "--out", "o"]])  # fmt: skip
def test_the_frontiers_of_the_package_are_named_to_whoever_names_another(alpharay, command):
    code, out, err = alpharay(*command, "--embedded", "pars")
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert "argument --embedded: invalid choice: 'pars'" in last
    assert all(name in last for name in EMBEDDED)


def test_an_embedded_frontier_and_a_configuration_are_not_served_at_once(alpharay):
    code, _, err = alpharay("serve", "--embedded", "parts", "frontier.yaml")
    assert code == 2
    assert err.splitlines()[-1].endswith("not allowed with argument --embedded")


def test_a_frontier_that_is_named_without_its_option_is_one_line_with_the_way_out(
    alpharay, no_cluster, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = alpharay("serve", "parts")
    assert (code, out) == (1, "")
    assert "`--embedded parts`" in one_line(err)


@pytest.mark.parametrize(("option", "parts"), [((), False), (("--embedded", "parts"), True), (("--embedded", "contest"), False)])  # fmt: skip
def test_serve_starts_the_frontier_of_that_name(alpharay, monkeypatch, option, parts):
    served = []
    monkeypatch.setattr(lifecycle, "serve", lambda reread, **_: served.append(reread()))
    assert alpharay("serve", *option)[0] == 0
    (config,) = served
    name = "parts" if parts else "contest"
    assert config == load(embedded_config(name))
    assert (len(config.members) == 3) == parts


def test_the_version_is_told(alpharay):
    code, out, _ = alpharay("--version")
    assert code == 0
    assert out.startswith("alpharay ")


@pytest.mark.parametrize("command", ["serve", "merge", "judge", "doctor"])
def test_every_command_has_its_help(alpharay, command):
    code, out, _ = alpharay(command, "--help")
    assert code == 0
    assert out.startswith(f"usage: alpharay {command}")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (UsageError("alpha is no number"), 2),
        (Mismatch("tensors differ"), 1),
        (SandboxUnavailable("no sandbox here"), 1),
        (EngineMissing("vllm is not installed"), 1),
    ],
)
def test_what_a_command_raises_becomes_its_exit_code_and_one_line(alpharay, monkeypatch, raised, code):
    def run(_):
        raise raised

    monkeypatch.setattr("alpharay.serve.cli.doctor.run", run)
    assert alpharay("doctor") == (code, "", f"error: {raised}\n")


def test_an_interrupted_command_is_130(alpharay, monkeypatch):
    def run(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("alpharay.serve.cli.doctor.run", run)
    assert alpharay("doctor") == (130, "", "interrupted\n")


def test_serving_that_is_stopped_before_it_is_ready_is_130(alpharay, monkeypatch):
    def serve(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(lifecycle, "serve", serve)
    code, _, err = alpharay("serve")
    assert (code, err) == (130, "interrupted\n")


def test_a_signal_interrupts_the_start():
    with lifecycle._stop_signal(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_a_signal_asks_serving_to_stop_and_its_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with lifecycle._stop_signal() as stop:
        stop.serving = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.event.wait(10)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_has_gone_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    script = (
        "import sys\nfrom alpharay.serve.cli import doctor, main\n"
        "doctor.run = lambda _: print('told') or 0\n"
        "sys.exit(main.main(['doctor']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


# Serving that cannot start


def test_a_missing_configuration_is_one_line_from_the_real_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "alpharay.serve.cli.main", "serve", str(tmp_path / "missing.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "missing.yaml: cannot be read" in one_line(done.stderr)


def test_a_configuration_with_a_typo_is_one_line(alpharay, configured, no_cluster):
    code, _, err = alpharay("serve", configured(membres=[1]))
    assert code == 1
    assert "unknown key 'membres'; did you mean 'members'?" in one_line(err)


def test_a_busy_port_is_one_line_that_names_it(alpharay, configured, taken_port, no_cluster):
    code, out, err = alpharay("serve", configured(), "--port", taken_port)
    assert (code, out) == (1, "")
    assert f"port {taken_port} on 127.0.0.1 is taken" in one_line(err)
    assert "--port" in err


@pytest.mark.parametrize("host", ["203.0.113.7", "not a host", "a..b", "x" * 70 + ".invalid"])
def test_a_host_that_is_not_ours_is_one_line(alpharay, configured, no_cluster, host):
    code, _, err = alpharay("serve", configured(), "--host", host, "--port", 0)
    assert code == 1
    assert "cannot listen on" in one_line(err)


def test_an_engine_that_is_not_installed_is_one_line_with_the_way_out(
    alpharay, configured, no_cluster, monkeypatch
):
    lacking(monkeypatch, "vllm", "ray")
    code, _, err = alpharay("serve", configured())
    assert code == 1
    assert "vllm and ray are not installed; in a checkout of alpharay run `make env`" in one_line(err)


def test_a_machine_without_a_sandbox_is_one_line(alpharay, configured, no_cluster, monkeypatch):
    def nothing(*wanted):
        raise SandboxUnavailable("no layer is safe here")

    monkeypatch.setattr(lifecycle, "check_sandbox", nothing)
    code, _, err = alpharay("serve", configured())
    assert (code, err) == (1, "error: no layer is safe here\n")


def test_a_missing_checkpoint_is_one_line_that_names_it(
    alpharay, configured, checkpoint, tmp_path, no_cluster
):
    code, _, err = alpharay("serve", configured(checkpoint("low"), tmp_path / "nowhere"))
    assert code == 1
    assert str(tmp_path / "nowhere") in one_line(err)


def test_mismatched_checkpoints_are_one_line_that_names_the_tensor(
    alpharay, configured, checkpoint, no_cluster
):
    path = configured(checkpoint("low"), checkpoint("high", (4, 5)))
    code, _, err = alpharay("serve", path)
    assert code == 1
    assert "w" in one_line(err)
    assert "4" in err


def test_a_cache_that_is_no_folder_is_one_line_with_the_way_out(
    alpharay, configured, checkpoint, tmp_path, monkeypatch, no_cluster
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "file" / "deeper"))
    code, _, err = alpharay("serve", configured(checkpoint("low"), checkpoint("high")))
    assert code == 1
    assert "set ALPHARAY_CACHE" in err.splitlines()[-1]
    assert "Traceback" not in err


# Doctor


def findings(out):
    """{what: (mark, rest of the line)} of doctor's lines."""
    rows = [line for line in out.splitlines() if not line.startswith("      ")]
    parts = [(line[:4].strip(), *line[6:].split("  ", 1)) for line in rows]
    return {what.strip(): (mark, rest.strip()) for mark, what, rest in parts}


def test_doctor_finds_everything_where_everything_is(alpharay, configured, layers):
    code, out, err = alpharay("doctor", configured())
    assert (code, err) == (0, "")
    lines = findings(out)
    assert {
        "engine",
        "ray",
        "sandbox",
        "configuration",
        "endpoint low",
        "endpoint high",
        "port",
        "cache",
    } <= lines.keys()
    # Toolchains of further languages are optional.
    assert {mark for what, (mark, _) in lines.items() if not what.startswith("judges ")} == {"ok"}


def test_doctor_names_a_missing_engine_and_the_way_out(alpharay, configured, layers, monkeypatch):
    lacking(monkeypatch, "vllm")
    code, out, _ = alpharay("doctor", configured())
    assert code == 1
    assert findings(out)["engine"] == ("FAIL", "vLLM is not installed")
    assert "make env" in out


def test_doctor_fails_without_any_sandbox(alpharay, configured, layers):
    layers[:] = [LayerReport("full", False, "no namespaces"), LayerReport("landlock", False, "an old kernel")]
    code, out, _ = alpharay("doctor", configured())
    assert code == 1
    assert findings(out)["sandbox"][0] == "FAIL"
    assert findings(out)["sandbox full"] == ("note", "no namespaces")


def test_doctor_only_notes_a_layer_that_is_missing_beside_a_safe_one(alpharay, configured, layers):
    layers[0] = LayerReport("full", False, "no namespaces")
    code, out, _ = alpharay("doctor", configured())
    assert code == 0
    assert findings(out)["sandbox full"] == ("note", "no namespaces")


def test_doctor_names_a_busy_port(alpharay, configured, layers, taken_port):
    code, out, _ = alpharay("doctor", configured(server={"port": taken_port}))
    assert code == 1
    assert findings(out)["port"][0] == "FAIL"
    assert str(taken_port) in findings(out)["port"][1]


def test_doctor_names_a_configuration_that_cannot_be_used(alpharay, configured, layers):
    code, out, _ = alpharay("doctor", configured(membres=[1]))
    assert code == 1
    assert "did you mean 'members'?" in findings(out)["configuration"][1]


def test_doctor_names_a_missing_checkpoint(alpharay, configured, checkpoint, layers, tmp_path):
    code, out, _ = alpharay("doctor", configured(checkpoint("low"), tmp_path / "nowhere"))
    assert code == 1
    assert findings(out)["endpoint low"][0] == "ok"
    assert findings(out)["endpoint high"][0] == "FAIL"


def test_doctor_names_checkpoints_that_do_not_belong_together(alpharay, configured, checkpoint, layers):
    code, out, _ = alpharay("doctor", configured(checkpoint("low"), checkpoint("high", (4, 5))))
    assert code == 1
    assert findings(out)["endpoints"][0] == "FAIL"


def test_doctor_names_a_cache_that_cannot_be_written(alpharay, configured, layers, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "file" / "deeper"))
    code, out, _ = alpharay("doctor", configured())
    assert code == 1
    assert findings(out)["cache"][0] == "FAIL"
    assert "ALPHARAY_CACHE" in out
