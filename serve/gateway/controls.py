"""What a request may ask of alpharay itself: the `alpharay` object of its body and the X-Alpharay-* headers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema

from alpharay.judge.languages import LANGUAGES
from alpharay.router import POLICIES, selector_names
from alpharay.serve.errors import RequestError, malformed
from alpharay.serve.sections import ScorerUrl
from alpharay.serve.spelling import did_you_mean, shown

_HEADER = "x-alpharay-"


# Written out: a reference would count from the root of `/openapi.json`, where no such model is.
_SELECTOR = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {"url": {"type": "string"}},
            "required": ["url"],
            "additionalProperties": False,
        },
        {"type": "null"},
    ],
    "default": None,
}


class Controls(BaseModel):
    """Every control, unset where the request does not name it. Body beats header beats configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    budget: int | None = Field(None, ge=1)
    tests: dict[str, Any] | None = None
    time_limit_s: float | None = Field(None, ge=0.01, le=600)
    memory_limit_mb: int | None = Field(None, ge=16, le=65536)
    returns: Literal["best", "passing", "all"] | None = Field(None, alias="return")
    stop_after_passes: int | None = Field(None, ge=1)
    deadline_s: float | None = Field(None, gt=0, le=86400)
    policy: str | None = None
    selector: Annotated[str | ScorerUrl | None, WithJsonSchema(_SELECTOR)] = None
    language: str | None = None
    turns: int | None = Field(None, ge=1, le=3)
    tools: list[Literal["python"]] | None = None
    members: list[str | float] | None = Field(None, min_length=1)


_NAMES = [field.alias or name for name, field in Controls.model_fields.items()]


def read_controls(body: Mapping[str, Any], headers: Mapping[str, str]) -> Controls:
    """The controls of one request.

    body: its `alpharay` object, if any. headers: with lower-case names.

    Raises RequestError (400): an unknown control, with the nearest known one; a wrong type or value;
    a control that this version cannot honour.
    """
    given = {}
    for name, value in headers.items():
        if name.startswith(_HEADER):
            control = name.removeprefix(_HEADER).replace("-", "_")
            if control in given:
                raise malformed(
                    f"the header {name} is given twice; send it once", param=f"alpharay.{control}"
                )
            given[control] = _header_value(control, value)
    own = body.get("alpharay")
    if own is not None:
        if not isinstance(own, dict):
            raise malformed(
                f'`alpharay` must be an object such as {{"budget": 16}}, got {_kind(own)}', param="alpharay"
            )
        given.update(own)
    for name in given:
        if name not in _NAMES:
            raise malformed(
                f"unknown control {shown(name)}{did_you_mean(name, _NAMES)}", param=f"alpharay.{name[:100]}"
            )
    try:
        controls = Controls.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0])  # deeper parts are pydantic's own names
        raise malformed(
            f"alpharay.{where}: {first['msg']}, got {_shown(first['input'])}", param=f"alpharay.{where}"
        ) from error
    _refuse_what_cannot_be(controls)
    return controls


def _refuse_what_cannot_be(controls: Controls) -> None:
    if controls.policy is not None and controls.policy not in POLICIES:
        raise _unavailable("policy", controls.policy, f"choose one of {', '.join(sorted(POLICIES))}")
    names = selector_names()
    if isinstance(controls.selector, str) and controls.selector not in names:
        raise _unavailable(
            "selector", controls.selector, f"choose one of {', '.join(names)}, or {{url: …}} of a scorer"
        )
    if controls.language is not None and controls.language not in LANGUAGES:
        raise _unavailable("language", controls.language, f"choose one of {', '.join(LANGUAGES)}")


def _unavailable(name: str, value: object, way_out: str) -> RequestError:
    return malformed(
        f"alpharay.{name}: {shown(value)} is not available in this version; {way_out}",
        param=f"alpharay.{name}",
    )


def _header_value(control: str, value: str) -> Any:
    """Headers are text: JSON where it reads as such, a comma-separated list for members and tools."""
    if control in ("members", "tools") and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",")]
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _kind(value: object) -> str:
    return {list: "a list", str: "a string", bool: "a boolean", int: "a number", float: "a number"}.get(
        type(value), type(value).__name__
    )


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
