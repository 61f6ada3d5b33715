"""The configuration file: YAML, validated, every unknown key an error that names the nearest known one."""

from __future__ import annotations

import re
from pathlib import Path
from types import NoneType
from typing import Any, Literal, cast, get_args

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from alpharay.router import MAX_SAMPLES_PER_MEMBER, POLICIES, SELECTORS, selector_names
from alpharay.serve.errors import ConfigError
from alpharay.serve.frontiers import EMBEDDED, embedded_config
from alpharay.serve.portfolio_file import read_portfolio
from alpharay.serve.sections import Judge, Scorer, ScorerUrl, Section, Server
from alpharay.serve.span import (
    TAGS,
    AdapterCheckpoint,
    Checkpoint,
    MemberEntry,
    NamedMember,
    Point,
    check_members,
    check_span,
    point_of,
)
from alpharay.serve.spelling import did_you_mean

_UNITS_S = {"h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


class Endpoints(Section):
    """The two trained checkpoints; relative paths count from the configuration file.

    allow_config: fields of config.json that may differ between them.
    """

    low: Path
    high: Path
    allow_config: tuple[str, ...] = ()


class Adapters(Section):
    """Two LoRA adapters of one base, in PEFT's format; relative paths count from the configuration file."""

    base: Path
    low: Path
    high: Path


class Autoscale(Section):
    """Replicas between `engine.replicas` and max per member (or group), as Ray Serve finds them busy.

    target: requests under way in a replica, samples counted one by one, at which it is well used.
    """

    max: int = Field(ge=1)
    target: float = Field(64, gt=0)


class Engine(Section):
    """How vLLM runs each member.

    dtype: what the weights are rounded to and computed in.
    replicas: engines per member, for throughput.
    members_per_replica: members whose engines share one Ray Serve replica, under hosting `replicas`.
        1 in production; more saves start-up time and memory where the models are small.
    merge_on_load: whether engines under hosting `replicas` compute their members from the checkpoints while they start;
        else each member is merged into the cache folder first and loaded from there. Left out, they do so on GPUs only,
        where members that load from one folder share compiled code.
    hang_s: an engine that gives no sign of life for so long, or whose requests get no token, is ended and
        restarted. Longer than the longest prompt takes.
    autoscale: more replicas while they are busy. resources: of Ray's, beside GPUs, that a replica takes of
        its node (`ray start --resources`): it is placed on nodes that have them.
    extra: any other argument of vLLM's, by its own name.
    """

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    max_model_len: int = Field(32768, ge=16)
    tensor_parallel_size: int = Field(1, ge=1)
    replicas: int = Field(1, ge=1)
    members_per_replica: int = Field(1, ge=1)
    merge_on_load: bool | None = None
    hang_s: float = Field(60, gt=0)
    autoscale: Autoscale | None = None
    resources: dict[str, float] = Field(default_factory=dict)
    extra: dict[str, Any] = Field(default_factory=dict)

    @property
    def most_replicas(self) -> int:
        """Replicas of one member (or group) at the busiest."""
        return self.autoscale.max if self.autoscale else self.replicas

    @model_validator(mode="after")
    def _room_to_scale(self) -> Engine:
        if self.autoscale and self.autoscale.max < self.replicas:
            raise ValueError(
                f"autoscale.max {self.autoscale.max} is below replicas {self.replicas}; lower one or raise the other"
            )
        return self


class Router(Section):
    """budget: samples of a request that carries tests and names no budget. deadline_s: wall seconds.

    turns: attempts at one candidate, the first one included; later ones are paid from the same budget.
    price: what 1000 tokens cost, in solved requests. 0: a budget is there to be used. Above it, `adaptive` and
        `bandit` stop when no sample left is worth its tokens.
    portfolio: the file in which an audit recommends a schedule, for the policy `portfolio`, which is then
        the default; without it that policy's split is learnt. A relative path counts from the configuration file.
    selector: which candidate is answered, of requests with a budget or tests that name no selector; those without the evidence that it
        needs are answered by `tests`. Its name, or `{url: …}` of a scorer.
    scorers: the only addresses at which a scorer is ever called, whether a request or this file names it.
    """

    policy: str = "uniform"
    selector: str | ScorerUrl = "tests"
    scorers: tuple[Scorer, ...] = ()
    budget: int = Field(16, ge=1)
    max_budget: int = Field(512, ge=1, le=MAX_SAMPLES_PER_MEMBER)
    deadline_s: float = Field(240, gt=0)
    turns: int = Field(1, ge=1, le=3)
    price: float = Field(0, ge=0, le=1000)
    portfolio: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _portfolio_policy_by_default(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("portfolio") is not None:
            return {"policy": "portfolio", **values}
        return values

    @field_validator("policy")
    @classmethod
    def _known_policy(cls, value: str) -> str:
        if value not in POLICIES:
            raise ValueError(f"{value!r} is not a policy of this version{did_you_mean(value, POLICIES)}")
        return value

    @field_validator("selector", mode="before")
    @classmethod
    def _known_selector(cls, value: Any) -> Any:
        if isinstance(value, dict) and set(value) == {"url"} and isinstance(value["url"], str):
            return ScorerUrl(url=value["url"])
        if not isinstance(value, str | ScorerUrl):
            raise ValueError(f"must be a selector's name, or {{url: …}} of a scorer, got {value!r}")  # noqa: TRY004
        if isinstance(value, str) and value not in (names := selector_names()):
            raise ValueError(f"{value!r} is not a selector of this version{did_you_mean(value, names)}")
        return value

    def scorer(self, url: str) -> Scorer | None:
        """The scorer at exactly that address; None: it may not be called."""
        return next((scorer for scorer in self.scorers if scorer.url == url), None)

    @model_validator(mode="after")
    def _scorer_is_listed(self) -> Router:
        if isinstance(self.selector, ScorerUrl) and self.scorer(self.selector.url) is None:
            raise ValueError(
                f"selector asks {self.selector.url!r}, which is not under `scorers`; add `scorers: [{{url: {self.selector.url}}}]`"
            )
        return self

    @model_validator(mode="after")
    def _budget_within_cap(self) -> Router:
        if self.budget > self.max_budget:
            raise ValueError(
                f"budget {self.budget} is above max_budget {self.max_budget}; lower one or raise the other"
            )
        return self


class Config(Section):
    """One served frontier.

    checkpoints: by name a checkpoint, or an adapter and the name of its base; relative paths count from the configuration
        file. `endpoints` is the short form for two named low and high, `adapters` for two adapters and their base.
    members: each an alpha on the line low..high, or a name and the weights of checkpoints.
    allow_config: fields of config.json that may differ between the checkpoints.
    hosting: `replicas`, one engine a member; `shift`, one engine that moves between the members' weights;
        `adapters`, one engine that holds every member as a LoRA adapter of one base.
    store_keep: how long the store keeps a request and what was learnt from it: hours, days or weeks, such as `36h`, `30d` or
        `8w`; null sets no limit.
    store_size: how many bytes of requests the store keeps, at least `100MB`, such as `10GB` or `1TB`: the oldest go first; null
        sets no limit.
    """

    name: str = Field("frontier", min_length=1, pattern=r"^[^@\s]+$")
    endpoints: Endpoints | None = None
    adapters: Adapters | None = None
    checkpoints: dict[str, Checkpoint] | None = Field(None, min_length=1)
    allow_config: tuple[str, ...] = ()
    members: tuple[MemberEntry, ...] = (-0.5, 0.0, 0.5, 1.0, 1.5)
    hosting: Literal["replicas", "shift", "adapters"] = "replicas"
    engine: Engine = Engine()
    router: Router = Router()
    judge: Judge = Judge()
    server: Server = Server()
    store: str | None = Field(None, pattern=r"^[a-z0-9+_]+://")
    store_keep: str | None = "90d"
    store_size: str | None = "10GB"

    @property
    def points(self) -> tuple[Point, ...]:
        """The members, each as its name within the frontier and its weights."""
        return tuple(map(point_of, self.members))

    @property
    def named_checkpoints(self) -> dict[str, Path | AdapterCheckpoint]:
        """The checkpoints by name, whichever form gives them, in the order that counts: `low` is before `high`."""
        if self.endpoints is not None:
            return {"low": self.endpoints.low, "high": self.endpoints.high}
        if self.adapters is not None:
            ends = {"low": self.adapters.low, "high": self.adapters.high}
            made = {name: AdapterCheckpoint(adapter=path, base="base") for name, path in ends.items()}
            return {"base": self.adapters.base, **made}
        checkpoints: dict[str, Path | AdapterCheckpoint] = dict(self.checkpoints or {})
        names = list(checkpoints)
        if {"low", "high"} <= checkpoints.keys() and names.index("high") < names.index("low"):
            swapped = {"low": "high", "high": "low"}
            checkpoints = {name: checkpoints[name] for name in (swapped.get(name, name) for name in names)}
        return checkpoints

    @property
    def differing_config(self) -> tuple[str, ...]:
        """Fields of config.json that may differ between the checkpoints."""
        return (*(self.endpoints.allow_config if self.endpoints else ()), *self.allow_config)

    @property
    def store_keep_s(self) -> float | None:
        """Seconds; None: for ever."""
        return None if self.store_keep is None else int(self.store_keep[:-1]) * _UNITS_S[self.store_keep[-1]]

    @field_validator("store_keep")
    @classmethod
    def _valid_store_keep(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[1-9][0-9]{0,5}[hdw]", value):
            raise ValueError(f"must be hours, days or weeks, such as 36h, 30d or 8w, or null, got {value!r}")
        return value

    @property
    def store_size_bytes(self) -> int | None:
        """None: no limit."""
        return None if self.store_size is None else int(self.store_size[:-2]) * _BYTES[self.store_size[-2:]]

    @field_validator("store_size")
    @classmethod
    def _valid_store_size(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[1-9][0-9]{2,5}MB|[1-9][0-9]{0,5}[GT]B", value):
            raise ValueError(f"must be at least 100MB, such as 500MB, 10GB or 1TB, or null, got {value!r}")
        return value

    @property
    def replica_count(self) -> int:
        """Ray Serve replicas that hold engines, over all members."""
        return -(-len(self.members) // self.members_per_replica) * self.engine.replicas

    @property
    def members_per_replica(self) -> int:
        return self.engine.members_per_replica if self.hosting == "replicas" else len(self.members)

    @property
    def engine_count(self) -> int:
        """How many vLLM engines there are, over all members."""
        return (len(self.members) if self.hosting == "replicas" else 1) * self.engine.replicas

    @model_validator(mode="after")
    def _checkpoints_for_hosting(self) -> Config:
        forms = [name for name in ("endpoints", "adapters", "checkpoints") if getattr(self, name) is not None]
        if len(forms) > 1:
            raise ValueError(
                f"name the checkpoints under {' or under '.join(f'`{n}`' for n in forms)}, not under both"
            )
        if self.hosting == "adapters" and self.endpoints is not None:
            raise ValueError(
                "hosting 'adapters' needs `adapters: {base, low, high}`, two LoRA adapters of one base, or `checkpoints` "
                "that are a base and adapters of it; full checkpoints are hosted by 'replicas' or 'shift'"
            )
        if self.hosting == "adapters" and self.checkpoints is not None:
            _check_one_base(self.named_checkpoints, self.points)
        if self.hosting != "adapters" and self.adapters is not None:
            raise ValueError(
                f"`adapters` are hosted by 'adapters', not by {self.hosting!r}; set `hosting: adapters`"
            )
        if not forms:
            raise ValueError("'endpoints' is missing")
        return self

    @model_validator(mode="after")
    def _points_of_the_span(self) -> Config:
        if self.named_checkpoints:
            check_span(self.named_checkpoints, self.members)
        return self

    @field_validator("members")
    @classmethod
    def _distinct(cls, value: tuple[MemberEntry, ...]) -> tuple[MemberEntry, ...]:
        return check_members(value)


def _check_one_base(checkpoints: dict[str, Path | AdapterCheckpoint], points: tuple[Point, ...]) -> None:
    """Raises ValueError: the members are not all of one base and adapters of it."""
    used = {name for point in points for name, weight in point.weights.items() if weight}
    adapters = {name: value for name, value in checkpoints.items() if isinstance(value, AdapterCheckpoint)}
    bases = {value.base for name, value in adapters.items() if name in used} | (used - adapters.keys())
    if len(bases) != 1 or not adapters:
        raise ValueError(
            "hosting 'adapters' needs members of one base and LoRA adapters of it, these are of "
            f"{', '.join(sorted(bases))}; host them by 'replicas' or 'shift'"
        )


def load(path: Path | None) -> Config:
    """The configuration in that file, or that of the default embedded frontier.

    Raises ConfigError: the file is missing, is not YAML, or a key of it cannot be used. Raises PluginError: an
    installed policy or selector cannot be used.
    """
    path = path or embedded_config()
    for plugins in (POLICIES, SELECTORS):
        plugins.load_all()  # otherwise a broken plug-in would only be reported by the first request that names it
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        hint = (
            f"; `--embedded {path}` is a frontier that comes with the package"
            if str(path) in EMBEDDED
            else ""
        )
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{hint}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # Beside its own errors PyYAML lets through those of the values it makes, such as a 13th month.
        raise ConfigError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise ConfigError(
            f"{path}: a configuration is a mapping such as `name: frontier`, this is {type(document).__name__}"
        )
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path}: {'; '.join(map(_line, error.errors()))}") from error
    updates: dict[str, Any] = {
        section: value.model_copy(
            update={
                name: _resolved(path, f"{section}.{name}", location)
                for name, location in value
                if isinstance(location, Path)
            }
        )
        for section in ("endpoints", "adapters")
        if (value := getattr(config, section)) is not None
    }
    paths: dict[str, Any] = {
        name: _resolved(path, f"server.{name}", location)
        for name in ("api_keys_file", "log_folder", "rollouts")
        if (location := getattr(config.server, name)) is not None
    }
    if (location := config.server.batches.folder) is not None:
        folder = _resolved(path, "server.batches.folder", location)
        paths["batches"] = config.server.batches.model_copy(update={"folder": folder})
    updates["server"] = config.server.model_copy(update=paths)
    if config.judge.packages is not None:
        packages = _resolved(path, "judge.packages", config.judge.packages)
        updates["judge"] = config.judge.model_copy(update={"packages": packages})
    if config.checkpoints is not None:
        updates["checkpoints"] = {
            name: _resolved_checkpoint(path, name, value) for name, value in config.checkpoints.items()
        }
    if config.router.portfolio is not None:
        file = _resolved(path, "router.portfolio", config.router.portfolio)
        read_portfolio(file, [f"{config.name}@{point.name}" for point in config.points])
        updates["router"] = config.router.model_copy(update={"portfolio": file})
    return config.model_copy(update=updates)


def _resolved_checkpoint(path: Path, name: str, value: Path | AdapterCheckpoint) -> Path | AdapterCheckpoint:
    if isinstance(value, Path):
        return _resolved(path, f"checkpoints.{name}", value)
    adapter = _resolved(path, f"checkpoints.{name}.adapter", value.adapter)
    return value.model_copy(update={"adapter": adapter})


def _resolved(path: Path, name: str, location: Path) -> Path:
    """The path under key `name`; a relative path is resolved against the folder of the configuration at `path`."""
    try:
        return (path.parent / location.expanduser()).resolve()
    except RuntimeError as error:
        raise ConfigError(f"{path}: {name}: {location} names the home folder of nobody") from error


def _line(error: Any) -> str:
    """One of pydantic's errors as a clause that names the key as the user wrote it."""
    loc = _written(error["loc"])
    key = ".".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}{did_you_mean(str(loc[-1]), _section_at(error['loc'][:-1]).model_fields)}"
    if error["type"] == "missing":
        return f"{key!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key}: {message[:1].lower()}{message[1:]}" if key else message


def _written(loc: tuple[Any, ...]) -> tuple[Any, ...]:
    """The location of an error without the tags of pydantic's unions, which follow a member's number or checkpoint's name."""
    if len(loc) > 2 and loc[0] in ("members", "checkpoints") and loc[2] in (*TAGS, "[key]"):
        return (*loc[:2], *loc[3:])
    return loc


def _section_at(loc: tuple[Any, ...]) -> type[Section]:
    """The section that an error lies in."""
    if loc[:1] == ("members",):
        return NamedMember
    if loc[:1] == ("checkpoints",):
        return AdapterCheckpoint
    section: Any = Config
    for part in loc:
        if isinstance(part, int):  # an item of a tuple, whose type was taken with it
            continue
        section = section.model_fields[part].annotation
        # A section that may be left out is one of two types, itself and None.
        section = next((option for option in get_args(section) if option is not NoneType), section)
    return cast("type[Section]", section)
