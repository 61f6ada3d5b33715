"""`alpharay merge` as argparse sees it, and what it prints."""

import argparse
import subprocess
import sys

import pytest

from alpharay.merge.command import add_arguments, run
from alpharay.merge.errors import NotACheckpoint, TargetExists, UsageError


def parse(*words):
    parser = argparse.ArgumentParser(prog="alpharay merge")
    add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


@pytest.mark.parametrize("words", [["--alpha", "-0.5", "--alpha", "1.5"], ["--alpha=-0.5", "--alpha=1.5"]])
def test_negative_alphas_are_numbers_and_not_options(words):
    assert parse("low", "high", *words, "--out", "out").alphas == [-0.5, 1.5]


def test_a_merge_prints_one_line_per_alpha_with_what_became_of_it(endpoints, tmp_path, capsys):
    low, high = endpoints
    arguments = parse(low, high, "--alpha", "-0.5", "--alpha", "1", "--out", tmp_path / "out")
    assert run(arguments) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert "effective" in header
    assert first.split()[0] == "-0.5"
    assert first.split()[-1] == str(tmp_path / "out" / "alpha=-0.5")
    assert second.split()[:2] == ["1", "1.000"]
    assert run(arguments) == 0
    assert "already" in capsys.readouterr().out


def test_a_terminal_sees_progress_and_a_pipe_does_not(endpoints, tmp_path, capsys, monkeypatch):
    low, high = endpoints
    assert run(parse(low, high, "--alpha", "1", "--out", tmp_path / "piped")) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(parse(low, high, "--alpha", "1", "--out", tmp_path / "seen")) == 0
    assert "% of 0 M weights" in capsys.readouterr().err


def test_lost_alpha_is_a_warning_on_stderr(tmp_path, save, capsys):
    import numpy as np
    from ml_dtypes import bfloat16

    weight = np.full(1000, 0.02).astype(bfloat16)
    low = save(tmp_path / "low", {"w": weight})
    high = save(tmp_path / "high", {"w": (weight.view("u2") + 1).astype("u2").view(bfloat16)})
    assert run(parse(low, high, "--alpha", "0.25", "--out", tmp_path / "out")) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith("warning: ")
    assert captured.err.count("\n") == 1
    assert "0.25 became 0" in captured.err


def test_plan_says_what_a_merge_would_become_and_writes_nothing(endpoints, tmp_path, capsys):
    low, high = endpoints
    words = [low, high, "--alpha", "-0.5", "--alpha", "0.3", "--out", tmp_path / "out"]
    before = sorted(tmp_path.rglob("*"))
    assert run(parse(*words, "--plan")) == 0
    planned = capsys.readouterr().out.splitlines()
    assert sorted(tmp_path.rglob("*")) == before
    assert "sampled 100%" in planned[0]
    assert run(parse(*words)) == 0
    merged = capsys.readouterr().out.splitlines()
    # These tensors are smaller than one block, so the sample is everything.
    for line, result in zip(planned[1:4], merged[:3], strict=True):
        assert result.split()[: len(line.split())] == line.split()
    assert run(parse(*words, "--plan")) == 0
    assert "already" in capsys.readouterr().out


def test_plan_makes_the_same_checks_as_the_merge(endpoints, tmp_path):
    low, high = endpoints
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(TargetExists):
        run(parse(low, high, "--alpha", "1", "--out", tmp_path / "full", "--plan"))
    (high / "model.safetensors").unlink()
    with pytest.raises(NotACheckpoint):
        run(parse(low, high, "--alpha", "1", "--plan"))


def test_usage_errors_are_told_apart(endpoints, tmp_path):
    low, high = endpoints
    with pytest.raises(UsageError):
        run(parse(low, high, "--alpha", "1", "--alpha", "1.0", "--out", tmp_path / "out"))
    for words in (
        [low, high, "--out", tmp_path / "out"],
        [low, high, "--alpha", "1"],
        [low, "--alpha", "1", "--out", tmp_path / "out"],
        [low, high, "--alpha", "1", "--weights", "1,2", "--out", tmp_path / "out"],
        [low, high, "--alpha", "1", "--base", low, "--out", tmp_path / "out"],
        [low, high, "--method", "linear", "--weights", "1", "--out", tmp_path / "out"],
        [low, high, "--method", "exme", "--out", tmp_path / "out"],
        [low, high, "--method", "wise-ft", "--alpha", "1.5", "--out", tmp_path / "out"],
        [low, high, "--recipe", "recipe.yaml", "--out", tmp_path / "out"],
        [low, high, "--alpha", "1", "--shard-size", "5 parsecs", "--out", tmp_path / "out"],
    ):
        with pytest.raises(UsageError):
            run(parse(*words))
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit) as caught:
        parse(low, high, "--alpha", "much", "--out", tmp_path / "out")
    assert caught.value.code == 2


def test_linear_names_its_output_by_the_weights(endpoints, tmp_path):
    low, high = endpoints
    words = [low, high, "--method", "linear", "--weights=-0.5, 1.50", "--out", tmp_path / "out"]
    assert run(parse(*words)) == 0
    assert (tmp_path / "out" / "weights=-0.5,1.5" / "config.json").exists()


def test_the_help_shows_an_example_and_imports_nothing_heavy():
    script = (
        "import argparse, sys\n"
        "from alpharay.merge.command import add_arguments\n"
        "parser = argparse.ArgumentParser(prog='alpharay merge')\n"
        "add_arguments(parser)\n"
        "print(parser.format_help())\n"
        "print(sorted({'numpy', 'torch', 'vllm', 'ray', 'transformers'} & sys.modules.keys()))\n"
    )
    lines = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "alpharay merge low/ high/ --alpha -0.5" in lines
    assert lines.splitlines()[-1] == "[]"


def test_a_merge_imports_neither_torch_nor_an_engine(endpoints, tmp_path):
    low, high = endpoints
    script = (
        "import sys\n"
        "from alpharay.merge import merge\n"
        "merge(low=sys.argv[1], high=sys.argv[2], alphas=[0.5], out=sys.argv[3])\n"
        "print(sorted({'torch', 'vllm', 'ray', 'transformers', 'ml_dtypes'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", script, low, high, tmp_path / "out"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
