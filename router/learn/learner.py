"""Everything the router learns, as a fold over the store's log.

Each ingress replica folds the same rows in the same order and reaches the same state, so that learnt state need not
be exchanged, and a recorded request can be replayed: fold the log up to
`RouterState.folded` rows.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alpharay.judge.verdict import VerdictKind
from alpharay.router.draw import MAX_MEMBERS, Member
from alpharay.router.learn.arms import Arm, context
from alpharay.router.learn.foretelling import LEAST_MET, MOST_ASKED, Attempt, Foretelling, gain_over_schedule
from alpharay.router.learn.latent import Latent, prior, refit
from alpharay.router.learn.logged_outcome import OUTCOME_CLASSES, LoggedOutcome, OutcomeClass
from alpharay.router.learn.mixture import Mixture, log_chance, unlearnt
from alpharay.router.learn.router_state import RouterState
from alpharay.router.learn.turns import TurnRates

VERSION = 4
# Requests whose outcomes the mixture is learnt from: the latest ones, so that it follows a drift.
_WINDOW = 256
# Requests after which an outcome counts half for it.
_HALF_LIFE = 120
# Draws whose outcome feedback may still correct, rather than count as another draw's.
_CORRECTABLE = 4096
# The model is fitted again when this share of the window's rows is new.
_REFIT_SHARE, _REFIT_LEAST = 1 / 16, 32
# Steps of the first fit, and of each further one, which goes on from the last.
_FIRST_STEPS, _STEPS = 8, 2
# The latest requests are a surprise, and what was before them is forgotten, when their outcomes were foretold
# worse than those of earlier requests were, by so many standard errors, or worse than by knowing nothing, by
# so much in log chance. Told from at least so many requests.
_SURPRISE, _SURPRISE_FROM = 6.0, 24
# Weight of the types that are assumed before anything is learnt; see `Latent.mixture`.
_DOUBT = 0.2
_TOKENS_OVER = 500  # samples that the mean length is taken over

Key = tuple[str, int]


class Learner:
    """Folds logged outcomes in log order. Not safe for several threads at once.

    folded: rows so far. Counts of members, the mixture of problem types, the arms of the bandit, and
    what repairing pays are all functions of those rows alone.
    """

    def __init__(self) -> None:
        self.folded = 0
        self._members: dict[str, Member] = {}
        self._solved: dict[str, int] = {}
        self._judged: dict[str, int] = {}
        self._tokens: dict[str, float] = {}
        self._arms: dict[str, Arm] = {}
        self._window: OrderedDict[str, _Request] = OrderedDict()
        self._rows = 0  # in the window
        self._fresh = 0  # of them, since the model was last fitted
        self._touched: dict[str, list[Attempt]] = {}  # the requests that those are of, and their first rows
        self._outcomes: OrderedDict[Key, tuple[str, VerdictKind]] = OrderedDict()
        self._repaired: dict[VerdictKind, tuple[int, int]] = {}
        self._again: dict[VerdictKind, tuple[int, int]] = {}
        self._foretold = (0, 0.0, 0.0)  # requests, mean and variance of their outcomes' log chance a draw
        self._foretelling = Foretelling()
        self._latent: Latent | None = None
        self._mixture: Mixture | None = None
        self._router_state: RouterState | None = None

    def learn(self, logged: LoggedOutcome) -> None:
        """Takes the next row.

        A row about a draw that was judged before corrects it, and one that agrees changes nothing: a
        client's feedback is never a second sample. One that teaches nothing is counted in `folded` all the same.
        """
        self.folded += 1
        self._router_state = None
        outcome_class = OUTCOME_CLASSES.get(logged.verdict)
        if outcome_class is None or not self._knows(logged):
            return
        key = (logged.request, logged.draw)
        before = self._outcomes.get(key)
        self._outcomes[key] = (logged.member, logged.verdict)
        while len(self._outcomes) > _CORRECTABLE:
            self._outcomes.popitem(last=False)
        if before is not None:
            self._correct(logged, outcome_class, before[1])
        elif logged.turn > 1:
            self._count_turn(self._repaired, logged.repaired, outcome_class)
        else:
            self._count(logged, outcome_class)

    def router_state(self) -> RouterState:
        """An immutable view of what is known now; the same object until something is learnt."""
        if self._router_state is None:
            self._router_state = RouterState(
                solved=dict(self._solved),
                judged=dict(self._judged),
                folded=self.folded,
                turns=TurnRates(dict(self._repaired), dict(self._again)),
                mixture=self._mixture,
                arms=dict(self._arms),
                tokens=dict(self._tokens),
                foretells=self._foretelling.ahead,
            )
        return self._router_state

    def settle(self, steps: int = 20) -> None:
        """Fits the model to its end: for a log that is folded once and then only read, as in a replay."""
        self._fit(steps)
        self._router_state = None

    def snapshot(self) -> dict[str, Any]:
        """The whole state in plain JSON values, bounded in size whatever was folded."""
        return {
            "version": VERSION,
            "folded": self.folded,
            "fresh": self._fresh,
            "touched": {name: [list(attempt) for attempt in each] for name, each in self._touched.items()},
            "foretold": list(self._foretold),
            "foretelling": list(astuple(self._foretelling)),
            "members": [[m.name, m.alpha, dict(m.weights)] for m in self._members.values()],
            "solved": dict(self._solved),
            "judged": dict(self._judged),
            "tokens": dict(self._tokens),
            "arms": {
                name: [_packed(arm.spread), _packed(arm.targets), arm.row] for name, arm in self._arms.items()
            },
            "window": [
                [name, request.counts, [kind.value for kind in request.failed]] for name, request in self._window.items()
            ],
            "outcomes": [[*key, member, kind.value] for key, (member, kind) in self._outcomes.items()],
            "mended": {kind.value: list(tally) for kind, tally in self._repaired.items()},
            "again": {kind.value: list(tally) for kind, tally in self._again.items()},
            "latent": self._latent and {
                "members": [member.name for member in self._latent.members],
                "mean": _packed(self._latent.mean),
                "covariance": _packed(self._latent.covariance),
            },
        }  # fmt: skip

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes the state of a snapshot. Raises ValueError for one of another version: fold the log anew."""
        if snapshot.get("version") != VERSION:
            raise ValueError(
                f"the learnt state has version {snapshot.get('version')!r}, this program reads {VERSION}: "
                "fold the log from its start"
            )
        self.__init__()  # type: ignore[misc]  # every field anew
        self.folded, self._fresh = snapshot["folded"], snapshot["fresh"]
        for name, alpha, *weights in snapshot["members"]:  # without weights in earlier versions
            point = tuple(weights[0].items()) if weights else ()
            self._members[name] = Member(name=name, alpha=alpha, weights=point)
        self._solved, self._judged = dict(snapshot["solved"]), dict(snapshot["judged"])
        self._tokens = dict(snapshot["tokens"])
        for name, (spread, targets, row) in snapshot["arms"].items():
            flat = _unpacked(spread)
            size = round(len(flat) ** 0.5)
            self._arms[name] = Arm(flat.reshape(size, size), _unpacked(targets).reshape(2, size), row)
        for name, counts, failed in snapshot["window"]:
            known = {member: list(each) for member, each in counts.items()}
            self._window[name] = _Request(known, [VerdictKind(kind) for kind in failed])
        self._rows = sum(request.rows for request in self._window.values())
        for request, draw, member, kind in snapshot["outcomes"]:
            self._outcomes[request, draw] = (member, VerdictKind(kind))
        for mine, theirs in ((self._repaired, snapshot["mended"]), (self._again, snapshot["again"])):
            mine.update({VerdictKind(kind): (solved, judged) for kind, (solved, judged) in theirs.items()})
        self._touched = {
            name: [(member, outcome) for member, outcome in each]
            for name, each in snapshot["touched"].items()
        }
        number, mean, variance = snapshot["foretold"]
        self._foretold = (number, mean, variance)
        self._foretelling = Foretelling(*snapshot["foretelling"])
        if (kept := snapshot["latent"]) is not None:
            members = tuple(self._members[name] for name in kept["members"])
            mean = _unpacked(kept["mean"])
            covariance = _unpacked(kept["covariance"]).reshape(len(mean), len(mean))
            self._latent = Latent(members, mean, covariance)
            self._mixture = self._latent.mixture(_DOUBT)

    def _knows(self, logged: LoggedOutcome) -> bool:
        """Whether the member has a place; so many more than can be served together get none."""
        name = logged.member
        if name not in self._members:
            if len(self._members) >= MAX_MEMBERS:
                return False
            self._members[name] = Member(name=name, alpha=logged.alpha, weights=logged.weights)
        return True

    def _count(self, logged: LoggedOutcome, outcome_class: OutcomeClass) -> None:
        name, solved = logged.member, outcome_class is OutcomeClass.SOLVED
        self._solved[name] = self._solved.get(name, 0) + solved
        self._judged[name] = self._judged.get(name, 0) + 1
        spent = logged.prompt_tokens + logged.completion_tokens
        if spent:
            mean = self._tokens.get(name, float(spent))
            self._tokens[name] = mean + (spent - mean) / min(self._judged[name], _TOKENS_OVER)
        arm = self._arms.get(name) or Arm.new(self.folded)
        self._arms[name] = arm.learnt(context(logged.features), solved, spent, self.folded)
        request = self._request(logged.request)
        for kind in request.failed:
            self._count_turn(self._again, kind, outcome_class)
        request.counts.setdefault(name, [0, 0, 0])[outcome_class] += 1
        if not solved and logged.verdict not in request.failed:
            request.failed.append(logged.verdict)
        self._rows += 1
        self._fresh += 1
        attempts = self._touched.setdefault(logged.request, [])
        if len(attempts) < MOST_ASKED:
            attempts.append((list(self._members).index(name), int(outcome_class)))
        if self._fresh >= max(_REFIT_LEAST, self._rows * _REFIT_SHARE):
            self._fit()

    def _correct(self, logged: LoggedOutcome, outcome_class: OutcomeClass, before: VerdictKind) -> None:
        was = OUTCOME_CLASSES.get(before)
        if was is None or was is outcome_class:
            return
        solved_more = (outcome_class is OutcomeClass.SOLVED) - (was is OutcomeClass.SOLVED)
        if logged.turn > 1:
            solved, judged = self._repaired.get(logged.repaired or before, (0, 0))
            self._repaired[logged.repaired or before] = (max(0, solved + solved_more), judged)
            return
        name = logged.member
        self._solved[name] = max(0, self._solved.get(name, 0) + solved_more)
        if name in self._arms:
            self._arms[name] = self._arms[name].corrected(context(logged.features), solved_more)
        counts = self._window[logged.request].counts if logged.request in self._window else {}
        if name in counts and counts[name][was]:
            counts[name][was] -= 1
            counts[name][outcome_class] += 1

    @staticmethod
    def _count_turn(
        tallies: dict[VerdictKind, tuple[int, int]], kind: VerdictKind | None, outcome_class: OutcomeClass
    ) -> None:
        if kind is not None:
            solved, judged = tallies.get(kind, (0, 0))
            tallies[kind] = (solved + (outcome_class is OutcomeClass.SOLVED), judged + 1)

    def _request(self, name: str) -> _Request:
        if name not in self._window:
            self._window[name] = _Request({}, [])
            if len(self._window) > _WINDOW:
                _, oldest = self._window.popitem(last=False)
                self._rows -= oldest.rows
        return self._window[name]

    def _fit(self, steps: int = _STEPS) -> None:
        members = tuple(self._members.values())
        if not members:
            return
        if self._misled():
            latest = [name for name in self._window if name in self._touched]
            self._window = OrderedDict((name, self._window[name]) for name in latest)
            self._rows = sum(request.rows for request in self._window.values())
            self._latent = None
            self._foretelling = Foretelling()
        else:
            self._compare()
        self._fresh, self._touched = 0, {}
        latent = self._latent
        if latent is None or latent.members != members:
            latent, steps = prior(members), max(steps, _FIRST_STEPS)
        counts = np.array([request.of(self._members) for request in self._window.values()])
        age = np.arange(len(counts))[::-1]
        self._latent = refit(latent, counts, steps, 0.5 ** (age / _HALF_LIFE))
        self._mixture = self._latent.mixture(_DOUBT)

    def _compare(self) -> None:
        """Compares the model's predictions of the latest requests with a schedule's, before they are learnt."""
        if self._latent is None or self._mixture is None:
            return
        members = [member.name for member in self._latent.members]
        names = [name for name in self._touched if name in self._window]
        met = [request.of(members) for name, request in self._window.items() if name not in self._touched]
        if len(met) < LEAST_MET:
            return
        for name in names:
            attempts = [attempt for attempt in self._touched[name] if attempt[0] < len(members)]
            history = self._window[name].of(members)
            for member, outcome in attempts:
                history[member, outcome] -= 1
            gain = gain_over_schedule(attempts, np.maximum(history, 0), self._mixture, np.array(met))
            self._foretelling = self._foretelling.with_request(gain)

    def _misled(self) -> bool:
        """Whether the model predicts the latest requests worse than earlier ones, or worse than without learning."""
        if self._latent is None:
            return False
        members, learnt = self._latent.members, self._latent.mixture()
        names = [name for name in self._touched if name in self._window]
        latest = [self._window[name].of(member.name for member in members) for name in names]
        scores = np.array([log_chance(learnt, counts) / max(int(counts.sum()), 1) for counts in latest])
        number, mean, variance = self._foretold
        ignorant = sum(log_chance(unlearnt(members), counts) for counts in latest)
        known = sum(log_chance(learnt, counts) for counts in latest)
        error = (variance / max(len(scores), 1)) ** 0.5
        unlike = len(scores) and scores.mean() < mean - _SURPRISE * error - 0.05
        if number >= _SURPRISE_FROM and (unlike or known < ignorant - _SURPRISE):
            self._foretold = (0, 0.0, 0.0)
            return True
        for score in scores:
            number = min(number + 1, _WINDOW)
            away = float(score) - mean
            mean += away / number
            variance += (away * (float(score) - mean) - variance) / number
        self._foretold = (number, mean, variance)
        return False


class _Request:
    """counts: per member name, first attempts by outcome class. failed: the kinds of failures, in order of
    appearance.
    """

    __slots__ = ("counts", "failed")

    def __init__(self, counts: dict[str, list[int]], failed: list[VerdictKind]) -> None:
        self.counts = counts
        self.failed = failed

    def of(self, names: Iterable[str]) -> NDArray[np.int64]:
        """[names, OutcomeClass]"""
        return np.array([self.counts.get(name, (0, 0, 0)) for name in names], dtype=np.int64)

    @property
    def rows(self) -> int:
        return sum(map(sum, self.counts.values()))


def _packed(array: NDArray[np.float64]) -> str:
    """float64, little-endian, base64: exact, and a third of the size of decimal text."""
    return base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode("ascii")


def _unpacked(text: str) -> NDArray[np.float64]:
    return np.frombuffer(base64.b64decode(text), dtype="<f8").astype(np.float64)
