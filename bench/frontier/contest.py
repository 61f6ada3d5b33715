"""The steps after training for problems of 48 families, the curriculum of the frontier that is served by default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from bench.frontier import members, search
from bench.frontier.embed import EMBEDDED, adopt, embed
from bench.frontier.evaluate import evaluate, gather, recorded
from bench.frontier.problems.draw import FAMILIES, HELD_OUT, shuffled
from bench.frontier.report import write
from bench.frontier.steps import PAGE, RESULTS, SHARES, Options


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which problems are sampled: `per_family` of each of the trained or of the held-out families.

    members: a function of `bench.frontier.members`. skipped: of each family's problems, the first that another set has.
    recorded: files of the same problems; members that these have outcomes of are not sampled again.
    """

    split: str
    per_family: int
    samples: int
    held_out: bool = False
    members: str = "frontier"
    skipped: int = 0
    recorded: tuple[str, ...] = ()


SETS = {
    "validation": Sampling("validation", 1, 250),
    "test": Sampling("test", 2, 250),
    "heldout": Sampling("test", 4, 64, held_out=True),
    "baselines": Sampling("test", 1, 32, members="baselines"),
    "adapters": Sampling("test", 1, 64, members="adapters"),
    "logits": Sampling("test", 1, 64, members="logits"),
    "fresh": Sampling("test", 4, 250, members="singles", skipped=2),
    "served": Sampling("test", 4, 250, members="served", skipped=2, recorded=("fresh", "found")),
}


class Contest:
    prefix = ""
    sets = SETS

    def check(self, options: Options) -> None:
        _weights(options)

    def sample(self, options: Options) -> None:
        plan = SETS[options.set]
        families = list(HELD_OUT if plan.held_out else FAMILIES)
        raws = shuffled(families, plan.skipped + plan.per_family, plan.split)[plan.skipped * len(families) :]
        weights = _weights(options)
        wanted = getattr(members, plan.members)(weights)
        there = recorded(wanted, _files(options))
        evaluate(
            raws,
            [member for member in wanted if member.name not in there],
            _samples(options),
            seed=options.seed,
            tokenizer=Tokenizer.from_file(str(weights / "init" / "tokenizer.json")),
            out=_drawn(options),
            share=(options.rank, SHARES),
        )

    def gather(self, options: Options) -> None:
        path = RESULTS / f"seed{options.seed}-{options.set}.parquet"
        also = recorded(getattr(members, SETS[options.set].members)(_weights(options)), _files(options))
        print(f"{gather(_drawn(options), path, also)} outcomes in {path}", flush=True)

    def report(self, seed: int) -> None:
        """Of all seeds that were evaluated."""
        del seed
        seeds = sorted(int(path.name[4:].split("-")[0]) for path in RESULTS.glob("seed*-test.parquet"))
        write(seeds, RESULTS, PAGE)

    def search(self, options: Options) -> None:
        problems = EMBEDDED / "problems-validation.jsonl"
        search.run(_weights(options), problems, options.folder / "search", options.seed)

    def adopt(self, options: Options) -> None:
        adopt(options.folder / "search", EMBEDDED)

    def embed(self, options: Options) -> None:
        embed(options.folder, EMBEDDED, options.seed)


def _weights(options: Options) -> Path:
    return options.weights(EMBEDDED, in_package=options.set != "baselines")  # those are earlier checkpoints


def _samples(options: Options) -> int:
    return options.samples or SETS[options.set].samples


def _drawn(options: Options) -> Path:
    """Where shares are written. Those of another number of samples are not gone on with."""
    return options.folder / f"{options.set}-{_samples(options)}"


def _files(options: Options) -> list[Path]:
    """Of the same problems, the outcomes that are there already."""
    files = [RESULTS / f"seed{options.seed}-{name}.parquet" for name in SETS[options.set].recorded]
    return [file for file in files if file.exists()]  # another seed's members need not have any
