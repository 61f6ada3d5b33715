"""Decides what to draw next, when to stop and which answer wins, without I/O, clock or Ray.

One request is one `Session`. The server, offline replay and the tests drive the same object: `step(events)` takes the
outcomes of its draws and returns the next draws, until it returns a `Stop`.
"""

from alpharay.router.draw import (
    MAX_MEMBERS,
    MAX_SAMPLES_PER_MEMBER,
    Candidate,
    Decision,
    Draw,
    Evidence,
    Member,
)
from alpharay.router.learn.learner import Learner
from alpharay.router.learn.logged_outcome import LoggedOutcome, OutcomeClass, Source, logged_outcome_of
from alpharay.router.learn.router_state import RouterState
from alpharay.router.policies import POLICIES, Policy, PolicyState
from alpharay.router.selection import SCORER, SELECTORS, Need, needs_of, ranked, selector_names
from alpharay.router.selection.discriminate import agreements, contenders
from alpharay.router.session import Down, Event, Expired, Lost, Revived, SamplingRequest, Session, Stop

__all__ = [
    "MAX_MEMBERS",
    "MAX_SAMPLES_PER_MEMBER",
    "POLICIES",
    "SCORER",
    "SELECTORS",
    "Candidate",
    "Decision",
    "Down",
    "Draw",
    "Event",
    "Evidence",
    "Expired",
    "Learner",
    "LoggedOutcome",
    "Lost",
    "Member",
    "Need",
    "OutcomeClass",
    "Policy",
    "PolicyState",
    "Revived",
    "RouterState",
    "SamplingRequest",
    "Session",
    "Source",
    "Stop",
    "agreements",
    "contenders",
    "logged_outcome_of",
    "needs_of",
    "ranked",
    "selector_names",
]
