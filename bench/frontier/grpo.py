"""Reinforcement learning of one endpoint: GRPO with real verdicts at low or at high test coverage.

Each step: 16 programs for each of 24 problems; reward 1 for a program that passes every case up to the endpoint's
coverage level, else 0; one update per batch, so that the policy that is updated is the one that sampled. A penalty
on the distance to the start, the exact divergence over the vocabulary at every sampled place, keeps its diversity.
"""

from __future__ import annotations

import collections
import itertools
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from bench.frontier.lora import add_adapters, save_adapter
from bench.frontier.model import Llama, load_checkpoint, save_checkpoint
from bench.frontier.sample import LONGEST_ANSWER, sample
from bench.frontier.tokenizer import END_ID, encode_prompt, save_tokenizer
from bench.frontier.trees import logits, plant
from bench.frontier.verdicts import Coverage, Judge

TRAIN_PER_FAMILY = 40
COVERAGE = {"low": 2, "high": 4}


@dataclass(frozen=True, slots=True)
class Grpo:
    """lr: AdamW's. kl: weight of the divergence from the start, per token. keep_every: a checkpoint stays."""

    steps: int = 20
    problems: int = 24
    samples: int = 16
    lr: float = 3e-4
    kl: float = 0.15
    warmup: int = 3
    keep_every: int = 5


LORA = Grpo(steps=12, lr=2.5e-3)


def advantages(rewards: Tensor) -> Tensor:
    """[P, N] rewards of N samples for each of P problems -> how far each lies from its problem's mean, in deviations.

    A problem whose samples all fared alike teaches nothing: its advantages are 0.
    Source: GRPO, arXiv:2402.03300, section 4.1.1.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True, unbiased=False) + 1e-4)


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt, the different answers to it, the sum of the advantages of the samples that wrote each, their number."""

    prompt: list[int]
    answers: list[list[int]]
    gains: list[float]
    times: list[int]


def loss_of(model: Llama, start: Llama, groups: list[Group], kl: float) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss, divergence and entropy over all tokens of all samples."""
    batch = plant([(group.prompt, group.answers) for group in groups])
    gain = torch.tensor([gain for group in groups for gain in group.gains])[batch.answer]
    times = torch.tensor([float(times) for group in groups for times in group.times])[batch.answer]
    ours = functional.log_softmax(logits(model, batch), -1)
    with torch.no_grad():
        theirs = functional.log_softmax(logits(start, batch), -1)
    chosen = ours.gather(1, batch.wanted[:, None])[:, 0]
    divergence = (ours.exp() * (ours - theirs)).sum(-1)
    entropy = -(ours.exp() * ours).sum(-1)
    loss = (-gain * chosen + kl * times * divergence).sum()
    return loss, (times * divergence).sum().detach(), (times * entropy).sum().detach()


def run(
    endpoint: str, seed: int, folder: Path, plan: Grpo,
    pool: Sequence[Coverage], fast: Callable[[str], tuple[int, int]],
) -> None:  # fmt: skip
    """Trains `low`, `high`, `lora_low` or `lora_high` from `folder/init`; goes on where it was stopped.

    pool: problems with the cases that are rewarded. fast: of a program, (decisions for the fast way, decisions).
    """
    torch.set_num_threads(1)
    lora, coverage = endpoint.startswith("lora_"), COVERAGE[endpoint.removeprefix("lora_")]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start, model = load_checkpoint(folder / "init"), load_checkpoint(folder / "init")
    trained = add_adapters(model, seed) if lora else list(model.parameters())
    optim = torch.optim.AdamW(trained, lr=plan.lr, betas=(0.9, 0.99), weight_decay=0.0)
    out = folder / endpoint
    out.mkdir(exist_ok=True)
    first, state = 0, out / "state.pt"
    if state.exists():
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        optim.load_state_dict(saved["optim"])
        first = saved["step"]
    began = time.monotonic()
    with Judge() as judge, (out / "log.jsonl").open("a") as log:
        for step in range(first, plan.steps):
            drawn = random.Random(f"{endpoint}/{seed}/{step}").sample(pool, plan.problems)
            prompts = [encode_prompt(tokenizer, each.problem.prompt) for each in drawn]
            number = random.Random(f"sampling/{endpoint}/{seed}/{step}").getrandbits(48)
            clock = [time.monotonic()]
            groups = sample(model, prompts, plan.samples, seed=number)
            clock.append(time.monotonic())
            texts = [
                (each, tokenizer.decode(ids))
                for each, group in zip(drawn, groups, strict=True)
                for ids in group
            ]
            verdicts = judge.verdicts(texts)
            clock.append(time.monotonic())
            rewards = torch.tensor([float(v.verdict == "accepted") for v in verdicts]).view(plan.problems, -1)
            record = _update(model, start, optim, trained, plan, step, prompts, groups, advantages(rewards))
            clock.append(time.monotonic())
            record |= {
                "step": step + 1,
                "reward": float(rewards.mean()),
                "solved": float((rewards.sum(1) > 0).float().mean()),
                "fast": _share([fast(text) for _, text in texts]),
                "verdicts": dict(collections.Counter(str(v.verdict) for v in verdicts)),
                "seconds": [round(after - before, 2) for before, after in itertools.pairwise(clock)],
            }
            log.write(json.dumps(record) + "\n")
            log.flush()
            left = (plan.steps - step - 1) * (time.monotonic() - began) / (step + 1 - first)
            print(
                f"{endpoint} {step + 1}/{plan.steps}: reward {record['reward']:.3f}, solved {record['solved']:.2f}, fast "
                f"{record['fast']:.2f}, kl {record['kl']:.4f}, entropy {record['entropy']:.3f}, {record['seconds']} s, {left:.0f} s left",
                flush=True,
            )  # fmt: skip
            _keep(model, optim, tokenizer, plan, step + 1, out, lora=lora)
    (out / "done.json").write_text(json.dumps({"seed": seed, "coverage": coverage, **asdict(plan)}) + "\n")


def _share(counted: Sequence[tuple[int, int]]) -> float:
    """Of all decisions, those that were for the first; 0 where there were none."""
    return sum(part for part, _ in counted) / max(1, sum(whole for _, whole in counted))


def _update(
    model: Llama, start: Llama, optim: torch.optim.Optimizer, trained: list[Tensor], plan: Grpo, step: int,
    prompts: list[list[int]], groups: list[list[list[int]]], gains: Tensor,
) -> dict[str, Any]:  # fmt: skip
    batch = [
        _group(prompt, answers, gain)
        for prompt, answers, gain in zip(prompts, groups, gains.tolist(), strict=True)
    ]
    batch.sort(key=lambda group: sum(map(len, group.answers)))
    total = sum(len(a) * n for group in batch for a, n in zip(group.answers, group.times, strict=True))
    kl = entropy = 0.0
    for at in range(0, len(batch), 2):
        loss, apart, spread = loss_of(model, start, batch[at : at + 2], plan.kl)
        (loss / total).backward()
        kl, entropy = kl + float(apart) / total, entropy + float(spread) / total
    for group in optim.param_groups:
        group["lr"] = plan.lr * min(1.0, (step + 1) / plan.warmup)
    norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optim.step()
    optim.zero_grad()
    return {
        "kl": kl,
        "entropy": entropy,
        "gradient": float(norm),
        "different": sum(len(group.answers) for group in batch),
    }


def _group(prompt: list[int], answers: list[list[int]], gains: list[float]) -> Group:
    same: dict[tuple[int, ...], list[float]] = {}
    for ids, gain in zip(answers, gains, strict=True):
        # An answer that was cut did not choose to end.
        end = [END_ID] if len(ids) < LONGEST_ANSWER else []
        same.setdefault((*ids, *end), []).append(gain)
    return Group(
        prompt,
        [list(ids) for ids in same],
        [sum(each) for each in same.values()],
        [len(each) for each in same.values()],
    )


def _keep(
    model: Llama,
    optim: torch.optim.Optimizer,
    tokenizer: Tokenizer,
    plan: Grpo,
    step: int,
    out: Path,
    *,
    lora: bool,
) -> None:
    saved = {"model": model.state_dict(), "optim": optim.state_dict(), "step": step}
    torch.save(saved, out / "state.new")
    (out / "state.new").replace(out / "state.pt")
    last = step == plan.steps
    if lora:
        if last:
            save_adapter(model, out, "../init")
        return
    for folder in [out] * last + [out / f"step={step}"] * (step % plan.keep_every == 0):
        save_checkpoint(model, folder)
        save_tokenizer(tokenizer, folder)
