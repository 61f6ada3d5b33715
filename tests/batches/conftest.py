"""An HTTP process with the Batch API, over stand-ins for engines and judge; its store and folder are real."""

from __future__ import annotations

import asyncio
import json
from contextlib import contextmanager

import httpx
import openai
import pytest

from alpharay.serve.gateway.app import build_app
from alpharay.serve.gateway.batches.service import Batches
from alpharay.serve.learn.store import Store
from alpharay.serve.state import keys
from alpharay.serve.state.cluster_state import JudgeState
from tests.serve.fakes import TESTS, Serving, question


class Batching(Serving):
    """folder: of the store and the files, which further ones may share. bounds: of `server.batches`."""

    def __init__(self, folder, *, server=None, bounds=None, **sections):
        bounds = {"folder": str(folder / "files"), **(bounds or {})}
        super().__init__(server={"batches": bounds, **(server or {})}, **sections)
        self.batches = Batches(
            Store(f"sqlite:///{folder / 'store.db'}"), self.server.config.server.batches, self.inside
        )
        self.app = build_app(self.server, self.batches)
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://frontier")
        self.client = self.client_of("none")
        self.running = None

    @contextmanager
    def inside(self):
        yield self.server

    def client_of(self, key):
        return openai.AsyncOpenAI(
            base_url="http://frontier/v1", api_key=key, http_client=self.http, max_retries=0
        )

    def run(self):
        self.running = asyncio.ensure_future(self.batches.run_forever())

    async def kill(self):
        """As the end of the process does: nothing is written down any more."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def upload(self, lines, client=None, **options):
        text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
        made = (client or self.client).files.create(
            file=("in.jsonl", text.encode()), purpose="batch", **options
        )
        return await made

    async def begin(self, lines, client=None, endpoint="/v1/chat/completions", **options):
        file = await self.upload(lines, client)
        return await (client or self.client).batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", **options
        )

    async def ended(self, batch, client=None):
        """The batch as soon as it has ended."""
        async with asyncio.timeout(120):
            while not self.is_over(batch := await (client or self.client).batches.retrieve(batch.id)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        return batch

    @staticmethod
    def is_over(batch):
        return batch.status in {"completed", "failed", "expired", "cancelled"}

    async def content(self, file_id, client=None):
        """{custom_id: line} of a file; nothing where there is none."""
        if file_id is None:
            return {}
        text = (await (client or self.client).files.content(file_id)).text
        return {line["custom_id"]: line for line in map(json.loads, text.splitlines())}


def line(name, url="/v1/chat/completions", **body):
    return {
        "custom_id": f"{name}",
        "method": "POST",
        "url": url,
        "body": body if "model" in body else question(**body),
    }


def with_tests(name, text, **body):
    """A request with tests, known by its prompt."""
    return line(
        name,
        messages=[{"role": "user", "content": text}],
        alpharay={"tests": TESTS},
        **body,
    )


@pytest.fixture
async def batching(tmp_path):
    """batching(**options) is such a process, and runs batches; all share a folder."""
    made = []

    async def start(*, run=True, **options):
        serving = Batching(tmp_path, **options)
        made.append(serving)
        await serving.all_up()
        await serving.cluster_state.report_judge("judge", JudgeState(layer="full"))
        await serving.server.exchange()
        if run:
            serving.run()
        return serving

    yield start
    for serving in made:
        await serving.kill()
        serving.finish()


@pytest.fixture
def key_file(tmp_path):
    """key_file(alice={limits}, …) is (the file's path, {name: key})."""

    def make(**limits):
        entries, secrets = [], {}
        for name, key_limits in limits.items():
            secrets[name], entry = keys.make(name, **key_limits)
            entries.append(entry.model_dump(exclude_none=True))
        path = tmp_path / "keys.yaml"
        path.write_text(json.dumps(entries))
        return str(path), secrets

    return make
