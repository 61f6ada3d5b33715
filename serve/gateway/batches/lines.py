"""A batch's input: a JSON object a line, each a request with an id of the caller's."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpharay.serve.spelling import did_you_mean, shown

Json = dict[str, Any]

_MOST_ERRORS = 100
_MOST_ID = 512
# Of a line that shares its batch's budget: how the rest of it is decided is the batch's to say.
_OF_ONE = frozenset({"tests", "time_limit_s", "memory_limit_mb", "language"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """number: in its file, from 1. body: the request. size: bytes."""

    number: int
    custom_id: str
    body: Json
    size: int


class InputLines:
    """The requests of a checked file, by their place among them. Blocking; threads may share it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._lines = [(number, offset, len(line)) for number, offset, line in _lines(path)]

    def __len__(self) -> int:
        return len(self._lines)

    def read(self, index: int) -> Line:
        number, offset, size = self._lines[index]
        request = json.loads(os.pread(self._file.fileno(), size, offset))
        return Line(number=number, custom_id=request["custom_id"], body=request["body"], size=size)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What every line must be. most: lines. most_bytes: of one. model: the only one, where a budget is shared; else None."""

    endpoint: str
    most: int
    most_bytes: float
    model: str | None = None


def check(path: Path, wanted: Wanted) -> tuple[int, list[Json]]:
    """How many requests there are, and OpenAI's objects of what is wrong with the file. Blocking."""
    errors: list[Json] = []
    seen: set[str] = set()
    count = 0
    for number, _, raw in _lines(path):
        count += 1
        if count > wanted.most:
            message = f"the file has more than {wanted.most} requests; split it, or raise server.batches.max_requests"
            return count, [_error("too_many_requests", message, number)]
        try:
            _check_line(raw, wanted, seen)
        except _Bad as bad:
            errors.append(_error(bad.code, f"line {number}: {bad}", number, bad.param))
            if len(errors) == _MOST_ERRORS:
                return count, errors
    if not count:
        errors.append(_error("empty_file", "the file has no requests"))
    return count, errors


class _Bad(Exception):
    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


def _check_line(raw: bytes, wanted: Wanted, seen: set[str]) -> None:
    if len(raw) > wanted.most_bytes:
        raise _Bad(
            "line_too_large", f"it is larger than {wanted.most_bytes / 1e6:g} MB; see server.max_request_mb"
        )
    try:
        line = json.loads(raw)
    except RecursionError:
        raise _Bad("invalid_json_line", "its JSON is nested too deeply") from None
    except ValueError as error:
        raise _Bad("invalid_json_line", f"it is not JSON: {error}") from None
    if not isinstance(line, dict):
        raise _Bad("invalid_json_line", "it must be a JSON object")
    name = line.get("custom_id")
    if not (isinstance(name, str) and 0 < len(name) <= _MOST_ID):
        raise _Bad(
            "invalid_custom_id", f"`custom_id` must be a string of 1 to {_MOST_ID} characters", "custom_id"
        )
    if name in seen:
        raise _Bad("duplicate_custom_id", f"the custom_id {shown(name)} is there already", "custom_id")
    seen.add(name)
    if line.get("method") != "POST":
        raise _Bad("invalid_method", f"`method` must be POST, got {shown(line.get('method'))}", "method")
    if line.get("url") != wanted.endpoint:
        raise _Bad(
            "invalid_url",
            f"`url` must be the batch's endpoint, {wanted.endpoint}, got {shown(line.get('url'))}",
            "url",
        )
    body = line.get("body")
    if not isinstance(body, dict):
        raise _Bad("invalid_body", "`body` must be an object, the request", "body")
    if body.get("stream"):
        raise _Bad("invalid_body", "a batch's requests are not streamed; leave `stream` out", "body.stream")
    if wanted.model is not None:
        _check_shares(body, wanted.model)


def _check_shares(body: Json, model: str) -> None:
    """Whether the batch's budget can be spent on it, sample by sample, until one passes."""
    if body.get("model", model) != model:
        message = f"requests that share a budget ask the model {model!r}, got {shown(body['model'])}"
        raise _Bad("invalid_body", message, "body.model")
    own = body.get("alpharay")
    if not isinstance(own, dict) or not isinstance(own.get("tests"), dict):
        raise _Bad(
            "invalid_body", "a request that shares a budget needs `alpharay.tests`", "body.alpharay.tests"
        )
    for name in own:
        if name not in _OF_ONE:
            message = f"`alpharay.{name[:100]}` is not a request's own where the batch shares a budget"
            raise _Bad("invalid_body", message + did_you_mean(name, _OF_ONE), f"body.alpharay.{name[:100]}")
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise _Bad("invalid_body", f"`{name}` must be left out where a budget is shared", f"body.{name}")
    if body.get("temperature") == 0:
        message = "at temperature 0 every sample of a member is the same; no budget can be spent on it"
        raise _Bad("invalid_body", message, "body.temperature")


def _lines(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """(number, offset, bytes) of each line that is not blank."""
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, offset, line
            offset += len(line)


def _error(code: str, message: str, line: int | None = None, param: str | None = None) -> Json:
    return {"code": code, "message": message, "line": line, "param": param}
