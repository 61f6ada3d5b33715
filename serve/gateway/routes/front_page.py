"""The page at `/`: static files that come with the package, and examples to start from.

No build step and no request to anywhere else: the page's own policy forbids both to whatever might slip in.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from alpharay.serve.config import Config
from alpharay.serve.errors import RequestError
from alpharay.serve.frontiers import EMBEDDED, embedded_config

_TYPES = {
    "index.html": "text/html",
    "page.css": "text/css",
    "board.js": "text/javascript",
    "frontier.js": "text/javascript",
    "main.js": "text/javascript",
    "stream.js": "text/javascript",
    "verdicts.js": "text/javascript",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# What fits into the form's fields and is worth looking at.
_EXAMPLE_CHARS = 700


def add_routes(app: FastAPI, config: Config) -> None:
    """Serves the page at `/` and its parts under `/page/`."""
    folder = importlib.resources.files("alpharay.serve.gateway") / "page"
    files = {name: ((folder / name).read_bytes(), kind) for name, kind in _TYPES.items()}
    files["examples.json"] = (json.dumps(examples(config)).encode(), "application/json")

    def answer(name: str, http: Request) -> Response:
        content, kind = files[name]
        tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        headers = {**_HEADERS, "ETag": tag}
        if http.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=f"{kind}; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def page(http: Request) -> Response:
        return answer("index.html", http)

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str, http: Request) -> Response:
        if name not in files or name == "index.html":
            raise RequestError(404, f"there is no {name[:100]!r} here")
        return answer(name, http)


def examples(config: Config) -> list[dict[str, Any]]:
    """Problems that are short enough to read, the shortest of each family."""
    problems = [json.loads(line) for line in _problems(config).read_text("utf-8").splitlines()]
    by_family: dict[str, dict[str, Any]] = {}
    for problem in sorted(problems, key=_lines):
        if len(json.dumps(problem["tests"])) <= _EXAMPLE_CHARS:
            by_family.setdefault(problem.get("family") or problem["id"], _example(problem))
    return list(by_family.values())


def _problems(config: Config) -> Path:
    """Of the embedded frontier whose checkpoints the configuration has; of the default one where it has others."""
    checkpoints = config.named_checkpoints.values()
    folders = {(value if isinstance(value, Path) else value.adapter).parent for value in checkpoints}
    own = (file for file in map(embedded_config, EMBEDDED) if file.parent in folders)
    return next(own, embedded_config()).with_name("problems.jsonl")


def _lines(problem: dict[str, Any]) -> int:
    return max(str(case["input"]).count("\n") for case in problem["tests"]["cases"])


def _example(problem: dict[str, Any]) -> dict[str, Any]:
    title = problem["prompt"].partition("\n")[0]
    return {
        "id": problem["id"],
        "title": title if len(title) <= 90 else title[:87] + "…",
        "prompt": problem["prompt"],
        "tests": problem["tests"],
    }
