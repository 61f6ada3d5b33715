"""Draws programs from a small Llama: large batches, one thread, keys and values kept.

On an engine made for GPUs the same would need a server; here 250 samples of a prompt are one batch that shares its
prompt's work and shrinks as sequences end.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.frontier.model import Cache, Llama
from bench.frontier.tokenizer import END_ID, PAD_ID

LONGEST_ANSWER = 112  # tokens; the longest reference has 80


@torch.inference_mode()
def sample(
    model: Llama,
    prompts: Sequence[Sequence[int]],
    count: int,
    *,
    seed: int,
    temperature: float = 1.0,
    longest: int = LONGEST_ANSWER,
) -> list[list[list[int]]]:
    """`count` answers to each prompt, as token ids without the end token.

    temperature: 0 takes the likeliest token. The same arguments give the same answers. Answers that do not end are cut at `longest` tokens.
    """
    random = torch.Generator().manual_seed(seed)
    start = max(len(prompt) for prompt in prompts)
    padded = torch.tensor([[PAD_ID] * (start - len(prompt)) + list(prompt) for prompt in prompts])
    real = torch.tensor([[False] * (start - len(prompt)) + [True] * len(prompt) for prompt in prompts])
    level = bool(real.all())
    places = (real.long().cumsum(1) - 1).clamp_min(0)
    caches = [Cache(len(prompts), start + longest, model.size) for _ in model.model.layers]
    mask = None
    if not level:
        causal = torch.ones(start, start, dtype=torch.bool).tril()
        # A padded place sees itself, or its softmax would have nothing to sum to; nobody looks at what comes of it.
        mask = (causal & real[:, None, :] | torch.eye(start, dtype=torch.bool)).unsqueeze(1)
    last = model.head(model.hidden(padded, places, mask, caches)[:, -1])

    answers: list[list[int]] = [[] for _ in range(len(prompts) * count)]
    alive = torch.arange(len(answers))
    for cache in caches:
        cache.keep(alive // count)
    last, place = last[alive // count], places[alive // count, -1]
    real = real[alive // count]
    ended = torch.zeros(len(answers), dtype=torch.bool)
    for step in range(longest):
        chosen = _choose(last, temperature, random)
        ended |= chosen == END_ID
        for row, token, over in zip(alive.tolist(), chosen.tolist(), ended.tolist(), strict=True):
            if not over:
                answers[row].append(token)
        if bool(ended.all()):
            break
        if float(ended.float().mean()) > 0.2:
            rows = (~ended).nonzero()[:, 0]
            alive, chosen, place, real, ended = (
                alive[rows],
                chosen[rows],
                place[rows],
                real[rows],
                ended[rows],
            )
            for cache in caches:
                cache.keep(rows)
        place = place + 1
        mask = None
        if not level:
            seen = torch.cat((real, torch.ones(len(real), step + 1, dtype=torch.bool)), 1)
            mask = seen[:, None, None, :]
        last = model.head(model.hidden(chosen[:, None], place[:, None], mask, caches)[:, -1])
    return [answers[at : at + count] for at in range(0, len(answers), count)]


def _choose(logits: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    # The race of exponentials: token i wins with probability softmax(logits / temperature)[i].
    race = torch.empty_like(logits).exponential_(generator=random)
    return (logits / temperature - race.log()).argmax(-1)
