"""Headless Chromium over its own DevTools protocol: just what the page's tests need, without a driver."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]
_PATIENCE_S = 60


class Tab:
    """One tab. events: everything that the browser told unasked, such as requests and console messages."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if told.get("id") == self._number:
                assert "error" not in told, told
                return told["result"]
            self.events.append(told)

    def open(self, url: str) -> None:
        self.call("Page.enable")
        self.call("Network.enable")
        self.call("Runtime.enable")
        self.call("Log.enable")
        self.call("Page.navigate", url=url)
        self.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def forget(self) -> None:
        """Leaves the page for an empty one; nothing of it is told from now on."""
        self.call("Page.navigate", url="about:blank")
        self.wait("location.href === 'about:blank' && document.readyState === 'complete'")
        self.call("Log.clear")
        self.events.clear()

    def js(self, expression: str) -> Any:
        """The value of an expression; a promise's is awaited."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, condition: str, seconds: float = _PATIENCE_S) -> None:
        deadline = time.monotonic() + seconds
        while not self.js(condition):
            assert time.monotonic() < deadline, f"not within {seconds} s: {condition}"
            time.sleep(0.05)  # between two looks at another process's state

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def key(self, name: str, code: int, *, shift: bool = False, text: str = "") -> None:
        more = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code,
                modifiers=8 if shift else 0, **(more if kind == "keyDown" else {}),
            )  # fmt: skip

    def look(self, *, width: int, height: int, dark: bool = False) -> None:
        """The size of the window, and whether the reader likes it dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScrollbarsHidden", hidden=True)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def requested(self) -> list[str]:
        """Every address that the tab has asked for."""
        self.js("0")  # brings the events up to now
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """What the console holds of errors and warnings."""
        self.js("0")
        found = [one["params"] for one in self.events if one["method"] == "Runtime.exceptionThrown"]
        entries = [one["params"]["entry"] for one in self.events if one["method"] == "Log.entryAdded"]
        return [str(one) for one in found] + [
            one["text"] for one in entries if one["level"] in {"error", "warning"}
        ]


@contextmanager
def tab(folder: Path) -> Iterator[Tab]:
    """A browser with a fresh profile in that folder, and its one tab."""
    assert CHROMIUM is not None
    profile = folder / "profile"
    with (folder / "chromium.log").open("w") as log:
        process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
    try:
        port_file = profile / "DevToolsActivePort"
        deadline = time.monotonic() + _PATIENCE_S
        while not (port_file.exists() and port_file.read_text().count("\n")):
            told = (folder / "chromium.log").read_text()
            assert process.poll() is None, told
            assert time.monotonic() < deadline, told
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        targets = httpx.get(f"http://127.0.0.1:{port}/json", timeout=30, trust_env=False).json()
        (address,) = [one["webSocketDebuggerUrl"] for one in targets if one["type"] == "page"]
        with connect(address, max_size=None, proxy=None) as socket:
            yield Tab(socket)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
