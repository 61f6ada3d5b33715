"""Sampling seeds that never overlap within a request and practically never between requests.

An engine repeats itself for the same prompt and seed, so a second draw with the same seed is wasted. A seed has 63
bits: the request's own part, then the member, then the sample:

    43 bits of mix(request seed) | 8 bits member index | 12 bits sample index

The mix is a bijection of 64 bits, so that neighbouring request seeds (clients count 1, 2, 3, …)
do not get neighbouring ranges.
"""

from __future__ import annotations

from collections.abc import Iterable

_MEMBER_BITS = 8
_SAMPLE_BITS = 12
MAX_MEMBERS = 1 << _MEMBER_BITS
MAX_SAMPLES_PER_MEMBER = 1 << _SAMPLE_BITS
_MASK = (1 << 64) - 1


def mix(seed: int) -> int:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014): a bijection of 64-bit integers."""
    seed = (seed + 0x9E3779B97F4A7C15) & _MASK
    seed = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    seed = ((seed ^ (seed >> 27)) * 0x94D049BB133111EB) & _MASK
    return seed ^ (seed >> 31)


def draw_seed(request_seed: int, member: int, sample: int) -> int:
    """The seed of a member's sample, in [0, 2^63).

    member, sample: indices counted from 0, below MAX_MEMBERS and MAX_SAMPLES_PER_MEMBER.
    """
    return draw_seeds(request_seed, [(member, sample)])[0]


def draw_seeds(request_seed: int, samples: Iterable[tuple[int, int]]) -> list[int]:
    """The seeds of several samples of one request. samples: (member, sample) each, as `draw_seed` has them."""
    own_bits = _MEMBER_BITS + _SAMPLE_BITS
    request_part = mix(request_seed) >> (own_bits + 1) << own_bits
    seeds = []
    for member, sample in samples:
        if not (0 <= member < MAX_MEMBERS and 0 <= sample < MAX_SAMPLES_PER_MEMBER):
            raise ValueError(
                f"no seed is kept for member {member}, sample {sample}: "
                f"a request has at most {MAX_MEMBERS} members and {MAX_SAMPLES_PER_MEMBER} samples of each"
            )
        seeds.append(request_part | member << _SAMPLE_BITS | sample)
    return seeds
