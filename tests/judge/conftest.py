import pytest_asyncio

from alpharay.judge.pool import JudgePool


@pytest_asyncio.fixture(params=["full", "landlock"], scope="session", loop_scope="session")
async def pool(request):
    """A running pool in each layer of isolation, shared by all tests that only ask it."""
    async with JudgePool(workers=2, sandbox=request.param) as pool:
        yield pool
