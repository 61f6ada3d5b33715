"""A revision: a configuration, its members, and the specs of their engines."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpharay.serve.config import Config
from alpharay.serve.errors import ConfigError
from alpharay.serve.span import AdapterCheckpoint
from alpharay.serve.spelling import did_you_mean, shown
from alpharay.serve.state.engine_spec import EngineSpec
from alpharay.serve.state.members import ServedMember

# Keys that can change on a running server. All others are fixed in its engines, its address or its cluster state.
_MAY_CHANGE = ("endpoints", "adapters", "checkpoints", "allow_config", "members", "router")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    config: Config
    members: tuple[ServedMember, ...]
    specs: tuple[EngineSpec, ...]

    def groups(self) -> dict[str, tuple[EngineSpec, ...]]:
        """The engines that share a Ray Serve replica, by the name of their deployment.

        The name says which weights they hold: engines of other weights are another deployment, beside which the
        first one can go on.
        """
        specs, size = iter(self.specs), self.config.engine.members_per_replica
        groups = iter(lambda: tuple(itertools.islice(specs, size)), ())
        return {self._host(number, group): group for number, group in enumerate(groups)}

    def _host(self, number: int, group: tuple[EngineSpec, ...]) -> str:
        names = [name for spec in group for name in spec.members]
        # Ray cuts names at dots where it shows them (`ps`, its dashboard).
        name = names[0].partition("@")[2].replace(".", "_")
        sha256s = [member.sha256 for member in self.members if member.name in names]
        weights = hashlib.sha256(" ".join(sha256s).encode()).hexdigest()[:8]
        return f"member-{name}-{weights}" if len(names) == 1 else f"members-{number}-{weights}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedRevision:
    """A revision as announced to ingress replicas. number: increases. hosts: a handle per member name."""

    number: int
    config: Config
    members: tuple[ServedMember, ...]
    hosts: Mapping[str, Any]


def changed(configured: Config, wanted: Config, running: Config) -> Config:
    """The running configuration, updated with the differences between the configured and the wanted one.

    The running one also has values determined at its start, such as the port.

    Raises ConfigError: they differ in more than may change while the server runs.
    """
    differing = [key for key in Config.model_fields if getattr(configured, key) != getattr(wanted, key)]
    fixed = [key for key in differing if key not in _MAY_CHANGE]
    if [point.name for point in configured.points] != [point.name for point in wanted.points]:
        fixed.append("the names of `members`")
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)} cannot change while the server runs ({', '.join(_MAY_CHANGE)} can); restart it"
        )
    return running.model_copy(update={key: getattr(wanted, key) for key in _MAY_CHANGE})


def with_checkpoints(running: Config, folders: Mapping[str, Path]) -> Config:
    """The running configuration with other folders for some of its checkpoints, of an adapter the adapter's folder.

    Raises ConfigError: it has no checkpoint of such a name.
    """
    known = running.named_checkpoints
    for name in folders:
        if name not in known:
            raise ConfigError(f"there is no checkpoint {shown(name)}{did_you_mean(name, known)}")
    for section in ("endpoints", "adapters"):
        if (value := getattr(running, section)) is not None:
            return running.model_copy(update={section: value.model_copy(update=dict(folders))})
    checkpoints = dict(running.checkpoints or {})
    for name, folder in folders.items():
        value = checkpoints[name]
        if isinstance(value, AdapterCheckpoint):
            checkpoints[name] = value.model_copy(update={"adapter": folder})
        else:
            checkpoints[name] = folder
    return running.model_copy(update={"checkpoints": checkpoints})


def steps(old: Revision, new: Revision) -> Iterator[Revision]:
    """From the old revision to the new one, one host of engines at a time; each step can be served as it is."""
    groups = list(zip(old.groups().items(), new.groups().items(), strict=True))
    members = {member.name: member for member in old.members}
    wanted = {member.name: member for member in new.members}
    moving = [(was, will) for (was_name, was), (will_name, will) in groups if was_name != will_name]
    specs = {spec.members: spec for spec in old.specs}
    for _, group in moving:
        for spec in group:
            specs[spec.members] = spec
            members |= {name: wanted[name] for name in spec.members}
        yield Revision(config=new.config, members=tuple(members.values()), specs=tuple(specs.values()))
    if not moving:
        yield new
