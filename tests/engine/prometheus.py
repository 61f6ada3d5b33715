"""Debian's Prometheus, run for a test."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from .conftest import _wait_until

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="needs Debian's package prometheus"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running_prometheus(config: Path) -> Iterator[str]:
    """The address of one that has read that configuration and is ready to be asked; it ends with the block."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={config.parent / 'tsdb'}",
            f"--web.listen-address={address}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        # It listens, and answers 503, before it is ready.
        _wait_until(
            lambda: process.poll() is not None or ready(f"http://{address}"), "a Prometheus that is ready"
        )
        assert process.poll() is None, f"Prometheus ended by itself, with {process.returncode}"
        yield f"http://{address}"
    finally:
        process.terminate()
        try:
            process.wait(20)
        finally:
            process.kill()


def ready(prometheus: str) -> bool:
    try:
        return httpx.get(f"{prometheus}/-/ready", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def results(prometheus: str, query: str) -> list[dict]:
    """What an instant query returns, one entry for each series."""
    try:
        reply = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=30)
    except httpx.HTTPError:  # a starved machine; who waits for data asks again
        return []
    body = reply.json()
    assert body["status"] == "success", body
    return body["data"]["result"]
