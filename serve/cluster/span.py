"""The members of a configuration as merges: which checkpoints each is computed from, and whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from alpharay.merge.adapters.adapter import open_adapter
from alpharay.merge.adapters.apply import adapted_tensors
from alpharay.merge.adapters.merge import open_adapters
from alpharay.merge.checkpoints.checkpoint import Checkpoint, open_checkpoint
from alpharay.merge.checkpoints.compatible import check_compatible
from alpharay.merge.checkpoints.delta import is_delta
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import Plan, alpha_name, read_settings
from alpharay.merge.compute.span import involved, plan_span
from alpharay.merge.errors import MergeError
from alpharay.serve.config import Config
from alpharay.serve.span import AdapterCheckpoint, Point

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Members that are computed from the same checkpoints, and so in one pass.

    A member's bits are then the same whatever other members there are.
    """

    checkpoints: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def line(self) -> bool:
        """Whether they lie on the line low..high, each at its alpha."""
        return self.checkpoints == ("low", "high")

    @property
    def alphas(self) -> tuple[float, ...]:
        return tuple(dict.fromkeys(point.alpha for point in self.points if point.alpha is not None))

    @property
    def weights(self) -> dict[str, Mapping[str, float]]:
        """Of each output, by its folder."""
        return {self.outputs[point.name]: point.weights for point in self.points}

    @property
    def outputs(self) -> dict[str, str]:
        """Of each point, the folder that a merge writes it to: two names of one alpha share it."""
        return {
            point.name: alpha_name(point.alpha) if self.line and point.alpha is not None else point.name
            for point in self.points
        }

    @property
    def shown(self) -> list[str]:
        """What is merged, as one word per output."""
        if self.line:
            return [repr(alpha) for alpha in self.alphas]
        return [f"{name}:{sorted(weights.items())}" for name, weights in self.weights.items()]

    def point(self, name: str) -> Point:
        return next(point for point in self.points if point.name == name)


def grouped(config: Config) -> list[Group]:
    """The members by the checkpoints that they are computed from."""
    groups: dict[tuple[str, ...], list[Point]] = {}
    for point in config.points:
        groups.setdefault(involved(config.named_checkpoints, point.weights), []).append(point)
    return [Group(checkpoints=names, points=tuple(points)) for names, points in groups.items()]


def plan_of(config: Config, group: Group, paths: Mapping[str, Path]) -> Plan:
    """The merge of a group. paths: of full checkpoints by name. Raises MergeError."""
    settings = read_settings(dtype=_DTYPES[config.engine.dtype], allow_config=config.differing_config)
    if group.line:
        return plan_ewa(low=paths["low"], high=paths["high"], alphas=group.alphas, settings=settings)
    checkpoints = {name: paths[name] for name in group.checkpoints}
    return plan_span(checkpoints=checkpoints, outputs=group.weights, settings=settings)


def check_architecture(config: Config) -> None:
    """Raises MergeError, which names the checkpoint: one cannot be read, or is of another model than the first."""
    opened: dict[str, Checkpoint] = {}
    for name, value in config.named_checkpoints.items():
        if isinstance(value, Path) and not is_delta(value):  # a delta is checked with what it leads on from
            with_name = f"checkpoints.{name}: " if config.checkpoints is not None else ""
            try:
                opened[name] = open_checkpoint(value)
                first = next(iter(opened.values()))
                check_compatible(first, opened[name], any_dtype=True, allow_config=config.differing_config)
            except MergeError as error:
                raise type(error)(f"{with_name}{error}") from error
    for name, value in config.named_checkpoints.items():
        if isinstance(value, AdapterCheckpoint):
            try:
                adapted_tensors(opened[value.base], open_adapter(value.adapter))
            except MergeError as error:
                raise type(error)(f"checkpoints.{name}: {error}") from error


def adapters_of(config: Config) -> tuple[str, Path, dict[str, Path]]:
    """The base's name and folder, and the adapters that the members are made of. Of hosting `adapters`."""
    named = config.named_checkpoints
    used = {name for group in grouped(config) for name in group.checkpoints}
    adapters = {name: value for name, value in named.items() if isinstance(value, AdapterCheckpoint)}
    taken = {name: value for name, value in adapters.items() if name in used} or adapters
    base = next(iter(taken.values())).base
    taken = {name: value for name, value in taken.items() if value.base == base}
    path = named[base]
    assert isinstance(path, Path)
    return base, path, {name: value.adapter for name, value in taken.items()}


def check_adapters(config: Config) -> None:
    """Raises MergeError: the members' adapters are not of one base."""
    _, base, adapters = adapters_of(config)
    open_adapters(adapters, str(base))
