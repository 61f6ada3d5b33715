"""OpenAI's objects of files and batches, and what may be asked about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from alpharay.serve.dialects import DIALECTS
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.learn.store import StoredFile
from alpharay.serve.spelling import did_you_mean, shown

Json = dict[str, Any]

WINDOW_S = 86400
PURPOSE, WRITTEN = "batch", "batch_output"
ENDPOINTS = {dialect.PATH: dialect for dialect in DIALECTS}


class Expiry(BaseModel):
    """Of a file, counted from when it was made."""

    model_config = ConfigDict(extra="ignore")

    anchor: Literal["created_at"] = "created_at"
    seconds: int = Field(ge=3600, le=30 * 86400)


class Budget(BaseModel):
    """budget: samples over all requests."""

    model_config = ConfigDict(extra="forbid", strict=True)

    budget: int = Field(ge=1)


class NewBatch(BaseModel):
    """What `POST /v1/batches` takes; as OpenAI's, and `alpharay`."""

    model_config = ConfigDict(extra="ignore")

    input_file_id: str
    endpoint: str
    completion_window: Literal["24h"]
    metadata: dict[str, str] | None = Field(None, max_length=16)
    output_expires_after: Expiry | None = None
    alpharay: Budget | None = None


def read_batch(body: Mapping[str, Any]) -> NewBatch:
    """Raises RequestError (400)."""
    batch: NewBatch = _read(NewBatch, body)
    if batch.endpoint not in ENDPOINTS:
        raise malformed(
            f"`endpoint`: {shown(batch.endpoint)} is none of {', '.join(ENDPOINTS)}{did_you_mean(batch.endpoint, ENDPOINTS)}",
            param="endpoint",
        )
    for name, value in (batch.metadata or {}).items():
        if len(name) > 64 or len(value) > 512:
            raise malformed(
                "`metadata`: names have at most 64 characters, values at most 512", param="metadata"
            )
    return batch


def read_expiry(fields: Mapping[str, str]) -> int | None:
    """Seconds, of a form's `expires_after[…]`. Raises RequestError (400)."""
    values = {
        name: fields[f"expires_after[{name}]"]
        for name in ("anchor", "seconds")
        if f"expires_after[{name}]" in fields
    }
    expiry: Expiry | None = _read(Expiry, values) if values else None
    return expiry.seconds if expiry else None


def read_limit(query: Mapping[str, str], default: int, most: int) -> int:
    """Raises RequestError (400)."""
    text = query.get("limit", f"{default}")
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most):
        raise malformed(f"`limit` must be a number from 1 to {most}, got {shown(text)}", param="limit")
    return int(text)


def read_newest_first(query: Mapping[str, str]) -> bool:
    """Raises RequestError (400)."""
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise malformed(f"`order` must be asc or desc, got {shown(order)}", param="order")
    return order == "desc"


def file_object(file: StoredFile) -> Json:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.at),
        "expires_at": None if file.expires is None else int(file.expires),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def batch_object(name: str, new: NewBatch, now: float, total: int, errors: Sequence[Json]) -> Json:
    """A batch as it begins; or that has failed, for these reasons."""
    at = int(now)
    batch: Json = {
        "id": name,
        "object": "batch",
        "endpoint": new.endpoint,
        "input_file_id": new.input_file_id,
        "completion_window": new.completion_window,
        "status": "failed" if errors else "in_progress",
        "errors": {"object": "list", "data": list(errors)} if errors else None,
        "output_file_id": None,
        "error_file_id": None,
        "created_at": at,
        "expires_at": at + WINDOW_S,
        "in_progress_at": None if errors else at,
        "failed_at": at if errors else None,
        "finalizing_at": None,
        "completed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0 if errors else total, "completed": 0, "failed": 0},
        "metadata": new.metadata,
    }
    if new.output_expires_after is not None:
        batch["output_expires_after"] = new.output_expires_after.model_dump()
    if new.alpharay is not None:
        batch["alpharay"] = {"budget": new.alpharay.budget, "drawn": 0, "solved": 0}
    return batch


def page(objects: Sequence[Json], most: int) -> Json:
    """objects: one more than fit where there are more."""
    shown_ones = list(objects[:most])
    return {
        "object": "list",
        "data": shown_ones,
        "first_id": shown_ones[0]["id"] if shown_ones else None,
        "last_id": shown_ones[-1]["id"] if shown_ones else None,
        "has_more": len(objects) > most,
    }


def unknown(kind: str, name: str) -> RequestError:
    return RequestError(404, f"there is no {kind} {shown(name)}", param="id", code="not_found")


def _read(model: type[BaseModel], fields: Mapping[str, Any]) -> Any:
    try:
        return TypeAdapter(model).validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise malformed(f"`{where}`: {first['msg']}, got {shown(first['input'])}", param=where) from None
