"""`/v1/files` and `/v1/batches`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.gateway.admission import ClientGone
from alpharay.serve.gateway.batches import wire
from alpharay.serve.gateway.batches.service import Batches
from alpharay.serve.gateway.http.body import json_body
from alpharay.serve.gateway.server import Server

FILES, BATCHES = "/v1/files", "/v1/batches"

Json = dict[str, Any]

_UPLOAD_S = 600.0
_UPLOADS_AT_ONCE = 8
# Of a form beside its file.
_FIELD_BYTES, _FIELDS = 4096, 16
_FRAME_BYTES = 64 << 10
_OF_ALL: dict[int | str, Json] = {
    401: {"description": "No API key, or an unknown one"},
    503: {"description": "No capacity now"},
}
_UNKNOWN: dict[int | str, Json] = {404: {"description": "This key has none of that id"}, **_OF_ALL}
_MANY: dict[int | str, Json] = {429: {"description": "The key has as much as it may have"}, **_OF_ALL}


def add_routes(app: FastAPI, server: Server, batches: Batches | None) -> None:
    """batches: None on a server without a store."""
    admission = server.admission
    uploads = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    def key_of(http: Request) -> str:
        key = admission.key_of(http.headers.items())
        return key.name if key is not None else ""

    def ready() -> Batches:
        if batches is None:
            raise RequestError(501, "this server keeps no files: it has no store", code="no_store")
        return batches

    @app.post(FILES, summary="Uploads a file of requests (multipart, purpose `batch`)", responses=_MANY)
    async def upload(http: Request) -> Json:
        kept = ready()
        with admission.admit("files", http.headers.items()) as context:
            if uploads.locked():
                raise no_capacity(f"{_UPLOADS_AT_ONCE} files are being uploaded already")
            key = context.lease.key.name if context.lease else ""
            async with uploads:
                return await _uploaded(http, kept, key)

    @app.get(FILES, summary="The key's files", responses=_OF_ALL)
    async def files(http: Request) -> Json:
        kept, query = ready(), http.query_params
        most = wire.read_limit(query, 10_000, 10_000)
        files = await kept.blocking(
            kept.tables.files,
            key_of(http),
            purpose=query.get("purpose"),
            after=query.get("after"),
            most=most + 1,
            newest_first=wire.read_newest_first(query),
        )
        return wire.page([wire.file_object(file) for file in files], most)

    @app.get(f"{FILES}/{{name}}", summary="One file", responses=_UNKNOWN)
    async def file(http: Request, name: str) -> Json:
        stored = await ready().file(name, key_of(http))
        return wire.file_object(stored)

    @app.get(f"{FILES}/{{name}}/content", summary="What a file holds", responses=_UNKNOWN)
    async def content(http: Request, name: str) -> FileResponse:
        kept = ready()
        stored = await kept.file(name, key_of(http))
        return FileResponse(kept.folder.file(stored.id), media_type="application/octet-stream")

    @app.delete(f"{FILES}/{{name}}", summary="Deletes a file", responses=_UNKNOWN)
    async def delete(http: Request, name: str) -> Json:
        await ready().delete_file(name, key_of(http))
        return {"id": name, "object": "file", "deleted": True}

    @app.post(BATCHES, summary="Begins a batch over an uploaded file", responses=_UNKNOWN | _MANY)
    async def create(http: Request) -> Json:
        kept = ready()
        with admission.admit("batches", http.headers.items()) as context:
            body = await json_body(http, context.body, server.config.server.max_request_mb)
            key = context.lease.key.name if context.lease else ""
            return await kept.create(server, key, wire.read_batch(body))

    @app.get(BATCHES, summary="The key's batches, the newest first", responses=_OF_ALL)
    async def listed(http: Request) -> Json:
        kept, query = ready(), http.query_params
        most = wire.read_limit(query, 20, 100)
        listed_batches = await kept.blocking(
            kept.tables.batches, key_of(http), after=query.get("after"), most=most + 1
        )
        return wire.page([batch.object for batch in listed_batches], most)

    @app.get(f"{BATCHES}/{{name}}", summary="How far a batch is", responses=_UNKNOWN)
    async def batch(http: Request, name: str) -> Json:
        kept = ready()
        stored = await kept.blocking(kept.tables.batch, name, key_of(http))
        if stored is None:
            raise wire.unknown("batch", name)
        return dict(stored.object)

    @app.post(f"{BATCHES}/{{name}}/cancel", summary="Cancels a batch", responses=_UNKNOWN)
    async def cancel(http: Request, name: str) -> Json:
        return await ready().cancel(name, key_of(http))


async def _uploaded(http: Request, batches: Batches, key: str) -> Json:
    """Raises RequestError, and ClientGone."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise RequestError(
            415, "a file is uploaded as multipart/form-data, with the parts `file` and `purpose`",
            code="unsupported_media_type",
        )  # fmt: skip
    parser = MultiPartParser(
        http.headers,
        _bounded(http, batches.config.max_file_mb),
        max_files=1,
        max_fields=_FIELDS,
        max_part_size=_FIELD_BYTES,
    )
    try:
        async with asyncio.timeout(_UPLOAD_S):
            form = await parser.parse()
    except MultiPartException as error:
        raise malformed(f"the form cannot be read: {error.message}") from error
    except TimeoutError:
        raise RequestError(408, f"the file did not arrive within {_UPLOAD_S:g} s") from None
    except ClientDisconnect as error:
        raise ClientGone from error
    try:
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise malformed("the form needs a part `file`, with a file name", param="file")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if fields.get("purpose") != wire.PURPOSE:
            raise malformed("`purpose` must be 'batch': files are kept for batches", param="purpose")
        expires_s = wire.read_expiry(fields)
        await part.seek(0)
        size = part.size or 0
        if size > batches.config.max_file_mb * 1e6:
            raise _too_large(batches.config.max_file_mb)
        file = await batches.keep_file(key, part.file, part.filename or "file", size, expires_s)
        return wire.file_object(file)
    finally:
        await form.close()


async def _bounded(http: Request, most_mb: float) -> AsyncGenerator[bytes, None]:
    size = 0
    async for chunk in http.stream():
        size += len(chunk)
        if size > most_mb * 1e6 + _FRAME_BYTES:
            raise _too_large(most_mb)
        yield chunk


def _too_large(most_mb: float) -> RequestError:
    return RequestError(
        413, f"the file is larger than {most_mb:g} MB; split it, or raise server.batches.max_file_mb"
    )
