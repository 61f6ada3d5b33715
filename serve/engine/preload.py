"""Imported once by the fork server from which engine processes are forked: see vllm_engine.py.

Importing vLLM costs 10 to 30 seconds of CPU a process; forked processes inherit it.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import logging
import os
import signal
import sys

from alpharay.serve.environment import ENGINE_NICENESS

_FORK_SERVER = os.getpid()
_PR_SET_PDEATHSIG = 1
_CUDA_ERROR_NOT_INITIALIZED = 3
_INHERITED = (
    "vllm.model_executor.models.llama",
    "vllm.v1.engine.core",
    "vllm.v1.executor.uniproc_executor",
    "vllm.v1.worker.gpu_worker",
)
# What a CPU engine imports beside. On GPUs the like is left to the engines: it might touch CUDA at import.
_INHERITED_ON_CPU = (
    "alpharay.merge.engine.loader",
    "vllm.model_executor.layers.quantization.online.base",
    "vllm.plugins.lora_resolvers.filesystem_resolver",
    "vllm.plugins.lora_resolvers.hf_hub_resolver",
    "vllm.utils.cpu_triton_utils",
    "vllm.v1.attention.backends.cpu_attn",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.spec_decode.utils",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.v1.worker.cpu_worker",
)


def _die_with_the_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _die_with_the_fork_server() -> None:
    if os.getppid() == _FORK_SERVER:
        _die_with_the_parent()


# An engine must not outlive the replica that asked for it, however that ended. The fork server alone would: it ends
# when nobody holds the other end of its pipe any more, and Python gives that end to every process it forks.
_die_with_the_parent()
os.register_at_fork(after_in_child=_die_with_the_fork_server)


def _stay_off_the_gpu() -> None:
    """Ends this process where CUDA is up in it: no process forked from it could use a GPU."""
    if importlib.import_module("torch").cuda.is_initialized():
        raise SystemExit(
            "error: CUDA was initialised in the fork server, from which engines are forked, and does not survive a fork: "
            "a module or vLLM plug-in that it imports uses the GPU at import; uninstall it, or leave it out by VLLM_PLUGINS"
        )


def _tell_of_the_driver() -> None:
    """Warns where the driver is up in this process although PyTorch did not initialise it: a library did.

    A warning only: whether a fork survives it depends on the driver, and none was at hand to try it.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    except OSError:  # it is not loaded
        return
    if driver.cuCtxGetCurrent(ctypes.byref(ctypes.c_void_p())) != _CUDA_ERROR_NOT_INITIALIZED:
        sys.stderr.write(
            "warning: CUDA's driver was initialised in the fork server, from which engines are forked, by a library and not "
            "by PyTorch; if engines end with CUDA_ERROR_NOT_INITIALIZED, uninstall vLLM plug-ins that use the GPU at import, "
            "or leave them out by VLLM_PLUGINS\n"
        )


on_cpu = importlib.import_module("vllm.platforms").current_platform.is_cpu()
for name in _INHERITED + (_INHERITED_ON_CPU if on_cpu else ()):
    importlib.import_module(name)
# vLLM warns of every scheduler that is not its own, as if it were slower.
logging.getLogger("vllm.config.scheduler").addFilter(lambda record: "alpharay." not in record.getMessage())
_stay_off_the_gpu()
_tell_of_the_driver()
# Garbage collection in an engine would walk all that it inherits, and so copy its pages.
gc.collect()
gc.freeze()

if on_cpu:
    os.nice(ENGINE_NICENESS)
