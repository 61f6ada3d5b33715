"""Router policies against each other on simulated frontiers, with intervals over seeds.

    python bench/router.py                      # a quick look: few seeds
    python bench/router.py --seeds 20 --save    # writes bench/results/router.json, .md and .png
    python bench/router.py --seeds 20 --save --only smooth    # that part anew, the others as they were
    python bench/router.py --seeds 20 --save --resume    # after an interruption: keeps what was finished, of the same code

Runs on all cores it may use, one seed of one frontier at a time.

Every seed makes a new frontier: first a log of earlier problems, sampled uniformly, that every policy learns from,
then others on which the policies are tried, learning on from what they themselves draw. All of them see the same
outcome for the same sample of the same member. The baseline is the best single member, chosen by the log,
never by the problems it is tried on. The part `embedded` does the same on the recorded outcomes of the embedded
frontier: all is learnt on its validation problems and tried on its test problems.

Constants of the policies were chosen on the seeds below FIRST_SEED.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # matrices here are small

import numpy as np
from frontiers import SIMULATED, Frontier, simulated
from router_report import written

from alpharay.judge.verdict import Verdict, VerdictKind
from alpharay.router import (
    Candidate,
    Learner,
    Policy,
    RouterState,
    SamplingRequest,
    Session,
    Stop,
    logged_outcome_of,
)
from alpharay.router.policies import Adaptive, Bandit, Portfolio, Single, Uniform
from alpharay.router.replay import Replay
from alpharay.serve.evaluate.outcomes import read_outcomes

RESULTS = Path(__file__).parent / "results"
KINDS = (VerdictKind.ACCEPTED, VerdictKind.WRONG_ANSWER, VerdictKind.TIME_LIMIT)
POLICIES: dict[str, Callable[[], Policy]] = {
    "uniform": Uniform,
    "single": Single,
    "portfolio": Portfolio,
    "bandit": Bandit,
    "adaptive": Adaptive,
}
LOGGED_PER_MEMBER = 4
FIRST_SEED = 1000
UNFINISHED = Path(__file__).parent.parent / "build" / "router-bench.jsonl"
RECORDED_BUDGETS = (8, 16, 32, 64)
RUNS = 10  # of each policy on each recorded problem
ALPHAS = ("-1", "-0.5", "0", "0.25", "0.5", "0.75", "1", "1.5", "2")
SERVED = ("-0.5", "0", "0.5", "1", "1.5")
RECORDED = {
    "seed 1, five served": ("seed1", SERVED),
    "seed 1, all nine": ("seed1", ALPHAS),
    "seed 2, five served": ("seed2", SERVED),
    "seed 2, all nine": ("seed2", ALPHAS),
}


def play(
    frontier: Frontier, problem: int, policy: Policy, router_state: RouterState, budget: int, *, stop=True
) -> Session:
    """One request over one problem; draws end in the order in which they began."""
    columns = {member.name: column for column, member in enumerate(frontier.members)}
    session = Session(
        SamplingRequest(
            members=frontier.members,
            budget=budget,
            seed=problem,
            stop_after_passes=1 if stop else budget,
            rotation=problem,
            router_state=router_state,
            features=tuple(frontier.contexts[problem]),
        ),
        policy,
    )
    waiting: list = []
    events: list = []
    while not isinstance(draws := session.step(events), Stop):
        waiting += draws
        draw = waiting.pop(0)
        outcome_class = int(frontier.outcomes[problem, columns[draw.member], draw.sample])
        verdict = Verdict(KINDS[outcome_class], int(outcome_class == 0), 1)
        events = [Candidate(draw=draw, verdict=verdict, completion_tokens=100)]
    return session


def teach(learner: Learner, frontier: Frontier, problem: int, session: Session) -> None:
    alphas = {member.name: member.alpha for member in frontier.members}
    for candidate in session.candidates:
        row = logged_outcome_of(
            candidate,
            request=str(problem),
            alpha=alphas[candidate.draw.member],
            features=tuple(frontier.contexts[problem]),
        )
        if row is not None:
            learner.learn(row)


def logged(frontier: Frontier) -> dict:
    """What a server had learnt from the earlier problems, sampled uniformly and never stopped early."""
    learner = Learner()
    for problem in range(frontier.earlier):
        samples = LOGGED_PER_MEMBER * len(frontier.members)
        teach(
            learner, frontier, problem, play(frontier, problem, Uniform(), RouterState(), samples, stop=False)
        )
    return learner.snapshot()


def tried(
    frontier: Frontier, policy: Callable[[], Policy], state: dict, budget: int
) -> tuple[np.ndarray, np.ndarray]:
    """(number of the first draw that passed, 0 for none; draws started), of every later problem."""
    learner = Learner()
    learner.restore(state)
    first, drawn = [], []
    for problem in range(frontier.earlier, len(frontier.rates)):
        session = play(frontier, problem, policy(), learner.router_state(), budget)
        first.append(next((number for number, each in enumerate(session.candidates, 1) if each.accepted), 0))
        drawn.append(session.drawn.total())
        teach(learner, frontier, problem, session)
    return np.array(first), np.array(drawn)


def best_single(frontier: Frontier, budget: int) -> int:
    """By the log alone: the member that solves the most of its problems within the budget."""
    seen = frontier.outcomes[: frontier.earlier, :, :budget] == 0
    return int(seen.any(axis=2).mean(axis=0).argmax())


def needed(first: np.ndarray, budget: int, target: float) -> float | None:
    """Samples a request, stopping at a pass, at the smallest cap under which the target share is solved."""
    for cap in range(1, budget + 1):
        solved = (first > 0) & (first <= cap)
        if solved.mean() >= target:
            return float(np.where(solved, first, cap).mean())
    return None


def compared(kind: str, seed: int, budget: int) -> dict:
    """Of one seed: the oracle's headroom, and per policy its solved share in [0, 1], that of each ten problems, and
    what it took."""
    frontier = simulated(kind, np.random.default_rng(seed), problems=180, earlier=80)
    later = frontier.outcomes[frontier.earlier :]
    single = best_single(frontier, budget)
    passed = later[:, single, :budget] == 0
    base = np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, 0)
    chance = frontier.rates[frontier.earlier :, :, 0]
    oracle = 1 - (1 - chance.max(axis=1)) ** budget
    policies = {"best single": _taken(base, np.where(base, base, budget), None)}
    state, target = logged(frontier), None
    for name, policy in POLICIES.items():
        first, drawn = tried(frontier, policy, state, budget)
        if name == "uniform":
            target = float((first > 0).mean())
        policies[name] = _taken(first, drawn, needed(first, budget, target))
    headroom = float((oracle - (1 - (1 - chance[:, single]) ** budget)).mean())
    return {"headroom": headroom, "policies": policies}


def _taken(first: np.ndarray, drawn: np.ndarray, needed: float | None) -> dict:
    return {
        "solved": float((first > 0).mean()),
        "by_tens": (first > 0).reshape(-1, 10).mean(axis=1).tolist(),
        "drawn": float(drawn.mean()),
        "needed": needed,
    }


def regret(explore: str | None, seed: int, rounds: int, *, drift: bool) -> np.ndarray:
    """Cumulated over single-sample requests: best member's chance for the problem, less the drawn one's.

    The best is the best linear choice's, not an oracle's that knows each problem: the member that is best for
    the latent place which the context tells of. With drift, halfway the places' meaning is turned round.
    """
    rng = np.random.default_rng(seed)
    frontier = simulated("smooth", rng, problems=rounds, earlier=0, samples=1)
    chance = frontier.rates[:, :, 0]
    if drift:
        chance = np.concatenate([chance[: rounds // 2], chance[rounds // 2 :, ::-1]])
    names = [member.name for member in frontier.members]
    half = rounds // 2
    sides = [slice(0, half), slice(half, rounds)] if drift else [slice(0, rounds)]
    best = np.zeros(rounds)
    for side in sides:
        x = np.concatenate([np.ones((rounds, 1)), frontier.contexts], axis=1)[side]
        fitted = x @ np.linalg.lstsq(x, chance[side], rcond=None)[0]
        best[side] = chance[side][np.arange(len(x)), fitted.argmax(axis=1)]
    learner, lost = Learner(), np.zeros(rounds)
    learner._fit = lambda *_: None  # noqa: SLF001 - the mixture is not what is measured here, and takes its time
    luck = rng.random(rounds)
    for problem in range(rounds):
        policy = Bandit(explore) if explore else Uniform()
        sampling = SamplingRequest(
            members=frontier.members, budget=1, seed=problem, stop_after_passes=1, rotation=problem,
            router_state=learner.router_state(), features=tuple(frontier.contexts[problem]),
        )  # fmt: skip
        session = Session(sampling, policy)
        (draw,) = session.step()
        gained = chance[problem, names.index(draw.member)]
        lost[problem] = best[problem] - gained
        solved = luck[problem] < gained
        session.step([Candidate(draw=draw, verdict=Verdict(KINDS[0 if solved else 1], int(solved), 1))])
        teach(learner, frontier, problem, session)
    return lost.cumsum()


def recorded(group: str, budget: int) -> dict | None:
    """Per policy each problem's solved share, and samples to the first pass; None where too few were recorded."""
    name, alphas = RECORDED[group]
    members = tuple(f"frontier@{alpha}" for alpha in alphas)
    test, validation = (
        read_outcomes(RESULTS / "frontier" / f"{name}-{part}.parquet").only(members)
        for part in ("test", "validation")
    )
    if budget > int(test.counts.samples.min()):
        return None
    replay, rows = Replay(test, learnt_from=validation), {}
    for policy in POLICIES:
        replayed = replay.run(policy, budget, RUNS)
        rows[policy] = {
            "solved": replayed.solved.mean(axis=0).tolist(),
            "first": float(np.where(replayed.solved, replayed.first_pass, budget).mean()),
        }
    return rows


def decision_cost(members: int = 16, budget: int = 64) -> dict[str, float]:
    """Microseconds of CPU per candidate of a whole session that never passes: waves, outcomes and all."""
    alphas = tuple(np.linspace(-1, 2, members).round(3))
    frontier = simulated("smooth", np.random.default_rng(0), problems=60, earlier=60, alphas=alphas)
    frontier.outcomes[frontier.outcomes == 0] = 1
    learner = Learner()
    learner.restore(logged(frontier))
    costs = {}
    for name, policy in POLICIES.items():
        spent = []
        for problem in range(20):
            began = time.process_time()
            session = play(frontier, problem, policy(), learner.router_state(), budget)
            spent.append((time.process_time() - began) / len(session.candidates) * 1e6)
        costs[name] = float(np.median(spent))
    return costs


EXPLORE = {"Thompson": "thompson", "LinUCB": "ucb", "uniform": None}


def jobs_of(part: str, seeds: int, budget: int) -> list[tuple]:
    """What a part consists of: each can be run alone, and gives plain JSON."""
    fresh = range(FIRST_SEED, FIRST_SEED + seeds)
    if part == "embedded":  # the longest first
        return [(part, group, k) for k in reversed(RECORDED_BUDGETS) for group in RECORDED]
    if part == "regret":
        return [(part, name, drift, seed) for name in EXPLORE for drift in (False, True) for seed in fresh]
    return [(part, seed, budget) for seed in fresh]


def done(job: tuple) -> tuple[tuple, dict | list | None]:
    part, *rest = job
    if part == "embedded":
        return job, recorded(*rest)
    if part == "regret":
        name, drift, seed = rest
        return job, regret(EXPLORE[name], seed, 2000, drift=drift)[49::50].tolist()
    return job, compared(part, *rest)


def assembled(part: str, jobs: list[tuple], results: dict[tuple, dict | list | None]) -> dict:
    """A part as the report reads it: lists over the seeds."""
    if part == "embedded":
        embedded: dict = {group: {} for group in RECORDED}
        for _, group, k in reversed(jobs):
            if (row := results[part, group, k]) is not None:
                embedded[group][f"{k}"] = row
        return {part: embedded}
    if part == "regret":
        curves: dict = {}
        for job in jobs:
            curves.setdefault(f"{job[1]}{', drift' if job[2] else ''}", []).append(results[job])
        return {part: curves}
    rows = [results[job] for job in jobs]
    policies = {
        name: {key: [row["policies"][name][key] for row in rows] for key in values}
        for name, values in rows[0]["policies"].items()
    }
    return {"frontiers": {part: {"headroom": [row["headroom"] for row in rows], "policies": policies}}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=16)
    parser.add_argument("--only", choices=[*SIMULATED, "embedded", "regret", "cost"], action="append")
    parser.add_argument("--save", action="store_true", help="write what was run into bench/results/router.*")
    parser.add_argument("--resume", action="store_true", help="keep what an interrupted run had finished")
    args = parser.parse_args()
    parts = args.only or [*SIMULATED, "embedded", "regret", "cost"]
    jobs = {part: jobs_of(part, args.seeds, args.budget) for part in parts if part != "cost"}
    finished: dict[tuple, dict | list | None] = {}
    if args.resume and UNFINISHED.exists():
        finished = {tuple(job): row for job, row in map(json.loads, UNFINISHED.read_text().splitlines())}
    UNFINISHED.parent.mkdir(exist_ok=True)
    # Alone, and before the others: what is measured here is time.
    cost = decision_cost() if "cost" in parts else None
    # Parts of few long jobs first, so that no core is left with one at the end.
    order = sorted(jobs, key=lambda part: part != "embedded")
    todo = [job for part in order for job in jobs[part] if job not in finished]
    with (
        get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool,
        UNFINISHED.open("a" if finished else "w") as file,
    ):
        for job, row in pool.imap_unordered(done, todo):
            finished[job] = row
            print(json.dumps([job, row]), file=file, flush=True)
    results: dict = {"budget": args.budget, "frontiers": {}}
    kept = RESULTS / "router.json"
    if args.save and args.only and kept.exists():  # these parts anew, the others as they were
        results = json.loads(kept.read_text())
    for part, each in jobs.items():
        made = assembled(part, each, finished)
        results["frontiers"] |= made.pop("frontiers", {})
        results |= made
    if cost is not None:
        results["cost"] = cost
    text = written(results, RESULTS / "router.png" if args.save else None)
    print(text)
    if args.save:
        kept.write_text(json.dumps(results) + "\n")
        (RESULTS / "router.md").write_text(text)
    UNFINISHED.unlink()


if __name__ == "__main__":
    main()
