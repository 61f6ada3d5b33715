"""The Ray Serve replica that answers HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from alpharay.serve.api import build_app
from alpharay.serve.config import Config
from alpharay.serve.frontier import ServedMember
from alpharay.serve.links import RayEngines, RayJudging
from alpharay.serve.server import Server
from alpharay.serve.store import Store
from alpharay.serve.trunk import Inlet


class Ingress:
    """Holds one `Server`; Ray Serve asks it for the application once it is made."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self,
        config: Config,
        members: tuple[ServedMember, ...],
        hosts: Mapping[str, Any],
        judge: Any,
        hub: Any,
        node_address: Callable[[], str],
    ) -> None:
        self._inlet = Inlet()
        await self._inlet.listen(node_address())
        engines = RayEngines(
            hosts,
            lambda member: self._server.is_down(member),  # noqa: PLW0108 - not there yet
            self._inlet,
        )
        judging = RayJudging(judge, lambda: self._server.judge_is_down)
        store = Store(config.store) if config.store else None
        self._server = Server(config, members, engines, judging, hub, store)
        self._tasks = [
            asyncio.create_task(self._server.exchange_forever()),
            asyncio.create_task(self._server.learning.exchange_forever()),
        ]

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(self._server)

    async def __del__(self) -> None:
        await self._inlet.close()
        server = getattr(self, "_server", None)  # it may have failed before it had one
        if server is not None:
            await server.learning.close()
