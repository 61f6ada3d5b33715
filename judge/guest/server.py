"""The fork server: a small warm interpreter that forks sandboxed children for each run and reports how they ended.

It reads no program, no input and no output: those come as sealed memory files that go straight to a child.
What it adds is what only a parent inside the sandbox can know: a child's own CPU time, peak memory and end.

One message per run over the socket on descriptor 0 (JSON, descriptors attached), one message back.
"""

import ctypes
import fcntl
import functools
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from alpharay.judge.guest import candidate, furnish
from alpharay.judge.guest.child import ChildTasks
from alpharay.judge.guest.native import Tools
from alpharay.judge.guest.run import CompiledProgramCache, Run, runs
from alpharay.judge.guest.sandbox import (
    PR_SET_PDEATHSIG,
    Sandbox,
    SandboxPolicy,
    binary_policy,
    forking_policy,
    interpreter_policy,
    runtime_policy,
    tool_policy,
    unwatched,
    workspace_policy,
)
from alpharay.judge.guest.scratch import OWN, Scratch
from alpharay.judge.guest.watch import TOO_LARGE
from alpharay.judge.guest.zygote import MESSAGE_BYTES, Zygote, serve_forks

# Imported for the candidates: every child then has them at no cost of its own. But each makes every fork dearer, so what
# few programs use is there only for those that import it.
USUAL = (
    "abc ast bisect collections collections.abc contextlib copy enum functools heapq io itertools json math operator random "
    "re string threading time traceback types typing"
)
# By these, numerical libraries are configured to start one thread.
ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
MOST_FILES = 250  # the kernel's own bound is 253
SETTINGS_BYTES = 1 << 18
CHILDS = 8  # descriptors below are a child's


class _Forked(BaseException):
    """Raised in a new zygote: what it is to do once the server's own frames are gone from its stack."""

    def __init__(self, channel: socket.socket, child_tasks: ChildTasks) -> None:
        super().__init__()
        self.channel = channel
        self.run_child = child_tasks.run


def main() -> None:
    """Serves until the socket is closed by the other side.

    The first message holds the settings. The arguments after the folder of this file: where compilers work; the
    throw-away user that programs become, none: who we are.
    """
    try:
        _serve(*sys.argv[2:])
    except _Forked as forked:
        channel, run_child = forked.channel, forked.run_child
    else:
        return
    # A candidate runs on top of this frame, and may inspect those below: the server's settings stood in frames that have ended.
    candidate.hide_ours()
    candidate.settle_in()
    serve_forks(channel, run_child)


def _serve(scratch: str, uid: str = "") -> None:
    control = socket.socket(fileno=fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, CHILDS))
    settings = json.loads(control.recv(SETTINGS_BYTES))
    # The server's own descriptors lie above: a child's are put on these numbers.
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(CHILDS):
        os.dup2(nothing, descriptor)
    _forget_ignored_signals()
    for module in USUAL.split():
        __import__(module)
    folder = Scratch(scratch)
    policies, tools = _policies(settings, folder)
    sandbox = Sandbox(
        policies, uid=int(uid) if uid else None, keep=settings["keep"], threads=settings["threads"]
    )
    more_modules, packages, preloaded = (settings[key] for key in ("more_modules", "packages", "preloaded"))
    del settings
    os.environ.clear()
    os.environ.update(candidate.ENVIRONMENT)
    if packages:
        sys.path.append(packages)
        # Of one core, as all that is judged: threads would not outlive the fork to a candidate.
        os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    candidate.prepare()
    child_tasks, cache = ChildTasks(sandbox), CompiledProgramCache()
    child_tasks.rehearse(nothing)
    furnish.prepare()
    candidate.settle()
    usual = _zygote(child_tasks, control)
    for module in more_modules:
        __import__(module)
    from alpharay.judge.guest.code_tests import apart, together

    child_tasks.apart, child_tasks.together = apart, together
    apart.rehearse()
    furnish.prepare(more=True)
    candidate.settle()
    more = _zygote(child_tasks, control, usual)
    most = more
    if preloaded:
        for module in preloaded:
            importlib.import_module(module)
        candidate.settle()
        most = _zygote(child_tasks, control, usual, more)
    control.send(json.dumps({"ready": os.getpid()}).encode())
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, MOST_FILES)
        if not message:
            return
        if message.startswith(TOO_LARGE):
            continue  # of a run that has ended meanwhile
        order = json.loads(message)
        if "drop" in order:
            cache.clear()
            folder.clean()  # of a compilation that ended between two steps
        if "run" not in order:
            continue  # a kill that came after the end of its run
        zygote = most if order["preloaded"] else more if order["more_modules"] else usual
        run = functools.partial(Run, zygote=zygote, cache=cache, tools=tools, scratch=folder, control=control)
        reports = list(runs(order, descriptors, run))
        for descriptor in descriptors:
            os.close(descriptor)
        control.send(json.dumps({"run": order["run"], "runs": reports}).encode())


def _forget_ignored_signals() -> None:
    """What ignores signals where we are started (`nohup`, a shell's `&`) is no business of a program's."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            default = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)


def _zygote(child_tasks: ChildTasks, *ours_alone: socket.socket | Zygote) -> Zygote:
    """Starts the process from which all children come: a copy of this one as it is now, that ends with it.

    ours_alone: what it closes first.
    """
    own_end, zygote_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        for each in (own_end, *ours_alone):
            each.close()
        raise _Forked(zygote_end, child_tasks)
    zygote_end.close()
    return Zygote(own_end)


def _policies(settings: dict[str, Any], scratch: Scratch) -> tuple[dict[str, SandboxPolicy], Tools | None]:
    """By kind of child; compiled programs and compilers only where this machine has some."""
    python = interpreter_policy(settings["read"], settings["devices"][:1])
    checking = interpreter_policy(settings["read"], settings["devices"][:1], scratch.path)
    interacting = forking_policy(unwatched(checking))
    policy = {
        "python": python,
        "compile": forking_policy(python),
        "compile checker": forking_policy(checking),
        "compile interactor": interacting,
        "tests": unwatched(python),
        "workspace": workspace_policy(
            settings["read"], settings["devices"][:1], scratch.path, own=scratch.path == OWN
        ),
    }
    if not settings["languages"]:
        return policy, None
    policy["binary"] = binary_policy(settings["devices"])
    policy["binary checker"] = binary_policy(settings["devices"], scratch.path)
    policy["binary interactor"] = unwatched(policy["binary checker"])
    devices, loaders = settings["devices"], settings["loaders"]
    for name, language in settings["languages"].items():
        programs = [*loaders, *{tool["path"] for tool in language["tools"].values()}]
        # Endless files are not for compilers, which read to the end.
        policy[f"tool {name}"] = tool_policy(
            [*language["read"], devices[0]],
            programs,
            scratch.path,
            folders=language["folders"],
            reserves=language["reserves"],
            keep=language["keep"],
        )
        runtime = language["runtime"]
        if runtime:
            read = [*runtime["read"], scratch.programs]
            policy[f"run {name}"] = runtime_policy(
                read, devices, [*loaders, runtime["path"]], keep=language["keep"]
            )
    return policy, Tools(settings["languages"])
