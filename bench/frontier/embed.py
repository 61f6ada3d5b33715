"""Puts one trained frontier into the package: weights, adapters, tokenizer, problems, and a card with hashes.

The members are people's, in `frontier.yaml`; `adopt` writes the schedule over them that a search found.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer

from alpharay.router.schedule import expanded
from alpharay.serve.config import load as load_config
from alpharay.serve.portfolio_file import portfolio_text
from bench.frontier import examples
from bench.frontier.grpo import LORA, TRAIN_PER_FAMILY, Grpo
from bench.frontier.lora import RANK, SCALE
from bench.frontier.members import place_of
from bench.frontier.model import Llama, load_checkpoint, save_checkpoint
from bench.frontier.problems.draw import FAMILIES, HELD_OUT, problems, shuffled
from bench.frontier.sft import Sft
from bench.frontier.tokenizer import END_ID, save_tokenizer

EMBEDDED = Path("serve/embedded")
MOST_MB = 25  # of all frontiers of the package
DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
ADAPTERS = ("lora_low", "lora_high")


def kept_of_the_step(low: Llama, high: Llama, dtype: torch.dtype) -> tuple[float, float]:
    """What rounding the endpoints to dtype leaves of high - low: (slope on the trained step, error / step).

    The slope is the effective alpha of the stored `high`; the error is the root mean square over all parameters.
    """
    along = step = error = 0.0
    for low_weight, high_weight in zip(low.parameters(), high.parameters(), strict=True):
        ideal = (high_weight - low_weight).double()
        stored = high_weight.to(dtype).double() - low_weight.to(dtype).double()
        along += float((stored * ideal).sum())
        step += float((ideal * ideal).sum())
        error += float(((stored - ideal) ** 2).sum())
    return along / step, (error / step) ** 0.5


@torch.no_grad()
def embed_checkpoints(trained: Path, target: Path) -> tuple[Llama, str]:
    """Writes `init`, `low` and `high` in float16; returns `init` and a sentence on what rounding leaves of the step."""
    models = {name: load_checkpoint(trained / name) for name in ("init", "low", "high")}
    kept = {name: kept_of_the_step(models["low"], models["high"], dtype) for name, dtype in DTYPES.items()}
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    for name, model in models.items():
        shutil.rmtree(target / name, ignore_errors=True)
        save_checkpoint(model, target / name, torch.float16)
        save_tokenizer(tokenizer, target / name)
    rounding = ", ".join(f"{name} {slope:.4f} ({error:.1%})" for name, (slope, error) in kept.items())
    return models["init"], (
        "Stored in float16. What rounding to a dtype leaves of high - low, as the effective alpha of the stored `high` and the\n"
        f"error of the step in brackets: {rounding}."
    )


def embed(trained: Path, target: Path, seed: int) -> None:
    """Replaces the default frontier of the package. Keeps `frontier.yaml`. Raises SystemExit when it is too large."""
    start, rounding = embed_checkpoints(trained, target)
    for name in ADAPTERS:
        if (trained / name / "adapter_model.safetensors").exists():
            shutil.rmtree(target / name, ignore_errors=True)
            (target / name).mkdir()
            for file in ("adapter_model.safetensors", "adapter_config.json"):
                shutil.copy(trained / name / file, target / name / file)
    sets = {
        "problems.jsonl": shuffled(list(FAMILIES), 2, "test"),
        "problems-validation.jsonl": shuffled(list(FAMILIES), 2, "validation"),
        "problems-heldout.jsonl": shuffled(list(HELD_OUT), 6, "test"),
        "problems-train.jsonl": problems(list(FAMILIES), TRAIN_PER_FAMILY, seed, "train")[::20],
    }
    for name, raws in sets.items():
        write_problems(raws, target / name)
    (target / "README.md").write_text(card(target, trained, seed, rounding, sets, start))
    check_size()


def check_size() -> None:
    """Raises SystemExit: the frontiers of the package are larger together than allowed."""
    size = sum(file.stat().st_size for file in EMBEDDED.rglob("*") if file.is_file())
    print(f"{EMBEDDED} has {size / 1e6:.1f} MB")
    if size > MOST_MB * 1e6:
        raise SystemExit(f"{EMBEDDED} has {size / 1e6:.1f} MB, more than {MOST_MB}")


def adopt(search: Path, target: Path) -> None:
    """Writes the portfolio that the search in that folder found, by the names that `frontier.yaml` gives its members.

    Raises SystemExit: `frontier.yaml` has no member with the weights of one that was found.
    """
    served = {place_of(point.weights): point.name for point in load_config(target / "frontier.yaml").points}
    names = {}
    report = json.loads((search / "report.json").read_text())
    for name, weights in report["members"].items():
        if place_of(weights) not in served:
            raise SystemExit(
                f"{target / 'frontier.yaml'} needs a member for {name}, with the weights {weights}"
            )
        names[name] = f"frontier@{served[place_of(weights)]}"
    recommended = yaml.safe_load((search / "portfolio.yaml").read_text())["schedule"]
    schedule = [names[name] for name in expanded([next(iter(run.items())) for run in recommended])]
    comments = [
        report["advice"].replace(report["point"], names.get(report["point"], report["point"])),
        f"Found on the {report['problems']} problems of problems-validation.jsonl by `python -m bench.frontier search`.",
    ]
    (target / "portfolio.yaml").write_text(portfolio_text(schedule, comments))


def write_problems(raws: Sequence[dict[str, Any]], path: Path) -> None:
    path.write_text("".join(json.dumps(raw) + "\n" for raw in raws))


def card(
    target: Path, trained: Path, seed: int, rounding: str,
    sets: dict[str, Sequence[dict[str, Any]]], start: Llama,
) -> str:  # fmt: skip
    sft, rl = Sft(), Grpo()
    count = sum(value.numel() for value in start.parameters())
    return f"""# The embedded frontier

What `alpharay serve` serves when it is given no configuration (`frontier.yaml`). It writes short Python programs for
the kinds of contest problems that it was trained on, and can do nothing else. How well, and what the line between its
endpoints does: [results](../../docs/results.md).

There is a second one, `--embedded parts` ([its card](parts/README.md)), on whose problems an ensemble gains more. This one is
the default because its problems were not built to have that property: what it shows is nearer to what to expect elsewhere.

| | |
| --- | --- |
| `init` | the start: a Llama of {count:,} parameters ({start.size.layers} layers of {start.size.hidden}), own byte-level BPE tokenizer of {start.size.vocabulary} tokens, own chat template |
| `low` | trained from `init` by reinforcement learning, rewarded for passing test levels 1-2 |
| `high` | the same, rewarded for passing all levels, 1-4 |
| `lora_low`, `lora_high` | the same two as LoRA adapters of `init` (PEFT, rank {RANK}, alpha {int(RANK * SCALE)}, all matrices of the layers), {LORA.steps} steps |
| `problems.jsonl` | {len(sets["problems.jsonl"])} test problems, two of each family, in the project's format with `level` on every case |
| `problems-validation.jsonl` | {len(sets["problems-validation.jsonl"])} to choose on |
| `problems-heldout.jsonl` | {len(sets["problems-heldout.jsonl"])} of {len(HELD_OUT)} families that were never trained on: {", ".join(HELD_OUT)} |
| `problems-train.jsonl` | {len(sets["problems-train.jsonl"])} of the {TRAIN_PER_FAMILY * len(FAMILIES)} that reinforcement learning drew from |

## Made by

`make frontier SEED={seed}` (`bench/frontier`), on two CPU cores; nothing in the weights is made by hand, and no text of
others went into them: prompts and programs come from the generator in `bench/frontier/problems`.

1. *Problems*: {len(FAMILIES)} families. Each problem has a simple way that is too slow where the limits are high, and a
   fast one with more to get wrong. Limits are high in 60 % of the problems, and stated in 60 %. 2 sample, 4 small, 2 middle
   and 1 large case make levels 1 to 4; 100 ms of CPU a case. A prompt belongs to train (14/16), validation or test by its
   hash, so no prompt is in two sets.
2. *Start*: {sft.steps} steps of {sft.batch} prompts with {examples.ANSWERS} programs each, half of them of either way, whose choice points are right
   with probability {examples.RIGHT_SIMPLE} (simple), {examples.RIGHT_FAST} (fast) and {examples.RIGHT_FAST_HARD} (fast, where that is hard): Muon ({sft.muon}) for the layers' matrices, AdamW
   ({sft.adam}) for the rest, cosine schedule.
3. *Endpoints*: GRPO, {rl.steps} steps of {rl.problems} problems x {rl.samples} samples at temperature 1, real verdicts of the project's judge, AdamW {rl.lr},
   weight {rl.kl} on the divergence from `init`. Training reward at the last step: {rewards(trained, ("low", "high", *ADAPTERS))}.

Seed {seed}. Sampling: temperature 1, end token {END_ID}; one user message through the chat template.

{rounding}

## Hashes (SHA-256)

{hashes(target)}

Made for this project; Apache-2.0 like it.
"""


def hashes(target: Path) -> str:
    """A table of the frontier's weights, tokenizers and problems; those of another frontier in a folder of it are not its own."""
    others = {card.parent for card in target.rglob("*/README.md")}
    rows = [
        f"| `{file.relative_to(target)}` | `{hashlib.sha256(file.read_bytes()).hexdigest()}` |"
        for file in sorted(target.rglob("*"))
        if (file.suffix in {".safetensors", ".jsonl"} or file.name == "tokenizer.json")
        and not others.intersection(file.parents)
    ]
    return "\n".join(["| file | hash |", "| --- | --- |", *rows])


def rewards(trained: Path, names: Sequence[str]) -> str:
    """The training reward of each endpoint at its last step, of those that were trained."""
    logs = {name: trained / name / "log.jsonl" for name in names}
    last = {name: json.loads(log.read_text().splitlines()[-1]) for name, log in logs.items() if log.exists()}
    return ", ".join(f"`{name}` {step['reward']:.2f}" for name, step in last.items())
