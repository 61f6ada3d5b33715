"""What to draw next, when to stop, and which answer wins: decided without I/O, clock or Ray.

One request is one `Session`. The server, offline replay and the tests drive the same object:
ask it for a wave of draws, report what became of each, and take its selection at the end.
"""

from alpharay.router.draw import Candidate, Draw, Evidence, Member
from alpharay.router.learn.learner import Learner
from alpharay.router.learn.logged_outcome import LoggedOutcome, OutcomeClass, Source, logged_outcome_of
from alpharay.router.learn.router_state import RouterState
from alpharay.router.policies import POLICIES, Policy, PolicyState
from alpharay.router.seeds import MAX_MEMBERS, MAX_SAMPLES_PER_MEMBER
from alpharay.router.selection import SELECTORS, Need, needs_of, ranked
from alpharay.router.session import SamplingRequest, Session, Stop

__all__ = [
    "MAX_MEMBERS",
    "MAX_SAMPLES_PER_MEMBER",
    "POLICIES",
    "SELECTORS",
    "Candidate",
    "Draw",
    "Evidence",
    "Learner",
    "LoggedOutcome",
    "Member",
    "Need",
    "OutcomeClass",
    "Policy",
    "PolicyState",
    "RouterState",
    "SamplingRequest",
    "Session",
    "Source",
    "Stop",
    "logged_outcome_of",
    "needs_of",
    "ranked",
]
