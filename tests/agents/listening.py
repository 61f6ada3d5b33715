"""Records what an agent sends: a pass-through proxy on loopback that logs every request and its status.

Bytes pass unchanged in both directions, streams included.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

_PATIENCE_S = 300
# They belong to one connection, not to what is carried over it.
_PER_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


@dataclass(frozen=True, slots=True)
class Heard:
    """One request. status: None until, and unless, a response has begun."""

    method: str
    path: str
    body: bytes
    status: int | None = None

    @property
    def summary(self) -> str:
        """A summary: method, path, status, size, and what matters of a request to a model."""
        try:
            payload = json.loads(self.body)
        except ValueError:
            payload = None
        words = [f"{self.method} {self.path}", f"{self.status or 'no answer'}"]
        if isinstance(payload, dict):
            words.append(f"{len(self.body) / 1000:.1f} kB")
            words += [f"{len(tools)} tools" for tools in [payload.get("tools")] if tools]
            words += ["streamed" for streamed in [payload.get("stream")] if streamed]
        return " · ".join(words)


@dataclass
class Listener:
    """root: the URL that agents use. heard: all requests since it was last cleared, in the order of their responses."""

    root: str
    heard: list[Heard] = field(default_factory=list)


@contextmanager
def listener(behind: str) -> Iterator[Listener]:
    """Listens between agents and the server at `behind`, and yields what it records."""
    proxy = Listener("")
    with httpx.Client(base_url=behind, timeout=_PATIENCE_S, trust_env=False) as client:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = [(k, v) for k, v in self.headers.items() if k.lower() not in _PER_HOP]
                status = None
                try:
                    with client.stream(self.command, self.path, content=body, headers=headers) as answer:
                        status = answer.status_code
                        self._answer(answer)
                except (OSError, httpx.HTTPError):
                    self.close_connection = True
                finally:
                    proxy.heard.append(Heard(self.command, self.path, body, status))

            def _answer(self, answer: httpx.Response) -> None:
                self.send_response(answer.status_code)
                for name, value in answer.headers.multi_items():
                    if name.lower() not in _PER_HOP:
                        self.send_header(name, value)
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                for chunk in answer.iter_raw():
                    self.wfile.write(chunk)
                    self.wfile.flush()

            do_GET = do_POST = do_HEAD = _pass  # noqa: N815 - the names that http.server looks up

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            proxy.root = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield proxy
            finally:
                server.shutdown()
