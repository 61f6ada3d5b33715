"""What the steps after training need of each kind of problems; `contest.py` and `parts/steps.py` implement it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

RESULTS = Path("bench/results/frontier")
PAGE = Path("docs/results.md")
EMBEDDED_SEED = 1  # the seed whose weights are in the package
SHARES = 2  # processes that sample and judge a set together


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one command.

    folder: of what was trained. set: of problems. samples: of each member and problem. prompts: of each count of parts.
    None: the set's own. parts: the counts of parts. rank: which of the `SHARES` processes this is.
    """

    kind: str
    seed: int
    folder: Path
    set: str
    samples: int | None = None
    prompts: int | None = None
    parts: tuple[int, ...] = ()
    rank: int = 0

    def weights(self, embedded: Path, *, in_package: bool = True) -> Path:
        """The folder of the checkpoints: what was trained here, else the package's. Raises SystemExit: neither.

        in_package: whether the package has all that the set needs.
        """
        if (self.folder / "high" / "done.json").exists():
            return self.folder
        if in_package and self.seed == EMBEDDED_SEED and (embedded / "high").is_dir():
            return embedded
        raise SystemExit(
            f"{self.set} needs what `make frontier KIND={self.kind} SEED={self.seed}` trains; "
            f"{self.folder} does not hold it"
        )


class Steps(Protocol):
    """prefix: of the folder of a training run. sets: names of the sets of problems."""

    prefix: str
    sets: Collection[str]

    def check(self, options: Options) -> None:
        """Raises SystemExit: the set cannot be sampled, as weights are missing."""

    def sample(self, options: Options) -> None:
        """Samples and judges one process's share of a set."""

    def gather(self, options: Options) -> None:
        """Writes the outcomes of all shares."""

    def report(self, seed: int) -> None:
        """Writes the tables of docs/results.md."""

    def search(self, options: Options) -> None:
        """Finds members worth serving on validation problems."""

    def adopt(self, options: Options) -> None:
        """Writes the embedded portfolio of what was found."""

    def embed(self, options: Options) -> None:
        """Puts what was trained into the package."""


def steps_of(kind: str) -> Steps:
    if kind == "contest":
        from bench.frontier.contest import Contest

        return Contest()
    from bench.frontier.parts.steps import Parts

    return Parts()
