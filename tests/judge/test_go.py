"""Go: where its tools are found, what becomes of its library, and what its programs' ends are told as."""

import os
from pathlib import Path

import pytest

from alpharay.judge import LanguageUnavailable, VerdictKind, parse_tests
from alpharay.judge.errors import TrialFailed
from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.sandbox.toolchains import go, installed

ADD = parse_tests({"kind": "stdio", "cases": [{"input": "2 3", "output": "5"}]})


def installed_go():
    try:
        return installed.find("go")
    except LanguageUnavailable as error:
        pytest.skip(str(error))


def go_tree(root):
    """The files by which a Go is known, and the command through a link, as Debian lays it."""
    for name in ("bin/go", "pkg/tool/linux_amd64/compile", "pkg/tool/linux_amd64/link"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("#!/bin/sh\nexit 7\n")
        file.chmod(0o755)
    (root / "VERSION").write_text("go1.19.8")
    (root.parent / "path").mkdir()
    (root.parent / "path" / "go").symlink_to(root / "bin" / "go")
    return root


@pytest.fixture
def go_as_debian_lays_it(tmp_path, monkeypatch):
    root = go_tree(tmp_path / "go-1.19")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "cache"))
    return root


def test_go_is_found_behind_its_link(go_as_debian_lays_it, tmp_path):
    toolchain = go.find()
    assert toolchain.version == "Go 1.19.8"
    assert toolchain.tools["compile"].path == str(go_as_debian_lays_it / "pkg/tool/linux_amd64/compile")
    assert [path for path in toolchain.read if path.startswith(str(tmp_path / "cache" / "go" / "1.19.8-"))]


def test_a_go_before_generics_is_refused(go_as_debian_lays_it):
    (go_as_debian_lays_it / "VERSION").write_text("go1.17.5")
    with pytest.raises(LanguageUnavailable, match=r"Go needs go 1\.18 or newer, and .* is go1\.17\.5"):
        go.find()


def test_a_library_of_go_that_does_not_compile_leaves_nothing_and_says_where(go_as_debian_lays_it):
    toolchain = go.find()
    with pytest.raises(LanguageUnavailable, match="Go's library could not be compiled in"):
        toolchain.prepare()
    [folder] = [path for path in toolchain.read if "/cache/go/" in path]
    assert not list(Path(folder).iterdir())
    assert not [each for each in Path(folder).parent.iterdir() if each.is_dir() and each != Path(folder)]


def test_a_folder_for_go_s_library_that_cannot_be_made_is_told_with_the_way_out(
    go_as_debian_lays_it, tmp_path
):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(LanguageUnavailable, match=r"needs a folder .* in ALPHARAY_CACHE"):
        go.find()


def test_a_library_of_go_that_another_user_can_write_to_is_not_used(go_as_debian_lays_it, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, who can give a folder away")
    go.find()
    os.chown(tmp_path / "cache" / "go", 65534, 65534)
    with pytest.raises(LanguageUnavailable, match="another user can write to"):
        go.find()


def test_the_library_of_go_is_writable_by_nobody_else():
    toolchain = installed_go()
    toolchain.prepare()
    [folder] = [Path(path) for path in toolchain.read if Path(path, go.LINK_CONFIGURATION).is_file()]
    modes = {each.stat().st_mode & 0o022 for each in (folder, *folder.iterdir())}
    assert modes == {0}
    assert " internal" not in (folder / go.COMPILE_CONFIGURATION).read_text().replace("packagefile ", " ")


@pytest.fixture
def copied_library(tmp_path, monkeypatch):
    """The folder of a library, which the judge reads in place of the usual one."""
    whole = installed_go()
    whole.prepare()
    [folder] = [Path(path) for path in whole.read if Path(path, go.LINK_CONFIGURATION).is_file()]
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path))
    installed.forget()
    [copy] = [Path(path) for path in installed.find("go").read if path.startswith(str(tmp_path))]
    for file in folder.iterdir():
        content = file.read_bytes()
        if file.suffix == ".cfg":
            content = content.replace(str(folder).encode(), str(copy).encode())
        (copy / file.name).write_bytes(content)
    yield copy
    monkeypatch.undo()
    installed.forget()


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("lost", ["fmt.a", "errors.a", go.COMPILE_CONFIGURATION])
async def test_a_library_with_a_file_missing_is_no_fault_of_the_program(copied_library, lost):
    (copied_library / lost).unlink()
    async with JudgePool(workers=1) as pool:
        with pytest.raises(TrialFailed, match="Go's compiled library is not whole"):
            await pool.judge(ADD, "```go\npackage main\n```", language="go")


@pytest.mark.asyncio(loop_scope="session")
async def test_an_error_of_go_s_compiler_names_the_line_of_the_program(pool):
    installed_go()
    source = "package main\n\nfunc main() { undefined() }"
    verdict = await pool.judge(ADD, f"```go\n{source}\n```", language="go")
    assert verdict.verdict is VerdictKind.COMPILE_ERROR
    assert verdict.detail.startswith("program.go:3:15: undefined: undefined"), verdict.detail


@pytest.mark.asyncio(loop_scope="session")
async def test_what_go_says_at_an_end_is_told_from_its_beginning(pool):
    installed_go()
    source = "package main\nfunc main() {\n    c := make(chan int)\n    for i := 0; i < 50; i++ { go func() { c <- i }() }\n    select {}\n}"
    verdict = await pool.judge(ADD, f"```go\n{source}\n```", language="go")
    assert verdict.verdict is VerdictKind.RUNTIME_ERROR
    assert verdict.detail.startswith("fatal error: all goroutines are asleep - deadlock!"), verdict.detail
