"""Reading a request's body: in time, within its size, as a JSON object."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fastapi import Request

from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.server import ClientGone

# A body that trickles in holds a place among `server.max_queued` meanwhile.
_BODY_S = 60.0


async def json_body(http: Request, max_mb: float) -> dict[str, Any]:
    """Raises RequestError: 413 beyond the size limit, which is checked while reading; 400 for bad JSON; 408
    for a body that does not arrive. Raises ClientGone.
    """
    limit = int(max_mb * 1e6)
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in http.stream():
                data += chunk
                if len(data) > limit:
                    raise RequestError(
                        413,
                        f"the request is larger than {limit / 1e6:g} MB; "
                        "raise server.max_request_mb or send fewer tests",
                    )
    except TimeoutError:
        raise RequestError(408, f"the request's body did not arrive within {_BODY_S:g} s") from None
    except RequestError:
        raise
    except Exception as error:
        # Starlette and Ray have a name each for the one reason why a body cannot be read to its end.
        raise ClientGone from error
    try:
        body = json.loads(data)
    except RecursionError:
        raise malformed("the request's JSON is nested too deeply") from None
    except ValueError as error:
        raise malformed(f"the request is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise malformed("the request must be a JSON object")
    return body
