import asyncio
import json

import pytest

from alpharay.serve.transport import asgi

from .clock import pass_time


def start(status=200, headers=((b"content-type", b"text/event-stream"),)):
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(data=b"", more=True):
    return {"type": "http.response.body", "body": data, "more_body": more}


class App:
    """Sends its messages; one that is a number waits so many seconds, one that is an exception is raised.

    stubborn: it does not notice that its client has left.
    """

    def __init__(self, *messages, stubborn=False):
        self.messages, self.stubborn = messages, stubborn
        self.scope, self.got, self.left, self.ended = None, b"", False, ""

    async def __call__(self, scope, receive, send):
        self.scope = scope
        try:
            while True:
                message = await receive()
                self.got += message["body"]
                if not message["more_body"]:
                    break
            leaving = asyncio.ensure_future(self.watch(receive))
            sending = asyncio.ensure_future(self.send_all(send))
            await asyncio.wait(
                {sending} if self.stubborn else {leaving, sending}, return_when="FIRST_COMPLETED"
            )
            for task in (leaving, sending):
                task.cancel()
            if sending.done() and not sending.cancelled():
                sending.result()
            self.ended = "itself"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise

    async def watch(self, receive):
        assert (await receive())["type"] == "http.disconnect"
        self.left = True

    async def send_all(self, send):
        for message in self.messages:
            if isinstance(message, Exception):
                raise message
            if isinstance(message, int):
                await asyncio.sleep(message)
            else:
                await send(message)


async def called(app, **headers):
    return await asgi.call(app, "/v1/x", b'{"a": 1}', headers)


async def test_a_whole_answer_is_collected():
    app = App(start(201), body(b"one "), body(b"two", more=False))
    reply = await called(app)
    assert (reply.status, reply.content_type, reply.body) == (201, "text/event-stream", b"one two")


async def test_the_application_is_given_the_body_path_and_headers():
    app = App(start(), body(more=False))
    await called(app, **{"X-Request-Id": "7"})
    headers = dict(app.scope["headers"])
    assert json.loads(app.got) == {"a": 1}
    assert (app.scope["method"], app.scope["path"]) == ("POST", "/v1/x")
    assert headers[b"x-request-id"] == b"7"
    assert headers[b"content-length"] == b"8"


async def test_a_callers_headers_cannot_lie_about_the_body():
    app = App(start(), body(more=False))
    await called(app, **{"content-length": "999", "content-type": "text/plain"})
    headers = dict(app.scope["headers"])
    assert (headers[b"content-length"], headers[b"content-type"]) == (b"8", b"application/json")


async def test_chunks_come_as_they_are_sent():
    app = App(start(), body(b"one"), 50, body(b"two", more=False))
    async with asgi.open_call(app, "/v1/x", b"{}", {}) as reply:
        began = asyncio.get_running_loop().time()
        assert await anext(reply.chunks) == b"one"
        assert asyncio.get_running_loop().time() == began
        assert [chunk async for chunk in reply.chunks] == [b"two"]


async def test_empty_chunks_are_not_passed_on():
    app = App(start(), body(b""), body(b"one"), body(b"", more=False))
    async with asgi.open_call(app, "/v1/x", b"{}", {}) as reply:
        assert [chunk async for chunk in reply.chunks] == [b"one"]


async def test_leaving_early_disconnects():
    app = App(start(), body(b"one"), 1000, body(b"two", more=False))
    async with asgi.open_call(app, "/v1/x", b"{}", {}) as reply:
        await anext(reply.chunks)
        assert not app.left
    assert (app.left, app.ended) == (True, "itself")


async def test_cancelling_a_call_disconnects():
    app = App(1000, start(), body(more=False))
    task = asyncio.ensure_future(called(app))
    await pass_time(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (app.left, app.ended) == (True, "itself")


async def test_an_application_that_does_not_notice_is_cancelled():
    app = App(start(), 10_000, stubborn=True)
    async with asgi.open_call(app, "/v1/x", b"{}", {}):
        pass
    await pass_time(1)
    assert app.ended == "cancelled"


async def test_what_the_application_raises_before_its_answer_is_raised():
    with pytest.raises(ZeroDivisionError):
        await called(App(ZeroDivisionError()))


async def test_what_the_application_raises_in_its_answer_is_raised():
    with pytest.raises(ZeroDivisionError):
        await called(App(start(), body(b"one"), ZeroDivisionError()))


async def test_an_application_that_gives_no_answer_is_an_error():
    with pytest.raises(RuntimeError, match="without an answer"):
        await called(App())


async def test_an_application_that_breaks_off_is_an_error_and_not_a_short_answer():
    with pytest.raises(RuntimeError, match="broke off"):
        await called(App(start(), body(b"one")))


async def test_an_answer_without_a_content_type_has_an_empty_one():
    assert (await called(App(start(headers=()), body(more=False)))).content_type == ""
