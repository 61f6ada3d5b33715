"""Tool use inside one candidate: a member's `python` calls run in the judge's sandbox, and the same member goes on.

The whole trajectory is one candidate: one draw of the session's, whose tokens are those of all its rounds. What a
call is told is what the program printed and how it ended; it is run on empty input, without the request's tests,
so that there is nothing hidden for it to find. Calls are bounded in number here, in time and memory by the limits that
a test case has, and in output by what the judge keeps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alpharay.judge.pool.tally import STDOUT_BYTES
from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.serve.dialects import chat
from alpharay.serve.dialects.api_request import ApiRequest, EngineBody, Json, for_the_engine
from alpharay.serve.dialects.chat import total
from alpharay.serve.dialects.dialect import Call, Dialect
from alpharay.serve.errors import RequestError, malformed

# Calls of one candidate; the round after the last of them is answered without the tool.
MOST_CALLS = 8
# Of an error, in characters, from its end: the exception's own line is the last.
_MOST_OF_AN_ERROR = 500

TOOL: Json = {
    "type": "function",
    "function": {
        "name": "python",
        "description": (
            "Runs a Python program by itself and returns what it prints. Every call starts anew: nothing is kept "
            "from earlier ones. There is no input, no network and no file to read; the standard library is there."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "code": {"type": "string", "description": "The whole program; print what you need."}
            },
            "required": ["code"],
        },
    },
}

_ENDED = {
    VerdictKind.TIME_LIMIT: "it ran out of time",
    VerdictKind.MEMORY_LIMIT: "it ran out of memory",
    VerdictKind.OUTPUT_LIMIT: "it printed far too much",
    VerdictKind.NO_PROGRAM: "there was no program",
    VerdictKind.JUDGE_ERROR: "it could not be run, for no fault of its own",
}


class SandboxDown(Exception):
    """The sandbox is unreachable. The call's output says so, and the member answers without it."""


@dataclass(frozen=True, slots=True)
class Ran:
    """One call: the program, and the output that the member got."""

    code: str
    output: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A member's rounds with the tool. response: its last, whose usage is that of all rounds. Tokens: of all rounds."""

    response: Json
    runs: tuple[Ran, ...]
    prompt_tokens: int
    completion_tokens: int


def offered(request: ApiRequest, dialect: Dialect, engine_extra: Mapping[str, Any]) -> ApiRequest:
    """The request with the tool in it.

    Raises RequestError (400): its dialect, its own tools or the engine's configuration leave no room for it.
    """
    problem = None
    if dialect.PATH != chat.PATH:
        problem = f"{dialect.PATH} does not take it; ask {chat.PATH}"
    elif request.body.get("tools"):
        problem = "the request offers tools of its own, whose calls are for its caller to run; leave one of the two out"
    elif not (engine_extra.get("enable_auto_tool_choice") and engine_extra.get("tool_call_parser")):
        problem = (
            "the model is served without a parser for tool calls; name vLLM's under engine.extra, such as "
            "{enable_auto_tool_choice: true, tool_call_parser: hermes}, or leave it out"
        )
    if problem:
        raise malformed(f"alpharay.tools: {problem}", param="alpharay.tools")
    return replace(request, rest=EngineBody(request.rest, {"tools": [TOOL]}).whole())


async def follow(
    request: ApiRequest,
    first: Json,
    sampling: Callable[[ApiRequest, int], Awaitable[Json]],
    run: Callable[[str], Awaitable[Verdict]],
) -> Trajectory:
    """From a member's first response to the one that calls nothing any more.

    ask: its response to the conversation so far, and which round that is. run: a completion that holds one program.
    Raises what they raise, but for SandboxDown, and for a conversation that has become too long for the model:
    the candidate is then what was answered before, without its calls, and ends by `length`.
    """
    responses, runs = [first], list[Ran]()
    while (calls := chat.calls(responses[-1])) and len(runs) < MOST_CALLS:
        outputs, down = [], False
        for call in calls:
            if down or len(runs) >= MOST_CALLS:
                outputs.append("not run: " + ("the sandbox is unreachable" if down else "no calls are left"))
                continue
            try:
                code, output = await _output(call, run)
            except SandboxDown:
                down, code, output = True, call.arguments, "not run: the sandbox is unreachable"
            outputs.append(output)
            runs.append(Ran(code, output))
        more = not down and len(runs) < MOST_CALLS
        request = _continued(request, responses[-1], outputs, more=more)
        try:
            responses.append(await sampling(request, len(responses)))
        except RequestError as error:
            if not 400 <= error.status < 500:
                raise
            return _ended(responses, runs, "length")
        if not more:
            break
    return _ended(responses, runs)


async def _output(call: Call, run: Callable[[str], Awaitable[Verdict]]) -> tuple[str, str]:
    """(the program, the tool's output). A call that cannot be run counts like one that was."""
    if call.name != "python":
        return call.arguments, f"not run: there is no tool {call.name!r}, only 'python'"
    code = _code(call.arguments)
    if code is None:
        return call.arguments, 'not run: the arguments must be an object {"code": string}'
    return code, report(await run(fenced(code)))


def _code(arguments: str) -> str | None:
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return None
    code = value.get("code") if isinstance(value, dict) else None
    # Half a surrogate pair is no text, which no answer can carry.
    return code.encode("utf-8", "replace").decode() if isinstance(code, str) else None


def fenced(code: str) -> str:
    """A completion that holds exactly this program, whatever fences are in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}python\n{code}\n{fence}\n"


def report(verdict: Verdict) -> str:
    """What the program printed, cut, and how it ended where it did not end well: the last line of its error."""
    printed = verdict.stdout or ""
    if len(printed.encode()) >= STDOUT_BYTES:
        printed += f"\n… (the first {STDOUT_BYTES} bytes)"
    if verdict.accepted:
        return printed or "(it printed nothing)"
    last = verdict.detail.strip().rpartition("\n")[2][-_MOST_OF_AN_ERROR:]
    how = _ENDED.get(verdict.verdict) or last or "it failed"
    return f"{printed.rstrip()}\nerror: {how}".lstrip()


def _continued(request: ApiRequest, response: Json, outputs: list[str], *, more: bool) -> ApiRequest:
    fields: dict[str, Any] = json.loads(request.rest)
    fields["messages"] = [*fields["messages"], *chat.called(response, outputs)]
    # What the caller wanted to be called has been called; with nothing left the member must answer.
    if not more:
        fields["tool_choice"] = "none"
    elif fields.get("tool_choice") != "none":
        fields["tool_choice"] = "auto"
    return replace(request, rest=for_the_engine(fields))


def _ended(responses: list[Json], runs: list[Ran], reason: str | None = None) -> Trajectory:
    """The last response as an answer: calls that are left in it are ours, and mean nothing to the caller."""
    last = responses[-1]
    choice = last["choices"][0]
    message = {key: value for key, value in choice["message"].items() if key != "tool_calls"}
    if chat.calls(last):
        reason = reason or "stop"
        message["content"] = message.get("content") or ""
    choice = {**choice, "message": message, "finish_reason": reason or choice.get("finish_reason")}
    spent = [chat.usage(response) for response in responses]
    return Trajectory(
        {**last, "choices": [choice], "usage": total(responses)},
        tuple(runs),
        sum(prompt for prompt, _ in spent),
        sum(completion for _, completion in spent),
    )
