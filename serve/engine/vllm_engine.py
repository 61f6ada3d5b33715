"""A vLLM engine for one or several members, with vLLM's own HTTP application around it.

vLLM's internals are used here, in `vllm_samples.py`, `vllm_scheduler.py` and `statistics.py`; they move from version to
version (tried: 0.32; imports of 0.26).
Importing this file imports vLLM.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import uuid
from argparse import Namespace
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import psutil
import vllm.envs as vllm_envs
import vllm.v1.engine.utils as vllm_engine_utils
from vllm.config.lora import MaxLoRARanks
from vllm.distributed.weight_transfer.base import WeightTransferInitRequest, WeightTransferUpdateRequest
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.anthropic.serving import AnthropicServingMessages
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.models.protocol import LoRAModulePath
from vllm.entrypoints.openai.responses.serving import OpenAIServingResponses
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind
from vllm.usage.usage_lib import UsageContext
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.utils.import_utils import import_pynvml
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import OutputProcessor

from alpharay.merge.engine.shift import check_movable
from alpharay.merge.errors import UsageError
from alpharay.serve.config import Engine as EngineConfig
from alpharay.serve.dialects.api_request import EngineBody
from alpharay.serve.dialects.messages import SEED
from alpharay.serve.engine import fill_in_middle
from alpharay.serve.engine.first_sample import draw_first_sample
from alpharay.serve.engine.gpu_memory import GpuMemory, until_free
from alpharay.serve.engine.statistics import Statistics
from alpharay.serve.engine.text_chunks import text_chunks
from alpharay.serve.engine.weight_switch import WeightSwitchScheduler
from alpharay.serve.errors import ConfigError
from alpharay.serve.spelling import did_you_mean
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec, LoraWeights, MergeOnLoadWeights
from alpharay.serve.transport import asgi

try:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
except ModuleNotFoundError:  # 0.26, which bench/gpu may find on a machine whose PyTorch is older
    from vllm.entrypoints.openai.api_server import build_app, init_app_state
    from vllm.entrypoints.openai.cli_args import make_arg_parser

if TYPE_CHECKING:
    from alpharay.serve.engine.vllm_samples import Samples

log = logging.getLogger("ray.serve")

MEASURING = "alpharay.serve.engine.worker.Measuring"
_FORK_SERVER = multiprocessing.get_context("forkserver")

# Making an engine's configuration touches process-wide state (loggers, torch's thread count): one at a
# time. Loading, which takes the time, runs side by side.
_CONFIGURING = asyncio.Lock()


# vLLM would spawn each engine process, and every spawned one imports vLLM anew (20 s of CPU). Five
# engines forked from one process that has imported it are up in the time of one. That process is a
# fork server, not the replica itself: the replica has threads, which do not survive a fork.
vllm_engine_utils.get_mp_context = lambda: _FORK_SERVER


# VLLM asks for it at every token of every request, each time of the operating system's environment: a quarter of what
# the host does for a token.
vllm_envs.VLLM_COMPUTE_NANS_IN_LOGITS = vllm_envs.VLLM_COMPUTE_NANS_IN_LOGITS


# They would lock our own calls out of the application, or name the model differently.
_NOT_FOR_US = {"api_key", "root_path", "lora_modules", "headless", "api_server_count", "load_format"}


# A death is noticed a moment after its requests fail.
_DEATH_S = 0.2

_EVENTS = "text/event-stream; charset=utf-8"

# Nobody looks for hangs while an engine moves, which may read its checkpoints from a cold disk. This ends one that does.
_MOVE_S = 900.0


class EngineReplaced(Exception):
    """The sample is lost: what the request waited for is gone."""


class VllmEngine:
    """The engine of one engine spec: starts it, passes requests to it, checks its health.

    instance: differs from start to start, so that a restart can be seen from outside.
    """

    def __init__(self, spec: EngineSpec, config: EngineConfig) -> None:
        self.spec = spec
        self.instance = ""
        self._arguments = _arguments(spec, config)
        self._engine: AsyncLLM | None = None
        self._app: Any = None
        self._samples: Samples | None = None
        self._weight_switch: WeightSwitchScheduler | None = None

    async def start(self) -> None:
        """Starts the engine, or a new one in place of a dead one. Slow: seconds to minutes."""
        await self.stop()
        if not current_platform.is_cpu():
            # What an engine that died held, this one's or that of a replica that Ray replaced.
            share = self._arguments.gpu_memory_utilization
            gpus = self._arguments.tensor_parallel_size
            await until_free(", ".join(self.spec.members), partial(_gpu_memory, gpus), share)
        engine_args = AsyncEngineArgs.from_cli_args(self._arguments)
        async with _CONFIGURING:
            config = await asyncio.to_thread(engine_args.create_engine_config, UsageContext.OPENAI_API_SERVER)
        if self.spec.moves:
            _refuse_unmovable(config.model_config)
        _hold_whole_samples(config.scheduler_config)
        # vLLM's statistics go out through Ray. Its own logger would put them into the one registry of this
        # process, where engines that start together collide; `disable_log_stats` leaves that one out.
        engine = await asyncio.to_thread(
            partial(
                _Engine.from_vllm_config,
                config,
                stat_loggers=[Statistics],
                disable_log_stats=True,
            )
        )
        engine.output_processor.__class__ = _OutputProcessor
        try:
            tasks = await engine.get_supported_tasks()
            engine.tasks = tasks
            app = build_app(self._arguments, tasks)
            await init_app_state(engine, app.state, self._arguments, tasks)
            _adapt(app.state)
            if self.spec.moves:
                await engine.init_weight_transfer_engine(WeightTransferInitRequest())
                await engine.update_weight_version(self.spec.members[0])
            await draw_first_sample(
                app, self.spec.members[0], logprobs=0 if self._arguments.max_logprobs == 0 else 1
            )
        except BaseException:
            engine.shutdown()  # else it would hold its memory while the next try wants it
            raise
        if self.spec.moves:
            self._weight_switch = WeightSwitchScheduler(self.spec.members[0], partial(self._shift_to, engine))
        self._engine, self._app, self._samples = engine, app, _samples(app.state)
        self.instance = uuid.uuid4().hex

    async def stop(self) -> None:
        engine = self._engine
        self._engine = self._app = self._samples = self._weight_switch = None
        if engine is not None:
            # vLLM's own: a process that ended while it was about to kill it.
            with suppress(psutil.NoSuchProcess):
                await asyncio.to_thread(engine.shutdown)

    async def cache_bytes(self) -> int:
        """Bytes of each GPU that hold the key-value cache of this engine, which has started; the least of its GPUs.

        0: it cannot be measured.
        """
        assert self._engine is not None
        if self._arguments.worker_extension_cls != MEASURING:  # the user's own took its place
            return 0
        return int(min(await self._engine.collective_rpc("alpharay_cache_bytes")))

    def reserve_cache(self, size: int) -> None:
        """Has the next start reserve so many bytes instead of measuring; what `engine.extra` says stays."""
        if self._arguments.kv_cache_memory_bytes is None:
            self._arguments.kv_cache_memory_bytes = size

    @property
    def alive(self) -> bool:
        return self._engine is not None and not self._engine.errored

    @property
    def moving(self) -> bool:
        """Whether it is on its way to another member's weights, and can answer nothing until it is there."""
        return self._weight_switch is not None and self._weight_switch.moving

    async def sign_of_life(self) -> None:
        """Returns once the engine's process has answered, which it does between two steps."""
        if self._engine is not None:
            await self._engine.is_paused()

    def tokens_out(self) -> dict[str, int]:
        """Of every request that holds a place in the engine, by its id: how many tokens have come of it."""
        states = self._engine.output_processor.request_states if self._engine is not None else {}
        return {
            name: state.detokenizer.num_output_tokens() if state.detokenizer is not None else 0
            for name, state in states.items()
        }

    def kill(self) -> None:
        """Ends the engine's processes at once, whatever they are at."""
        manager = self._engine.engine_core.resources.engine_manager if self._engine is not None else None
        for process in manager.processes if manager is not None else ():
            process.kill()

    def unfinished(self, member: str) -> int:
        """Requests of that member that hold a place in the engine, waiting ones included."""
        if self._engine is None:
            return 0
        if isinstance(self.spec.weights, LoraWeights):
            states = self._engine.output_processor.request_states.values()
            return sum(state.lora_name == member for state in states)
        if self._weight_switch is not None and self._weight_switch.at != member:
            return 0
        return int(self._engine.output_processor.get_num_unfinished_requests())

    def load(self) -> tuple[int, float]:
        """(requests waiting in the scheduler, share of the KV cache in use), as of its last step."""
        manager = self._engine.logger_manager if self._engine is not None else None
        for logger in manager.stat_loggers if manager is not None else ():
            latest = getattr(logger, "latest", None)
            if latest is not None:
                return latest.num_waiting_reqs + latest.num_skipped_waiting_reqs, float(latest.kv_cache_usage)
        return 0, 0.0

    async def sample(
        self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> asgi.Reply:
        """One whole answer of vLLM's own endpoint at that path; cancelling aborts it in the engine."""
        async with self._turn(member):
            reply = await self._samples.reply(path, body, headers) if self._samples is not None else None
            return reply or await asgi.call(self._app, path, body.whole().encode(), headers)

    @asynccontextmanager
    async def open_call(
        self, member: str, path: str, body: EngineBody, headers: Mapping[str, str]
    ) -> AsyncIterator[asgi.OpenReply]:
        """One streamed answer; leaving the block before its end aborts it in the engine."""
        async with self._turn(member):
            events = await self._samples.stream(path, body, headers) if self._samples is not None else None
            if events is not None:
                async with aclosing(events):
                    yield asgi.OpenReply(200, _EVENTS, self._with_fault(_encoded(events)))
                return
            async with asgi.open_call(self._app, path, body.whole().encode(), headers) as reply:
                yield replace(reply, chunks=self._with_fault(reply.chunks))

    async def _with_fault(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks; where the application of a living engine breaks off, an error event in their place.

        Chat and completions write one themselves, Responses do not.
        """
        instance = self.instance
        try:
            async for chunk in chunks:
                yield chunk
        except Exception:
            await asyncio.sleep(_DEATH_S)
            if not self.alive or self.instance != instance:
                raise
            log.exception("vLLM's application broke off an answer")
            yield b'event: error\ndata: {"error": {"message": "", "type": "InternalServerError", "code": 500}}\n\n'

    @asynccontextmanager
    async def _turn(self, member: str) -> AsyncIterator[None]:
        """Within the block the engine holds that member's weights."""
        weight_switch, instance = self._weight_switch, self.instance
        if weight_switch is None:
            yield
            return
        async with weight_switch.turn(member):
            if (
                self.instance != instance
            ):  # the new engine has a weight-switch scheduler of its own, and may be elsewhere
                raise EngineReplaced(f"{member}: its engine was restarted while the request waited")
            yield

    async def _shift_to(self, engine: AsyncLLM, member: str) -> None:
        """Moves the idle engine to another member's weights."""
        weights = self.spec.weights
        assert isinstance(weights, MergeOnLoadWeights)
        replaced = self._engine is not engine
        if replaced:
            raise EngineReplaced(f"{member}: its engine was restarted while the request waited")
        try:
            async with asyncio.timeout(_MOVE_S):
                # Aborts what a client left behind in the engine, and drops all that was cached under the old weights.
                await engine.pause_generation(mode="abort", clear_cache=True)
                await engine.start_weight_update()
                point = {"weights": dict(weights.points[member])}
                await engine.update_weights(WeightTransferUpdateRequest(update_info=point))
                await engine.finish_weight_update(weight_version=member)
                await engine.resume_generation()
        except BaseException:
            await self.stop()  # part of its weights may have moved: its host starts a new one
            raise
        # Answers carry the first of the served names as their model.
        self._app.state.openai_serving_models.base_model_paths.sort(key=lambda path: path.name != member)


class _Engine(AsyncLLM):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's engine client, which refuses a request to stream before its response begins.

    vLLM itself checks sampling parameters and prompt tokens only when the first token is asked for. Then the
    status 200 has been sent, and each dialect ends its stream in another way: some lose the message.
    """

    tasks: tuple[Any, ...] = ()

    def generate(self, prompt: Any, sampling_params: Any, request_id: str, **options: Any) -> Any:
        self.check(prompt, sampling_params, request_id, **options)
        return super().generate(prompt, sampling_params, request_id, **options)

    def check(self, prompt: Any, sampling_params: Any, request_id: str, **options: Any) -> None:
        """Raises the errors that vLLM answers with 400. Only for streams: for other requests vLLM reports them in
        time.
        """
        rendered = isinstance(prompt, dict) and "type" in prompt
        if rendered and sampling_params.output_kind is RequestOutputKind.DELTA:
            known = {key: options[key] for key in ("lora_request", "data_parallel_rank") if key in options}
            self.input_processor.process_inputs(
                request_id, prompt, sampling_params, supported_tasks=self.tasks, **known
            )


class _OutputProcessor(OutputProcessor):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's, for tokens that come together: their latency is measured once, as the mean of them."""

    def _update_stats_from_output(
        self, req_state: Any, engine_core_output: Any, at: float | None, iteration_stats: Any
    ) -> None:
        started = not req_state.is_prefilling
        super()._update_stats_from_output(req_state, engine_core_output, at, iteration_stats)
        together = len(engine_core_output.new_token_ids)
        whole = req_state.output_kind is RequestOutputKind.FINAL_ONLY
        if iteration_stats is not None and started and whole and together > 1:
            iteration_stats.inter_token_latencies_iter[-1] /= together


class _Chat(OpenAIServingChat):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's chat, whose text chunks are written from a template where nothing but their text changes."""

    def chat_completion_stream_generator(
        self, request: Any, result_generator: Any, *rest: Any, **options: Any
    ) -> AsyncGenerator[str, None]:
        write = super().chat_completion_stream_generator
        if self.parser_cls is not None or self.enable_log_outputs or (request.n or 1) > 1:
            return write(request, result_generator, *rest, **options)  # type: ignore[no-any-return]
        return text_chunks(lambda outputs: write(request, outputs, *rest, **options), result_generator)


class _Responses(OpenAIServingResponses):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's Responses, whose generator asks the engine only after `response.created`."""

    def _generate_with_builtin_tools(
        self, request_id: str, engine_input: Any, sampling_params: Any, *rest: Any, **options: Any
    ) -> Any:
        self.engine_client.check(engine_input, sampling_params, request_id, **options)
        return super()._generate_with_builtin_tools(
            request_id, engine_input, sampling_params, *rest, **options
        )


class _Messages(AnthropicServingMessages):  # type: ignore[misc]  # vLLM is not typed for us
    """VLLM's Messages, with a seed; and with `thinking` ignored where the model has no reasoning parser.

    Agents ask every model to think. vLLM refuses a thinking budget that it cannot count.
    """

    @classmethod
    def _build_base_request(cls, anthropic_request: Any, openai_messages: Any) -> Any:
        request = super()._build_base_request(anthropic_request, openai_messages)
        if request.vllm_xargs:
            request.seed = request.vllm_xargs.pop(SEED, None)
        return request

    async def create_messages(self, request: Any, raw_request: Any = None) -> Any:
        if self.parser_cls is None or self.parser_cls.reasoning_parser_cls is None:
            request.thinking = None
        return await super().create_messages(request, raw_request)


async def _encoded(events: AsyncIterator[str]) -> AsyncIterator[bytes]:
    async for event in events:
        yield event.encode()


def _samples(state: Any) -> Samples | None:
    try:
        from alpharay.serve.engine.vllm_samples import Samples
    except ModuleNotFoundError:  # 0.26: every sample through the HTTP application
        return None
    return Samples(state)


def _adapt(state: Any) -> None:
    """What vLLM's own endpoints lack: a seed in Messages, `suffix` for models that know it, early refusals in Responses,
    and cheaper chunks.
    """
    if type(state.openai_serving_chat) is OpenAIServingChat:
        state.openai_serving_chat.__class__ = _Chat
    if state.openai_serving_responses is not None:
        state.openai_serving_responses.__class__ = _Responses
    if state.anthropic_serving_messages is not None:
        state.anthropic_serving_messages.__class__ = _Messages
    renderer = state.online_renderer.renderer
    words = fill_in_middle.layout(renderer.get_tokenizer().get_vocab())
    if words is not None:
        renderer.render_completion_suffix = lambda prefix, suffix: fill_in_middle.prompt(
            words, prefix, suffix
        )


def _arguments(spec: EngineSpec, config: EngineConfig) -> Namespace:
    """VLLM's own server arguments, as if given to `vllm serve`.

    Raises ConfigError: `engine.extra` names what vLLM does not know.
    """
    arguments: Namespace = make_arg_parser(FlexibleArgumentParser()).parse_args([])
    ours = {
        "dtype": config.dtype,
        "max_model_len": config.max_model_len,
        "tensor_parallel_size": config.tensor_parallel_size,
        "disable_fastapi_docs": True,
        "disable_log_stats": True,
        **_weights(spec),
    }
    defaults: dict[str, Any] = {"scheduling_policy": "priority"}  # each sample brings one: `engine_headers`
    if current_platform.is_cpu():
        defaults["enforce_eager"] = True  # compiling takes longer than small models on a CPU ever win back
        # A seeded request whose prompt is cut in two kills vLLM's CPU engine (it rewinds the sampler's
        # generator, which a CPU generator cannot do), and all our samples are seeded.
        defaults["enable_chunked_prefill"] = False
    elif config.members_per_replica > 1 and not spec.moves and not isinstance(spec.weights, LoraWeights):
        # vLLM's own default, shared by the engines that will hold this replica's GPU together.
        defaults["gpu_memory_utilization"] = 0.9 / config.members_per_replica
        defaults["worker_extension_cls"] = MEASURING
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


def _hold_whole_samples(config: Any) -> None:
    """Has the engine's scheduler send the tokens of whole samples together, unless `engine.extra` names another one."""
    ours = {Scheduler: "WholeSampleScheduler", AsyncScheduler: "WholeSampleAsyncScheduler"}
    name = ours.get(config.get_scheduler_cls()) if config.scheduler_cls is None else None
    if name is not None:
        config.scheduler_cls = f"alpharay.serve.engine.vllm_scheduler.{name}"


def _gpu_memory(count: int) -> list[GpuMemory]:
    """Of the first `count` GPUs that this process may use; by NVML, since CUDA would stay up in this process."""
    nvml = import_pynvml()
    nvml.nvmlInit()
    try:
        numbers = (current_platform.device_id_to_physical_device_id(index) for index in range(count))
        memories = [
            nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(number)) for number in numbers
        ]
    finally:
        nvml.nvmlShutdown()
    return [GpuMemory(free=int(memory.free), total=int(memory.total)) for memory in memories]


def _weights(spec: EngineSpec) -> dict[str, Any]:
    """The arguments that say what the engine loads, and under which names it answers."""
    weights = spec.weights
    if isinstance(weights, CheckpointWeights):
        return {"model": str(weights.checkpoint), "served_model_name": list(spec.members)}
    if isinstance(weights, LoraWeights):
        return {
            "model": str(weights.base),
            # No member's name begins so.
            "served_model_name": [f"{spec.members[0].partition('@')[0]}@-base"],
            "enable_lora": True,
            "lora_modules": [LoRAModulePath(name, str(path)) for name, path in weights.adapters.items()],
            "max_loras": len(spec.members),
            "max_lora_rank": _rank_setting(weights.max_rank),
        }
    first = next(iter(weights.checkpoints.values()))
    arguments = {
        "model": str(first),
        "tokenizer": str(weights.tokenizer or first),
        "served_model_name": list(spec.members),
        "load_format": "alpharay",
        "model_loader_extra_config": {
            "checkpoints": {name: str(path) for name, path in weights.checkpoints.items()},
            "weights": dict(weights.points[spec.members[0]]),
            "dtype": weights.dtype,
            "allow_config": weights.allow_config,
        },
    }
    return arguments | ({"weight_transfer_config": {"backend": "alpharay"}} if spec.moves else {})


def _refuse_unmovable(model_config: Any) -> None:
    """Raises ConfigError: the model is one that `shift` cannot host."""
    try:
        check_movable(model_config)
    except UsageError as error:
        raise ConfigError(f"hosting shift: {error}") from error


def _rank_setting(rank: int) -> int:
    """The least rank that vLLM has a setting for and that holds `rank`. Raises ConfigError."""
    settings: tuple[int, ...] = get_args(MaxLoRARanks)
    if rank > settings[-1]:
        raise ConfigError(
            f"the merged adapters have rank {rank}, the sum of those that a member is made of, and vLLM holds {settings[-1]} at most; "
            "merge them into full checkpoints, and host those by 'replicas'"
        )
    return min(setting for setting in settings if setting >= rank)
