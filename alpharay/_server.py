"""A server for the length of a `with` block: notebooks and tests."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from alpharay.serve.errors import ConfigError, StartFailed
from alpharay.serve.frontiers import embedded_config


class Server:
    """`alpharay serve` in a process of its own, stopped at the end of the block.

    ::

        with alpharay.Server("frontier.yaml") as server:
            client = openai.OpenAI(base_url=server.url, api_key="-")

    config: a path, the configuration itself as a mapping, or None for the embedded frontier. Relative paths in
    a mapping count from the working directory. embedded: which of the embedded frontiers, "contest" or "parts",
    instead of a configuration. port: 0 takes a free one. start_timeout_s: wall seconds until the first request must
    be answerable. log: where its messages go; None keeps them in a temporary file.

    url: the base URL for OpenAI clients, once started (`http://127.0.0.1:PORT/v1`).
    Raises ConfigError: there is no such embedded frontier. Raises StartFailed, with the server's own error, when it does
    not come up.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | None = None,
        *,
        embedded: str | None = None,
        port: int = 0,
        start_timeout_s: float = 600,
        log: str | Path | None = None,
    ) -> None:
        if config is not None and embedded is not None:
            raise ConfigError("config and embedded are two frontiers; name one of them")
        self._config = config if embedded is None else embedded_config(embedded)
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._log = None if log is None else Path(log)
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.url = ""

    def start(self) -> Self:
        """Returns once the first request will be answered."""
        if self._process is not None:
            raise StartFailed("this server is running already; stop() it first")
        self._folder = tempfile.TemporaryDirectory(prefix="alpharay-server-")
        log = self._log or Path(self._folder.name) / "server.log"
        command = [sys.executable, "-m", "alpharay.serve.cli.main", "serve", *self._config_argument()]
        with log.open("a", encoding="utf-8") as messages:
            self._process = subprocess.Popen(
                [*command, "--port", str(self._port)], stdout=subprocess.PIPE, stderr=messages, text=True
            )
        try:
            self.url = self._ready().removeprefix("ready ").strip()
        except _NotReady as error:
            message = f"the server did not start: {error}{_last_error(log)}"
            self.stop()
            raise StartFailed(message) from None
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Lets requests under way end (`server.drain_s`), then stops every process of the server. Idempotent."""
        process, self._process, self.url = self._process, None, ""
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def _config_argument(self) -> list[str]:
        if self._config is None:
            return []
        if not isinstance(self._config, Mapping):
            return [os.fspath(self._config)]
        assert self._folder is not None
        # Beside nothing: paths within a configuration file count from its folder.
        path = Path(self._folder.name) / "config.yaml"
        path.write_text(yaml.safe_dump(_absolute(dict(self._config)), sort_keys=False), encoding="utf-8")
        return [str(path)]

    def _ready(self) -> str:
        assert self._process is not None
        lines: queue.Queue[str] = queue.Queue()
        stream = self._process.stdout
        assert stream is not None

        def read() -> None:
            for line in stream:
                lines.put(line)
            lines.put("")

        threading.Thread(target=read, name="alpharay-server-output", daemon=True).start()
        until = time.monotonic() + self._start_timeout_s
        while True:
            try:
                line = lines.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise _NotReady(
                    f"not ready after {self._start_timeout_s:g} s; raise start_timeout_s"
                ) from None
            if not line:
                raise _NotReady(f"its process ended with exit code {self._process.wait()}")
            if line.startswith("ready "):
                return line

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _NotReady(Exception):
    pass


def _last_error(log: Path) -> str:
    """The server's own error message, if it printed one."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return f" ({errors[-1].removeprefix('error: ')})" if errors else ""


_PATHS = {
    "endpoints": None,
    "adapters": None,
    "checkpoints": None,
    "router": "portfolio",
    "server": "api_keys_file",
}


def _absolute(config: dict[str, Any]) -> dict[str, Any]:
    """Resolves its paths against the caller's working directory. The server itself reports errors in it."""
    for section, only in _PATHS.items():
        if isinstance(config.get(section), Mapping):
            config[section] = {
                name: str(Path(value).absolute())
                if only in (None, name) and isinstance(value, str | Path)
                else value
                for name, value in config[section].items()
            }
    if isinstance(checkpoints := config.get("checkpoints"), Mapping):
        config["checkpoints"] = {
            name: {**value, "adapter": str(Path(value["adapter"]).absolute())}
            if isinstance(value, Mapping) and isinstance(value.get("adapter"), str | Path)
            else value
            for name, value in checkpoints.items()
        }
    return config
