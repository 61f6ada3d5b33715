from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from alpharay.router.policies import PolicyState, RouterState, Single, Uniform

from .driver import frontier, rates

ALPHAS = st.lists(st.integers(-20, 30), min_size=1, max_size=9, unique=True).map(
    lambda tenths: frontier(*(tenth / 10 for tenth in sorted(tenths)))
)
ROTATIONS = st.integers(0, 2**64 - 1)


def uniformly(samples, members, drawn=None, rotation=0):
    return Uniform().allocate(samples, PolicyState(members=members, drawn=drawn or {}, rotation=rotation))


def singly(samples, members, drawn=None, router_state=None):
    state = PolicyState(members=members, drawn=drawn or {}, router_state=router_state or RouterState())
    return Single().allocate(samples, state)


@given(ALPHAS, st.integers(1, 20), ROTATIONS)
def test_uniform_splits_a_multiple_of_the_members_exactly(members, rounds, rotation):
    split = Counter(uniformly(rounds * len(members), members, rotation=rotation))
    assert split == {member.name: rounds for member in members}


@given(ALPHAS, st.integers(1, 60), ROTATIONS)
def test_uniform_gives_no_member_more_than_one_sample_more_than_another(members, samples, rotation):
    split = Counter({member.name: 0 for member in members})
    split.update(uniformly(samples, members, rotation=rotation))
    assert split.total() == samples
    assert max(split.values()) - min(split.values()) <= 1


@given(ALPHAS, st.integers(1, 60), ROTATIONS)
def test_uniform_favours_no_member_over_as_many_requests_as_there_are_members(members, samples, first):
    split = Counter()
    for request in range(len(members)):
        split.update(uniformly(samples, members, rotation=first + request))
    assert split == {member.name: samples for member in members}


@given(ALPHAS, st.integers(1, 60), st.data())
def test_uniform_first_makes_up_for_what_was_drawn_unevenly(members, samples, data):
    drawn = {member.name: data.draw(st.integers(0, 9)) for member in members}
    split = Counter(drawn)
    split.update(uniformly(samples, members, drawn))
    levelled = [name for name in split if split[name] > drawn[name]]
    assert max(split[name] for name in levelled) - min(split.values()) <= 1


@given(ALPHAS, st.integers(1, 60))
def test_single_gives_the_whole_budget_to_one_member(members, samples):
    names = singly(samples, members)
    assert len(names) == samples
    assert len(set(names)) == 1


def test_single_takes_the_member_that_solved_the_largest_share():
    members = frontier(0.0, 1.0)
    router_state = rates(**{"frontier@0": (9, 10), "frontier@1": (80, 100)})
    assert set(singly(3, members, router_state=router_state)) == {"frontier@0"}


def test_single_is_not_swayed_by_one_lucky_sample():
    members = frontier(0.0, 1.0)
    router_state = rates(**{"frontier@0": (1, 1), "frontier@1": (80, 100)})
    assert set(singly(3, members, router_state=router_state)) == {"frontier@1"}


def test_single_takes_the_member_nearest_to_high_while_nothing_is_known():
    assert set(singly(3, frontier(-0.5, 0.0, 0.5, 0.9, 1.5))) == {"frontier@0.9"}


def test_single_stays_with_the_member_it_began_with():
    members = frontier(0.0, 1.0)
    router_state = rates(**{"frontier@1": (100, 100)})
    assert set(singly(3, members, {"frontier@0": 1}, router_state)) == {"frontier@0"}
