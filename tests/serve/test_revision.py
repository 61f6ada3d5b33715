"""From one revision to the next: what may change, and in which steps."""

from pathlib import Path

import pytest

from alpharay.serve.config import Config, Endpoints, Router
from alpharay.serve.errors import ConfigError
from alpharay.serve.state.engine_spec import CheckpointWeights, EngineSpec
from alpharay.serve.state.members import ServedMember
from alpharay.serve.state.revision import Revision, changed, steps

ALPHAS = (0.0, 0.5, 1.0)


def config(low="low", *, group=1, **fields):
    ends = Endpoints(low=Path(low), high=Path("high"))
    return Config(endpoints=ends, members=ALPHAS, engine={"members_per_replica": group}, **fields)


def revision(*sha256s, group=1, **fields):
    members = [
        ServedMember(name=f"frontier@{alpha:g}", alpha=alpha, sha256=sha256, effective_alpha=alpha)
        for alpha, sha256 in zip(ALPHAS, sha256s, strict=True)
    ]
    specs = [
        EngineSpec(members=(member.name,), weights=CheckpointWeights(checkpoint=Path(member.sha256)))
        for member in members
    ]
    return Revision(config=config(group=group, **fields), members=tuple(members), specs=tuple(specs))


def hashes(step):
    return [member.sha256 for member in step.members]


def test_engines_of_other_weights_are_another_deployment_and_those_of_the_same_are_not():
    old, new = revision("a", "b", "c").groups(), revision("a", "B", "c").groups()
    assert [was == will for was, will in zip(old, new, strict=True)] == [True, False, True]


def test_one_host_moves_at_a_time_and_each_step_is_served_as_it_says():
    new = revision("A", "B", "c")
    found = list(steps(revision("a", "b", "c"), new))
    assert [hashes(step) for step in found] == [["A", "b", "c"], ["A", "B", "c"]]
    for step in found:
        assert [str(spec.weights.checkpoint) for spec in step.specs] == hashes(step)
    assert found[-1] == new


def test_members_that_share_a_host_move_together():
    found = list(steps(revision("a", "b", "c", group=2), revision("A", "b", "C", group=2)))
    assert [hashes(step) for step in found] == [["A", "b", "c"], ["A", "b", "C"]]


def test_another_router_alone_is_one_step_that_moves_no_engine():
    old, new = revision("a", "b", "c"), revision("a", "b", "c", router=Router(policy="bandit"))
    assert list(steps(old, new)) == [new]
    assert old.groups() == new.groups()


def test_endpoints_and_router_may_change_and_what_the_start_found_out_stays():
    running = config(store="sqlite:///found.db")
    found = changed(config(), config("other", router=Router(budget=3)), running)
    assert (found.endpoints.low, found.router.budget, found.store) == (Path("other"), 3, "sqlite:///found.db")


@pytest.mark.parametrize(
    "fields", [{"group": 2}, {"name": "another"}, {"store": "sqlite:///o.db"}, {"server": {"port": 9}}]
)
def test_whatever_else_differs_is_refused_by_its_name(fields):
    wanted = config(**fields)
    with pytest.raises(ConfigError, match="cannot change while the server runs") as refused:
        changed(config(), wanted, config())
    assert str(refused.value).startswith({"group": "engine"}.get(next(iter(fields)), next(iter(fields))))
