"""One member's vLLM engine, with vLLM's own HTTP application around it.

The only file that touches vLLM's inside; its imports move from version to version (tried: 0.32).
Importing this file imports vLLM.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import uuid
from argparse import Namespace
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import vllm.v1.engine.utils as vllm_engine_utils
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.platforms import current_platform
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.async_llm import AsyncLLM

from alpharay.serve import asgi
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.errors import ConfigError
from alpharay.serve.spelling import did_you_mean

_FORK_SERVER = multiprocessing.get_context("forkserver")

# Making an engine's configuration touches process-wide state (loggers, torch's thread count): one at a
# time. Loading, which takes the time, runs side by side.
_CONFIGURING = asyncio.Lock()


# vLLM would spawn each engine process, and every spawned one imports vLLM anew (20 s of CPU). Five
# engines forked from one process that has imported it are up in the time of one. That process is a
# fork server, not the replica itself: the replica has threads, which do not survive a fork.
vllm_engine_utils.get_mp_context = lambda: _FORK_SERVER


# They would lock our own calls out of the application, or name the model differently.
_NOT_FOR_US = {"api_key", "root_path", "lora_modules", "headless", "api_server_count"}


class MemberEngine:
    """A member's engine: starts it, passes requests to it, tells whether it lives.

    instance: differs from start to start, so that a restart can be seen from outside.
    """

    def __init__(self, name: str, checkpoint: Path, config: EngineConfig) -> None:
        self.name = name
        self.instance = ""
        self._arguments = _arguments(name, checkpoint, config)
        self._engine: AsyncLLM | None = None
        self._app: Any = None

    async def start(self) -> None:
        """Starts the engine, or a new one in place of a dead one. Slow: seconds to minutes."""
        await self.stop()
        engine_args = AsyncEngineArgs.from_cli_args(self._arguments)
        async with _CONFIGURING:
            config = await asyncio.to_thread(engine_args.create_engine_config, UsageContext.OPENAI_API_SERVER)
        # vLLM's statistics live in one registry a process, where engines that start together collide.
        engine = await asyncio.to_thread(AsyncLLM.from_vllm_config, config, disable_log_stats=True)
        try:
            tasks = await engine.get_supported_tasks()
            app = build_app(self._arguments, tasks)
            await init_app_state(engine, app.state, self._arguments, tasks)
        except BaseException:
            engine.shutdown()  # else it would hold its memory while the next try wants it
            raise
        self._engine, self._app, self.instance = engine, app, uuid.uuid4().hex

    async def stop(self) -> None:
        engine, self._engine, self._app = self._engine, None, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)

    @property
    def alive(self) -> bool:
        return self._engine is not None and not self._engine.errored

    @property
    def unfinished(self) -> int:
        """Requests that hold a place in the engine, waiting ones included."""
        return self._engine.output_processor.get_num_unfinished_requests() if self._engine is not None else 0

    async def call(self, path: str, body: bytes, headers: Mapping[str, str]) -> asgi.Reply:
        """One whole answer of vLLM's own endpoint at that path; cancelling aborts it in the engine."""
        return await asgi.call(self._app, path, body, headers)

    @asynccontextmanager
    async def open_call(
        self, path: str, body: bytes, headers: Mapping[str, str]
    ) -> AsyncIterator[asgi.OpenReply]:
        """One streamed answer; leaving the block before its end aborts it in the engine."""
        async with asgi.open_call(self._app, path, body, headers) as reply:
            yield reply


def _arguments(name: str, checkpoint: Path, config: EngineConfig) -> Namespace:
    """VLLM's own server arguments, as if given to `vllm serve`.

    Raises ConfigError: `engine.extra` names what vLLM does not know.
    """
    arguments: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    ours = {
        "model": str(checkpoint),
        "served_model_name": [name],
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "tensor_parallel_size": config.tensor_parallel_size,
        "disable_fastapi_docs": True,
        "disable_log_stats": True,
    }
    defaults: dict[str, Any] = {}
    if current_platform.is_cpu():
        defaults["enforce_eager"] = True  # compiling takes longer than small models on a CPU ever win back
        # A seeded request whose prompt is cut in two kills vLLM's CPU engine (it rewinds the sampler's
        # generator, which a CPU generator cannot do), and all our samples are seeded.
        defaults["enable_chunked_prefill"] = False
    elif config.members_per_replica > 1:
        # vLLM's own default, shared by the engines that will hold this replica's GPU together.
        defaults["gpu_memory_utilization"] = 0.9 / config.members_per_replica
    for key in config.extra:
        if key in ours or key in _NOT_FOR_US:
            raise ConfigError(
                f"engine.extra.{key}: this is not yours to set here; alpharay sets or checks it itself"
            )
        if not hasattr(arguments, key):
            raise ConfigError(
                f"engine.extra.{key}: vLLM knows no such argument{did_you_mean(key, vars(arguments))}"
            )
    for key, value in (defaults | config.extra | ours).items():
        setattr(arguments, key, value)
    return arguments
