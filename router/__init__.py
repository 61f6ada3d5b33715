"""What to draw next, when to stop, and which answer wins: decided without I/O, clock or Ray.

One request is one `Session`. The server, offline replay and the tests drive the same object:
ask it for a wave of draws, report what became of each, and take its selection at the end.
"""

from alpharay.router.draw import Candidate, Draw, Member
from alpharay.router.policies import POLICIES, Policy, Standing
from alpharay.router.seeds import MAX_MEMBERS, MAX_SAMPLES_PER_MEMBER
from alpharay.router.selection import SELECTORS, ranked
from alpharay.router.session import Ask, Session, Stop

__all__ = [
    "MAX_MEMBERS",
    "MAX_SAMPLES_PER_MEMBER",
    "POLICIES",
    "SELECTORS",
    "Ask",
    "Candidate",
    "Draw",
    "Member",
    "Policy",
    "Session",
    "Standing",
    "Stop",
    "ranked",
]
