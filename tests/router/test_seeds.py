from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.router import MAX_SAMPLES_PER_MEMBER
from alpharay.router.draw import MAX_MEMBERS, draw_seed, mix

REQUESTS = st.integers(min_value=-(2**70), max_value=2**70)
MEMBERS = st.integers(0, MAX_MEMBERS - 1)
SAMPLES = st.integers(0, MAX_SAMPLES_PER_MEMBER - 1)


def unmixed(value):
    """The inverse of SplitMix64's finaliser, step by step backwards."""

    def unshift(value, by):
        original = value
        for _ in range(64 // by + 1):
            original = value ^ (original >> by)
        return original

    value = unshift(value, 31)
    value = unshift(value * pow(0x94D049BB133111EB, -1, 2**64) % 2**64, 27)
    value = unshift(value * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64, 30)
    return (value - 0x9E3779B97F4A7C15) % 2**64


def test_the_mix_is_splitmix64():
    # The first outputs of the generator's reference implementation for the seeds 0 and 1234567.
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(1234567) == 6457827717110365317


@given(st.integers(0, 2**64 - 1))
def test_the_mix_can_be_undone_so_that_no_two_requests_meet(seed):
    assert unmixed(mix(seed)) == seed


@given(REQUESTS, MEMBERS, SAMPLES)
def test_a_seed_carries_its_member_and_sample_in_its_low_bits(request, member, sample):
    seed = draw_seed(request, member, sample)
    assert 0 <= seed < 2**63
    assert seed & 0xFFF == sample
    assert seed >> 12 & 0xFF == member


@given(REQUESTS, st.tuples(MEMBERS, SAMPLES), st.tuples(MEMBERS, SAMPLES))
def test_draws_of_one_request_share_their_high_bits_and_nothing_else(request, left, right):
    first, second = draw_seed(request, *left), draw_seed(request, *right)
    assert first >> 20 == second >> 20
    assert (first == second) == (left == right)


def test_requests_that_count_their_seeds_up_get_ranges_far_apart():
    parts = [draw_seed(request, 0, 0) >> 20 for request in range(10_000)]
    assert len(set(parts)) == len(parts)
    assert all(abs(left - right) > 1 for left, right in pairwise(parts))


@pytest.mark.parametrize(
    ("member", "sample"), [(MAX_MEMBERS, 0), (0, MAX_SAMPLES_PER_MEMBER), (-1, 0), (0, -1)]
)
def test_a_seed_that_would_run_into_another_members_range_is_refused(member, sample):
    with pytest.raises(ValueError, match="no seed is kept"):
        draw_seed(1, member, sample)
