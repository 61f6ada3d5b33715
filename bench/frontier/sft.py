"""Supervised start: imitates programs of both ways, right and subtly wrong ones. Two processes, one thread each.

Two one-thread processes that average their gradients were 1.6 times as fast here as one process with two threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from bench.frontier.examples import example
from bench.frontier.model import Llama, Size, save_checkpoint
from bench.frontier.tokenizer import encode_answer, encode_prompt, save_tokenizer
from bench.frontier.trees import Tree, logits, plant

RANKS = 2
Teacher = Callable[[int, int], tuple[str, list[str]]]  # (seed, number) -> a prompt with programs to imitate


@dataclass(frozen=True, slots=True)
class Sft:
    """steps of `batch` prompts over all ranks. muon: learning rate of the layers' matrices, adam: of the rest."""

    steps: int = 160
    batch: int = 48
    muon: float = 0.02
    adam: float = 3e-3
    warmup: int = 20
    keep_every: int = 20


def answer_loss(model: Llama, trees: list[Tree]) -> tuple[Tensor, int]:
    """The summed negative log-likelihood of the answers, and their number of tokens."""
    batch = plant(trees)
    return functional.cross_entropy(logits(model, batch), batch.wanted, reduction="sum"), len(batch.wanted)


def optimisers(model: Llama, plan: Sft) -> list[torch.optim.Optimizer]:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=plan.muon, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=plan.adam, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate(step: int, plan: Sft) -> float:
    """Rises over the warm-up, then falls to a twentieth along a cosine."""
    if step < plan.warmup:
        return (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


def run(
    rank: int, ranks: int, plan: Sft, seed: int, tokenizer: Tokenizer, folder: Path,
    *, teacher: Teacher = example, size: Size | None = None,
) -> None:  # fmt: skip
    """One rank's part. Goes on from `folder/sft.pt` where an earlier run was stopped; writes `folder/init`."""
    torch.set_num_threads(1)
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=ranks)
    model = Llama(size)
    model.reset(seed)
    optims = optimisers(model, plan)
    first, state = 0, folder / "sft.pt"
    if state.exists():
        saved = torch.load(state)
        model.load_state_dict(saved["model"])
        for optim, old in zip(optims, saved["optims"], strict=True):
            optim.load_state_dict(old)
        first = saved["step"]
    bases = [[plan.muon], [plan.adam]]  # one group each; a loaded state holds the last step's rates
    share = plan.batch // ranks
    began, seen = time.monotonic(), 0
    for step in range(first, plan.steps):
        at = step * plan.batch + rank * share
        trees = []
        for number in range(at, at + share):
            prompt, programs = teacher(seed, number)
            trees.append(
                (encode_prompt(tokenizer, prompt), [encode_answer(tokenizer, each) for each in programs])
            )
        trees.sort(key=lambda tree: len(tree[0]) + sum(map(len, tree[1])))  # less padding in each part
        total, counted = 0.0, 0
        for start in range(0, len(trees), 8):
            loss, tokens = answer_loss(model, trees[start : start + 8])
            loss.backward()
            total, counted = total + loss.item(), counted + tokens
        flat = torch.cat(
            [p.grad.flatten() for p in model.parameters()] + [torch.tensor([total, float(counted)])]
        )
        if ranks > 1:
            dist.all_reduce(flat)
        gradient, (total, counted) = flat[:-2] / flat[-1], flat[-2:].tolist()
        gradient *= min(1.0, 1.0 / (gradient.norm().item() + 1e-9))
        for p, part in zip(
            model.parameters(), gradient.split([p.numel() for p in model.parameters()]), strict=True
        ):
            p.grad.copy_(part.view_as(p))
        for optim, base in zip(optims, bases, strict=True):
            for group, lr in zip(optim.param_groups, base, strict=True):
                group["lr"] = lr * rate(step, plan)
            optim.step()
            optim.zero_grad()
        seen += sum(len(answers) for _, answers in trees) * ranks
        if rank == 0 and (step % 10 == 9 or step + 1 == plan.steps):
            speed = seen / (time.monotonic() - began)
            left = (plan.steps - step - 1) * (time.monotonic() - began) / (step + 1 - first)
            print(
                f"sft {step + 1}/{plan.steps}: loss {total / counted:.4f}, {speed:.0f} programs/s, {left:.0f} s left",
                flush=True,
            )
        if rank == 0 and ((step + 1) % plan.keep_every == 0 or step + 1 == plan.steps):
            saved = {
                "model": model.state_dict(),
                "optims": [o.state_dict() for o in optims],
                "step": step + 1,
            }
            torch.save(saved, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
    if rank == 0:
        save_checkpoint(model, folder / "init")
        save_tokenizer(tokenizer, folder / "init")
    if ranks > 1:
        dist.destroy_process_group()
