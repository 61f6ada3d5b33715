"""`POST /v1/feedback`: what a client learned by running an answer itself."""

from __future__ import annotations

from typing import Any

from alpharay.judge.verdict import VerdictKind
from alpharay.serve.errors import RequestError, malformed, no_capacity
from alpharay.serve.gateway.server import Server
from alpharay.serve.learn.recording import recorded_id
from alpharay.serve.learn.store import Feedback, StoreDown, UnknownRequest
from alpharay.serve.spelling import did_you_mean, shown

PATH = "/v1/feedback"

Json = dict[str, Any]

_FIELDS = ("id", "choice", "verdict")
# Ours to say, not a client's.
_VERDICTS = [kind.value for kind in VerdictKind if kind is not VerdictKind.JUDGE_ERROR]

DESCRIBED: Json = {
    "summary": "What the client learned by running an answer itself; stored once acknowledged",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["id", "verdict"],
                        "properties": {
                            "id": {"type": "string"},
                            "choice": {"type": "integer", "minimum": 0, "default": 0},
                            "verdict": {"type": "string", "enum": _VERDICTS},
                        },
                        "additionalProperties": False,
                    }
                }
            },
        }
    },
    "responses": {
        400: {"description": "A field is malformed, or the answer has no such choice"},
        404: {"description": "No answer has that id"},
        503: {"description": "The store cannot be reached; see Retry-After"},
    },
}


def read(body: Json) -> Feedback:
    """Raises RequestError: 400 naming the field; 404 for an id that no answer of ours can have."""
    for field in body:
        if field not in _FIELDS:
            raise malformed(f"unknown field {shown(field)}{did_you_mean(field, _FIELDS)}", param=field[:100])
    name, choice, verdict = body.get("id"), body.get("choice", 0), body.get("verdict")
    if not isinstance(name, str):
        raise malformed("`id` must be the id of an answer, as a string", param="id")
    if isinstance(choice, bool) or not isinstance(choice, int) or choice < 0:
        raise malformed(
            f"`choice` must be the index of a choice, from 0, got {shown(choice)}", param="choice"
        )
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        near = (
            did_you_mean(verdict, _VERDICTS)
            if isinstance(verdict, str)
            else f"; known are {', '.join(_VERDICTS)}"
        )
        raise malformed(f"`verdict` {shown(verdict)} is not known{near}", param="verdict")
    request = recorded_id(name)
    if request is None:
        raise _unknown(f"there is no answer with the id {shown(name)}")
    return Feedback(request=request, choice=choice, verdict=VerdictKind(verdict))


async def take(server: Server, body: Json) -> Json:
    """Stores it, then acknowledges. Saying the same again changes nothing; another verdict replaces the first.

    Raises RequestError: as `read`, 404 for an unknown id, 400 for a choice that the answer lacks, 503 while the
    store is down.
    """
    feedback = read(body)
    try:
        new = await server.learning.feedback(feedback)
    except UnknownRequest as error:
        if error.choice:
            raise malformed(str(error), param="choice") from error
        raise _unknown(str(error)) from error
    except StoreDown as error:
        raise no_capacity("feedback cannot be stored now; say it again later") from error
    return {
        "object": "feedback",
        "id": body["id"],
        "choice": feedback.choice,
        "verdict": feedback.verdict.value,
        "new": new,
    }


def _unknown(message: str) -> RequestError:
    return RequestError(404, message, param="id", code="answer_not_found")
