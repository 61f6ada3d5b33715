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
    revisions = list(steps(revision("a", "b", "c"), new))
    assert [hashes(step) for step in revisions] == [["A", "b", "c"], ["A", "B", "c"]]
    for step in revisions:
        assert [str(spec.weights.checkpoint) for spec in step.specs] == hashes(step)
    assert revisions[-1] == new


def test_members_that_share_a_host_move_together():
    revisions = list(steps(revision("a", "b", "c", group=2), revision("A", "b", "C", group=2)))
    assert [hashes(step) for step in revisions] == [["A", "b", "c"], ["A", "b", "C"]]


def test_another_router_alone_is_one_step_that_moves_no_engine():
    old, new = revision("a", "b", "c"), revision("a", "b", "c", router=Router(policy="bandit"))
    assert list(steps(old, new)) == [new]
    assert old.groups() == new.groups()


def test_endpoints_and_router_may_change_and_what_the_start_found_out_stays():
    running = config(store="sqlite:///found.db")
    updated = changed(config(), config("other", router=Router(budget=3)), running)
    assert (updated.endpoints.low, updated.router.budget, updated.store) == (
        Path("other"),
        3,
        "sqlite:///found.db",
    )


@pytest.mark.parametrize(
    "fields", [{"group": 2}, {"name": "another"}, {"store": "sqlite:///o.db"}, {"server": {"port": 9}}]
)
def test_whatever_else_differs_is_refused_by_its_name(fields):
    wanted = config(**fields)
    with pytest.raises(ConfigError, match="cannot change while the server runs") as refused:
        changed(config(), wanted, config())
    assert str(refused.value).startswith({"group": "engine"}.get(next(iter(fields)), next(iter(fields))))


def of_weights(init, low, name="wide"):
    members = [0.5, {"name": name, "weights": {"init": init, "low": low}}]
    return Config(checkpoints={"init": Path("i"), "low": Path("l"), "high": Path("h")}, members=members)


def test_a_members_weights_may_change_under_its_name_but_no_name():
    changed_to = changed(of_weights(0.5, 0.5), of_weights(0.75, 0.25), of_weights(0.5, 0.5))
    assert changed_to.points[1].weights == {"init": 0.75, "low": 0.25}
    with pytest.raises(ConfigError, match="the names of `members` cannot change"):
        changed(of_weights(0.5, 0.5), of_weights(0.5, 0.5, "other"), of_weights(0.5, 0.5))


def test_endpoints_may_become_checkpoints():
    long = Config(
        checkpoints={"low": Path("a"), "high": Path("b")}, members=ALPHAS, engine={"members_per_replica": 1}
    )
    updated = changed(config(), long, config())
    assert (updated.endpoints, updated.named_checkpoints) == (None, {"low": Path("a"), "high": Path("b")})
