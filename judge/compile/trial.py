"""Whether this machine can judge a compiled language: a program that must run, and one whose every breach must be refused."""

import asyncio
import platform
from dataclasses import dataclass

from alpharay.judge.compile.compiling import Binaries
from alpharay.judge.errors import LanguageUnavailable, RunRefused, SandboxUnavailable, TrialFailed, WorkerDied
from alpharay.judge.languages import LANGUAGES
from alpharay.judge.limits import Limits
from alpharay.judge.pool.job import Job
from alpharay.judge.pool.judging import judge
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.sandbox.choice import start_safest
from alpharay.judge.sandbox.toolchains import installed
from alpharay.judge.sandbox.worker import Worker
from alpharay.judge.verdict import VerdictKind

ADDS = """
#include <iostream>
int main() { int a, b; std::cin >> a >> b; std::cout << a + b << std::endl; }
"""
# Prints the sum only when everything it tries is refused.
TRIES = """
#include <cstdio>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
int main() {
    int a, b, got = 0;
    if (scanf("%d %d", &a, &b) != 2) return 1;
    got += open("/", O_RDONLY) >= 0;
    got += open("/etc/passwd", O_RDONLY) >= 0;
    got += open("/tmp/made", O_CREAT | O_WRONLY, 0600) >= 0;
    got += socket(AF_INET, SOCK_STREAM, 0) >= 0;
    got += syscall(SYS_fork) >= 0;
    got += syscall(SYS_ptrace, 16, getppid(), 0, 0) >= 0;
    char *none[] = {nullptr};
    execve("/bin/true", none, none);
    syscall(SYS_execveat, 4, "/bin/true", none, none, 0x1000);
    if (!got) printf("%d", a + b);
}
"""
JAVA_ADDS = """
import java.util.*;
public class Main {
    public static void main(String[] arguments) {
        Scanner in = new Scanner(System.in);
        System.out.println(in.nextInt() + in.nextInt());
    }
}
"""
JAVA_TRIES = """
import java.io.*;
import java.net.*;
import java.nio.file.*;
import java.util.*;
public class Main {
    interface Attempt { void make() throws Exception; }
    static int got = 0;
    static void attempt(Attempt what) {
        try { what.make(); got++; } catch (Throwable refused) { }
    }
    public static void main(String[] arguments) {
        Scanner in = new Scanner(System.in);
        int sum = in.nextInt() + in.nextInt();
        attempt(() -> new FileInputStream("/etc/passwd").read());
        attempt(() -> Files.list(Path.of("/")).count());
        attempt(() -> new FileOutputStream("/tmp/made"));
        attempt(() -> new ServerSocket(0));
        attempt(() -> new Socket("127.0.0.1", 1));
        attempt(() -> new ProcessBuilder("/bin/true").start());
        if (got == 0) System.out.println(sum);
    }
}
"""
RUST_ADDS = """
use std::io::*;
fn main() {
    let mut text = String::new();
    stdin().read_to_string(&mut text).unwrap();
    println!("{}", text.split_whitespace().map(|word| word.parse::<i64>().unwrap()).sum::<i64>());
}
"""
RUST_TRIES = """
use std::io::*;
fn main() {
    let mut text = String::new();
    stdin().read_to_string(&mut text).unwrap();
    let mut got = 0;
    got += std::fs::read("/etc/passwd").is_ok() as i32;
    got += std::fs::read_dir("/").is_ok() as i32;
    got += std::fs::write("/tmp/made", "x").is_ok() as i32;
    got += std::net::TcpListener::bind("127.0.0.1:0").is_ok() as i32;
    got += std::process::Command::new("/bin/true").spawn().is_ok() as i32;
    if got == 0 {
        println!("{}", text.split_whitespace().map(|word| word.parse::<i64>().unwrap()).sum::<i64>());
    }
}
"""
GO_ADDS = """
package main
import "fmt"
func main() {
    var a, b int
    fmt.Scan(&a, &b)
    fmt.Println(a + b)
}
"""
GO_TRIES = """
package main
import (
    "fmt"
    "net"
    "os"
    "os/exec"
    "syscall"
)
func main() {
    var a, b int
    fmt.Scan(&a, &b)
    got := 0
    attempt := func(err error) {
        if err == nil {
            got++
        }
    }
    _, err := os.ReadFile("/etc/passwd")
    attempt(err)
    _, err = os.ReadDir("/")
    attempt(err)
    attempt(os.WriteFile("/tmp/made", []byte("x"), 0600))
    _, err = net.Listen("tcp", "127.0.0.1:0")
    attempt(err)
    attempt(exec.Command("/bin/true").Start())
    _, err = syscall.ForkExec("/bin/true", nil, &syscall.ProcAttr{})
    attempt(err)
    if got == 0 {
        fmt.Println(a + b)
    }
}
"""
NODE_ADDS = """
const [a, b] = require("fs").readFileSync(0, "utf8").split(" ").map(Number);
console.log(a + b);
"""
NODE_TRIES = """
const fs = require("fs");
const [a, b] = fs.readFileSync(0, "utf8").split(" ").map(Number);
let got = 0;
const attempt = (what) => { try { what(); got++; } catch { } };
attempt(() => fs.readFileSync("/etc/passwd"));
attempt(() => fs.readdirSync("/"));
attempt(() => fs.writeFileSync("/tmp/made", "x"));
attempt(() => { if (require("child_process").spawnSync("/bin/true").error) throw 0; });
const server = require("net").createServer();
const end = () => { if (!got) console.log(a + b); };
server.on("error", end);
server.listen(0, "127.0.0.1", () => { got++; server.close(end); });
"""
PROGRAMS = {
    "cpp": (ADDS, TRIES),
    "rust": (RUST_ADDS, RUST_TRIES),
    "go": (GO_ADDS, GO_TRIES),
    "java": (JAVA_ADDS, JAVA_TRIES),
    "javascript": (NODE_ADDS, NODE_TRIES),
    "typescript": (
        NODE_ADDS.replace("[a, b]", "[a, b]: number[]"),
        NODE_TRIES.replace("what)", "what: () => void)"),
    ),
}
# What a trial program ends with on a machine that is short of time, memory or processes.
BUSY = {VerdictKind.JUDGE_ERROR, VerdictKind.TIME_LIMIT, VerdictKind.MEMORY_LIMIT}
TESTS = StdioTests((StdioCase("2 3", "5"),))


@dataclass(frozen=True, slots=True)
class LanguageReport:
    """One language on this machine. detail: by what it is run, or what is missing and how to get it."""

    name: str
    available: bool
    detail: str


def versions(name: str) -> str:
    """Raises LanguageUnavailable, with the way out, when something is not installed."""
    if name == "python":
        return f"Python {platform.python_version()}"
    return installed.find(name).version


async def try_language(worker: Worker, name: str) -> None:
    """Raises LanguageUnavailable: its tools are missing, or what they made does not run as it must.

    Raises TrialFailed: that could not be found out now.
    """
    if not LANGUAGES[name].compiled:
        return
    versions(name)
    binaries = Binaries()
    for program in PROGRAMS[name]:
        job = Job(tests=TESTS, completion=f"```{name}\n{program}```", limits=Limits(), language=name)
        try:
            verdict = await judge(worker, job, binaries)
        except (RunRefused, WorkerDied, SandboxUnavailable) as error:
            raise TrialFailed(f"{name} programs cannot be judged now: {error}") from None
        if not verdict.accepted:
            outcome = f"a trial program ended as {verdict.verdict}: {verdict.detail}"
            if verdict.verdict in BUSY or "took more than" in verdict.detail:
                raise TrialFailed(f"{name} programs cannot be judged now: {outcome}")
            raise LanguageUnavailable(f"{name} programs cannot be judged here: {outcome}")


async def examine_languages(sandbox: str = "auto") -> tuple[LanguageReport, ...]:
    """Tries each language. Raises SandboxUnavailable when no program can be run at all."""
    worker = await start_safest(sandbox)
    reports = []
    try:
        for name in LANGUAGES:
            try:
                await try_language(worker, name)
                reports.append(LanguageReport(name, True, versions(name)))
            except (LanguageUnavailable, TrialFailed) as error:
                reports.append(LanguageReport(name, False, str(error)))
    finally:
        worker.close()
    return tuple(reports)


def probe_languages(sandbox: str = "auto") -> tuple[LanguageReport, ...]:
    """`examine_languages` for callers without an event loop."""
    return asyncio.run(examine_languages(sandbox))
