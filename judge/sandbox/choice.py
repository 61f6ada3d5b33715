"""Which layer to use: the strongest that starts and passes its self-test, or none."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from alpharay.judge.errors import RunRefused, SandboxUnavailable, WorkerDied
from alpharay.judge.sandbox import layer as layers
from alpharay.judge.sandbox.packages import Packages, find
from alpharay.judge.sandbox.selftest import misjudged
from alpharay.judge.sandbox.worker import Worker


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer on this machine, for `alpharay doctor`. reason: how it works here, or why it does not."""

    name: str
    available: bool
    reason: str


async def start_layer(name: str, packages: Packages | None = None) -> Worker:
    """A worker in the named layer, self-test passed. Raises SandboxUnavailable."""
    reasons = []
    for candidate in layers.candidates(name, packages):
        worker = Worker(candidate)
        try:
            await worker.start()
            failed = await misjudged(worker)
        except (RunRefused, SandboxUnavailable, WorkerDied) as error:
            reasons.append(f"{candidate.variant}: {error}")
        except BaseException:
            worker.close()
            raise
        else:
            if not failed:
                return worker
            reasons.append(f"{candidate.variant}: its self-test failed: {'; '.join(failed)}")
        worker.close()
    raise SandboxUnavailable("; ".join(reasons))


async def start_safest(sandbox: str, environment: Path | None = None) -> Worker:
    """A worker in the named layer, or for `auto` in the strongest there is.

    environment: the virtual environment whose packages Python programs may import. Raises SandboxUnavailable: programs are then not run at all.
    """
    if sandbox not in ("auto", *layers.NAMES):
        known = ", ".join(("auto", *layers.NAMES))
        raise SandboxUnavailable(f"judge.sandbox must be one of {known}, got {sandbox!r}")
    packages = find(environment) if environment is not None else None
    reasons = []
    for name in layers.NAMES if sandbox == "auto" else (sandbox,):
        try:
            return await start_layer(name, packages)
        except SandboxUnavailable as error:
            reasons.append(f"{name} ({error})")
    raise SandboxUnavailable(
        f"no safe sandbox on this machine, so no program is run: {', '.join(reasons)}; "
        "allow user namespaces (kernel.unprivileged_userns_clone=1, in containers a seccomp profile that permits "
        "them), or use a kernel of 5.13 or newer with Landlock enabled (lsm=landlock)"
    )


async def examine() -> tuple[LayerReport, ...]:
    """Tries every layer. Takes about a second."""
    reports = []
    for name in layers.NAMES:
        try:
            worker = await start_layer(name)
        except SandboxUnavailable as error:
            reports.append(LayerReport(name, False, str(error)))
        else:
            reports.append(LayerReport(name, True, worker.layer.variant))
            worker.close()
    return tuple(reports)


def probe() -> tuple[LayerReport, ...]:
    """`examine` for callers without an event loop."""
    return asyncio.run(examine())
