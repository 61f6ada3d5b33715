"""Implementations by name: built in, or added by an installed package's entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, cast

from alpharay.errors import AlpharayError

T = TypeVar("T")


class PluginError(AlpharayError):
    """An installed plug-in cannot be used; the message names its entry point and its package."""


class Registry(Mapping[str, T], Generic[T]):
    """A mapping that falls back to the entry points of `group` for names that are not built in."""

    def __init__(self, group: str, builtin: Mapping[str, T]) -> None:
        self._group = group
        self._builtin = dict(builtin)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        plugins: dict[str, EntryPoint] = {}
        for point in entry_points(group=self._group):
            if point.name in self._builtin or point.name in plugins:
                raise PluginError(
                    f"{_origin(point)} takes the name {point.name!r} in {self._group}, which is taken; rename it"
                )
            plugins[point.name] = point
        return plugins

    def __getitem__(self, name: str) -> T:
        """Raises KeyError, and PluginError for a plug-in that cannot be loaded."""
        if name in self._builtin:
            return self._builtin[name]
        point = self._plugins[name]
        try:
            loaded: Any = point.load()
        except Exception as error:
            raise PluginError(
                f"{_origin(point)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error
        self._builtin[name] = cast("T", loaded)
        return self._builtin[name]

    def load_all(self) -> None:
        """Loads every plug-in, so that a broken plug-in is reported at start. Raises PluginError."""
        for name in self:
            self[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self._builtin, **self._plugins})

    def __len__(self) -> int:
        return len({**self._builtin, **self._plugins})


def _origin(point: EntryPoint) -> str:
    package = f" of {point.dist.name}" if point.dist is not None else ""
    return f"the entry point {point.name} = {point.value}{package}"
