"""A merge that dies: the output directory is absent or whole, and the next run ends bit-identical."""

import os
import shutil
import signal
import sys

import numpy as np
import pytest

from alpharay.merge import merge
from alpharay.merge.compute.native import COMPILE_FROM, native_kernel

# Steps at which a process can die: every system call that reads, makes, syncs or renames something.
STEPS = {"open", "os.mkdir", "os.rename", "os.rmdir", "os.remove", "os.listdir"}


def tree(path):
    return {
        str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }


def in_child(action):
    """Runs action in a forked process; gives how it ended as os.waitpid says it."""
    child = os.fork()
    if child == 0:
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def count_steps(action):
    """Calls action() at every step of what follows in this process, reads and syncs included."""
    preadv, fsync = os.preadv, os.fsync

    def hook(event, _):
        if event in STEPS:
            action()

    def counted(function):
        def call(*arguments):
            action()
            return function(*arguments)

        return call

    os.preadv, os.fsync = counted(preadv), counted(fsync)
    sys.addaudithook(hook)


@pytest.fixture
def request_(tmp_path, save, tensors):
    """A merge with several shards, pieces and outputs."""
    big = {"big": np.random.default_rng(1).standard_normal((300, 1000)).astype("f4")}
    low = save(tmp_path / "low", tensors(1, dtype="f4") | big, shards=3)
    high = save(tmp_path / "high", tensors(2, 0.1, "f4") | {"big": big["big"] * 1.01}, shards=2)
    return {"low": low, "high": high, "alphas": [-0.5, 0.3, 1.0]}


def test_a_merge_killed_at_any_step_is_absent_or_whole_and_ends_the_same(request_, tmp_path):
    expected = merge(**request_, out=tmp_path / "expected")
    total = 0

    def count():
        nonlocal total
        total += 1

    def counting():
        count_steps(count)
        merge(**request_, out=tmp_path / "counted")
        (tmp_path / "total").write_text(str(total))

    assert in_child(counting) == 0
    steps = int((tmp_path / "total").read_text())
    assert steps > 50
    points = np.random.default_rng(2).choice(steps, 25, replace=False)
    for point in (*points, steps - 1, steps - 2, steps - 3):
        out = tmp_path / f"out{point}"

        def dying(left=int(point), out=out):
            def step():
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            count_steps(step)
            merge(**request_, out=out)

        status = in_child(dying)
        # Threads make the number of steps vary a little, so one at the very end may come too late.
        assert os.WIFSIGNALED(status) or point > steps - 10
        if out.exists():
            assert tree(out) == tree(expected.out)
        else:
            assert os.WIFSIGNALED(status)
        result = merge(**request_, out=out)
        assert tree(out) == tree(expected.out)
        assert result.outputs[0].sha256 == expected.outputs[0].sha256
        assert not (tmp_path / f".{out.name}.partial").exists()


def test_finished_shards_are_not_computed_again_and_the_manifest_is_the_same(request_, tmp_path, monkeypatch):
    from alpharay.merge.write import write

    expected = merge(**request_, out=tmp_path / "expected")
    real = write._write_shard
    written = []

    def noting(plan, inputs, shard, *rest):
        written.append(shard.name)
        return real(plan, inputs, shard, *rest)

    def dying(plan, inputs, shard, *rest):
        if shard.name.startswith("model-00003"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(plan, inputs, shard, *rest)

    monkeypatch.setattr(write, "_write_shard", dying)
    assert os.WIFSIGNALED(in_child(lambda: merge(**request_, out=tmp_path / "out")))
    journal = tmp_path / ".out.partial" / "journal.jsonl"
    # A run that dies while it notes a shard leaves half a line.
    journal.write_bytes(journal.read_bytes() + b'{"name": "model-000')
    monkeypatch.setattr(write, "_write_shard", noting)
    merge(**request_, out=tmp_path / "out")
    assert written == ["model-00003-of-00003.safetensors"]
    assert tree(tmp_path / "out") == tree(expected.out)


@pytest.mark.parametrize("change", ["alpha", "input"])
def test_shards_of_another_merge_are_of_no_use(request_, tmp_path, monkeypatch, change):
    from alpharay.merge.write import write

    real = write._write_shard

    def dying(plan, inputs, shard, *rest):
        if shard.name.startswith("model-00003"):
            os.kill(os.getpid(), signal.SIGKILL)
        return real(plan, inputs, shard, *rest)

    monkeypatch.setattr(write, "_write_shard", dying)
    assert os.WIFSIGNALED(in_child(lambda: merge(**request_, out=tmp_path / "out")))
    monkeypatch.setattr(write, "_write_shard", real)
    if change == "alpha":
        request_["alphas"] = [0.9]
    else:
        file = request_["low"] / "model-00001-of-00003.safetensors"
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    merge(**request_, out=tmp_path / "out")
    assert tree(tmp_path / "out") == tree(merge(**request_, out=tmp_path / "expected").out)


def test_ctrl_c_leaves_nothing(request_, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    def interrupted():
        left = 40

        def step():
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGINT)

        signal.signal(signal.SIGINT, signal.default_int_handler)
        count_steps(step)
        try:
            merge(**request_, out=tmp_path / "a" / "out")
        except KeyboardInterrupt:
            os._exit(130)

    assert os.waitstatus_to_exitcode(in_child(interrupted)) == 130
    assert sorted(tmp_path.rglob("*")) == before


def test_the_rest_of_another_killed_merge_is_cleared_away(request_, tmp_path):
    partial = tmp_path / ".out.partial"
    (partial / "alpha=9").mkdir(parents=True)
    (partial / "alpha=9" / "model.safetensors").write_bytes(b"half")
    result = merge(**request_, out=tmp_path / "out")
    assert {path.name for path in result.out.iterdir()} == {
        "alpha=-0.5", "alpha=0.3", "alpha=1", "manifest.json",
    }  # fmt: skip


def test_a_killed_merge_starts_over_where_the_other_kernel_computes_now(request_, tmp_path, monkeypatch):
    """So that the sums of one manifest are all of one kernel."""
    from alpharay.merge.write import run, write

    if not shutil.which(os.environ.get("CC") or "cc"):
        pytest.skip("no C compiler on this machine")
    real = write._write_shard
    written = []

    def dying(plan, inputs, shard, *arguments):
        if len(written) == 2:
            os._exit(9)
        written.append(shard.name)
        return real(plan, inputs, shard, *arguments)

    monkeypatch.setattr(write, "_write_shard", dying)
    assert os.waitstatus_to_exitcode(in_child(lambda: merge(**request_, out=tmp_path / "out"))) == 9
    kernel = native_kernel(COMPILE_FROM)
    assert kernel is not None
    monkeypatch.setattr(run, "native_kernel", lambda _: kernel)

    def counting(plan, inputs, shard, *arguments):
        written.append(shard.name)
        return real(plan, inputs, shard, *arguments)

    monkeypatch.setattr(write, "_write_shard", counting)
    result = merge(**request_, out=tmp_path / "out")
    assert len(written) == 3
    monkeypatch.undo()
    expected = merge(**request_, out=tmp_path / "expected")
    for mine, numpy in zip(result.outputs, expected.outputs, strict=True):
        assert mine.sha256 == numpy.sha256
        assert mine.effective_alpha == pytest.approx(numpy.effective_alpha, rel=1e-12)
