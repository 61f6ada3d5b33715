import pytest

from .clock import JumpingLoop, loop_time
from .fakes import Serving


def pytest_asyncio_loop_factories(config, item):
    return {"jumping": JumpingLoop}


@pytest.fixture(autouse=True)
def jumping_clock(monkeypatch):
    """The files that look at the clock themselves look at the jumping one."""
    for name in (
        "driver",
        "serve.sampling.ensemble",
        "serve.state.cluster_state",
        "serve.state.limits",
        "serve.gateway.admission",
        "serve.gateway.direct",
        "serve.gateway.direct_stream",
    ):
        monkeypatch.setattr(f"alpharay.{name}.time", loop_time())


@pytest.fixture
async def serve(jumping_clock):
    """serve(**config sections) is an ingress replica over fakes; at the end it must hold nothing any more."""
    made = []

    async def start(**options):
        made.append(Serving(**options))
        await made[-1].all_up()
        return made[-1]

    yield start
    for replica in made:
        replica.finish()


@pytest.fixture
async def serving(serve):
    """An ingress replica over five members, all up."""
    return await serve()
