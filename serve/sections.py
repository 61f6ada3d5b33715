"""The sections of a configuration that the judge's door needs without the rest: it starts in seconds."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Judge(Section):
    """Where programs run. Limits are per test case.

    workers: candidates that each replica judges at the same time; `auto` is one a core of its node.
    replicas: each on a node of its own. max_queued: candidates that may wait at each.
    verdict_detail: `full`, or `outcome`: nothing but the verdict leaves the server. Models that are trained on a judge's
        answers learn to probe one that shows more.
    packages: a virtual environment, on each node that judges, whose packages Python programs may import; relative paths
        count from the configuration file. Without it they have the standard library alone.
    """

    sandbox: Literal["auto", "full", "landlock"] = "auto"
    workers: int | Literal["auto"] = "auto"
    replicas: int = Field(1, ge=1)
    max_queued: int = Field(20_000, ge=1)
    verdict_detail: Literal["full", "outcome"] = "full"
    time_limit_s: float = Field(6, ge=0.01, le=600)
    memory_limit_mb: int = Field(512, ge=16, le=65536)
    packages: Path | None = None

    @property
    def worker_count(self) -> int:
        return len(os.sched_getaffinity(0)) if self.workers == "auto" else self.workers

    @field_validator("workers")
    @classmethod
    def _at_least_one_worker(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError(f"at least 1 worker is needed, got {value}")
        return value


class Scorer(Section):
    """A service that decides on candidates. timeout_s: of one call, wall seconds."""

    url: str
    timeout_s: float = Field(10, gt=0, le=3600)

    @field_validator("url")
    @classmethod
    def _http_address(cls, value: str) -> str:
        parts = urlsplit(value)
        text = value.isprintable() and " " not in value
        try:
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of the port
            usable = False
        if not usable or parts.fragment or not text:
            raise ValueError(f"must be an address such as http://scorer:9000/decide, got {value!r}")
        return value


class ScorerUrl(Section):
    """A selector: the scorer at that address."""

    url: str


_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?|\[?[0-9A-Fa-f:.]+\]?")
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]*[^/?#\s]")


class Batches(Section):
    """What `/v1/files` and `/v1/batches` may hold and do.

    folder: where their files lie; relative paths count from the configuration file. Without it beside the store's file, or in the
        cache folder where the store is a database server.
    max_file_mb: one uploaded file. max_files, max_key_mb: of one API key, what its batches wrote included.
    max_open: batches of one key that have not ended. max_requests: of one batch.
    max_under_way: requests of all batches at a time, in each HTTP process.
    """

    folder: Path | None = None
    max_file_mb: float = Field(200, gt=0)
    max_files: int = Field(500, ge=1)
    max_key_mb: float = Field(5000, gt=0)
    max_open: int = Field(50, ge=1)
    max_requests: int = Field(50_000, ge=1)
    max_under_way: int = Field(256, ge=1)


class Server(Section):
    """max_queued: requests under way or waiting; more are answered 503. max_request_mb: one request's body.

    replicas: processes that answer HTTP, each with `max_queued` and `max_held_mb` of its own. On a cluster that is started
    here they share the port, and the kernel spreads connections over them.

    api_keys_file: the accepted API keys and their limits (`alpharay keys`); relative paths count from the configuration
    file. Without it no key is needed.

    drain_s: after SIGTERM, how long requests under way may still take before they are answered with
    the best so far. keep_alive_s: SSE keep-alive interval of a streamed request while its budget is spent.

    engine_metrics_port: where a Ray that is started here exports its metrics and those of vLLM's engines, on
    loopback; 0 takes a free one. log_format: of what the replicas log; `json` is one object a line.
    log_folder: where they log it, instead of Ray's session folder.

    allowed_hosts: further names that requests may have as `Host`, such as a reverse proxy's; `*.example.com` for
        all below one, `*` for any. cors: web pages, by their origins, whose scripts may call it from elsewhere; `*` for any.
    max_held_mb: bodies of all requests under way together; without it as much as eight of the largest.
    batches: bounds of the Batch API.
    rollouts: a folder in which prompts and answers of requests with tests are kept, with their verdicts, to train on;
        relative paths count from the configuration file. Without it nothing of them is kept.
    """

    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(8000, ge=0, le=65535)
    replicas: int = Field(1, ge=1, le=64)
    max_queued: int = Field(256, ge=1)
    max_request_mb: float = Field(32, gt=0)
    max_held_mb: float | None = Field(None, gt=0)
    drain_s: float = Field(30, ge=0)
    keep_alive_s: float = Field(10, gt=0)
    api_keys_file: Path | None = None
    engine_metrics_port: int = Field(0, ge=0, le=65535)
    log_format: Literal["text", "json"] = "text"
    log_folder: Path | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    batches: Batches = Batches()
    rollouts: Path | None = None

    @property
    def held_mb(self) -> float:
        return 8 * self.max_request_mb if self.max_held_mb is None else self.max_held_mb

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name != "*" and not _HOST_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no host name; write it without scheme, port and path, such as api.example.com or *.example.com"
                )
        return value

    @field_validator("cors")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin; write scheme and host, without a path, such as https://app.example.com"
                )
        return tuple(origin.lower() for origin in value)

    @model_validator(mode="after")
    def _holds_one_request(self) -> Server:
        if self.held_mb < self.max_request_mb:
            raise ValueError(
                f"max_held_mb {self.held_mb:g} is below max_request_mb {self.max_request_mb:g}; raise one or lower the other"
            )
        return self
