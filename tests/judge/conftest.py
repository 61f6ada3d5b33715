import pytest_asyncio
from hypothesis import settings

from alpharay.judge.pool.pool import JudgePool
from alpharay.judge.sandbox.choice import start_layer

# How long an example takes says more about the machine than about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest_asyncio.fixture(params=["full", "landlock"], scope="session", loop_scope="session")
async def pool(request):
    """A running pool in each layer of isolation, shared by all tests that only ask it."""
    async with JudgePool(workers=2, sandbox=request.param) as pool:
        yield pool


@pytest_asyncio.fixture(params=["full", "landlock"], scope="session", loop_scope="session")
async def worker(request):
    """One sandbox of each layer, for tests that look at single runs."""
    worker = await start_layer(request.param)
    yield worker
    worker.close()
