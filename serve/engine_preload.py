"""Imported once by the fork server from which engine processes are forked: see engine.py.

Importing vLLM costs about 20 seconds of CPU a process; forked processes inherit it.
"""

from __future__ import annotations

import ctypes
import os
import signal

import vllm.model_executor.models.llama
import vllm.v1.engine.core
import vllm.v1.executor.uniproc_executor
import vllm.v1.worker.gpu_worker  # noqa: F401

_FORK_SERVER = os.getpid()
_PR_SET_PDEATHSIG = 1


def _die_with_the_fork_server() -> None:
    """An engine must not outlive the replica that asked for it, however that ended.

    The fork server ends when its replica does (their pipe closes), and takes its children along.
    """
    if os.getppid() == _FORK_SERVER:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


os.register_at_fork(after_in_child=_die_with_the_fork_server)
