"""What to draw next, when to stop, and which answer wins: decided without I/O, clock or Ray.

One request is one `Session`. The server, offline replay and the tests drive the same object:
ask it for a wave of draws, report what became of each, and take its selection at the end.
"""

from alpharay.router.draw import Candidate, Draw, Evidence, Member
from alpharay.router.experience import Experience, Fate, Source, experience_of
from alpharay.router.learner import Learner
from alpharay.router.policies import POLICIES, Policy, Situation
from alpharay.router.seeds import MAX_MEMBERS, MAX_SAMPLES_PER_MEMBER
from alpharay.router.selection import NEEDS, SELECTORS, Need, ranked
from alpharay.router.session import Ask, Session, Stop
from alpharay.router.standing import Standing

__all__ = [
    "MAX_MEMBERS",
    "MAX_SAMPLES_PER_MEMBER",
    "NEEDS",
    "POLICIES",
    "SELECTORS",
    "Ask",
    "Candidate",
    "Draw",
    "Evidence",
    "Experience",
    "Fate",
    "Learner",
    "Member",
    "Need",
    "Policy",
    "Session",
    "Situation",
    "Source",
    "Standing",
    "Stop",
    "experience_of",
    "ranked",
]
