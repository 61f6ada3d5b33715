"""Draws programs from a small Llama: samples that have written the same so far are computed once.

250 samples of one prompt share most of what they write: here a step computes each different prefix once and draws from
its distribution as often as there are samples on it, which is a seventh of the work of one row a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bench.frontier.model import Cache, Llama
from bench.frontier.tokenizer import END_ID, PAD_ID

LONGEST_ANSWER = 112  # tokens; the longest reference has 80

Weighted = Sequence[tuple[float, Llama]]  # models whose logits are summed with those weights


@torch.inference_mode()
def sample(
    model: Llama | Weighted,
    prompts: Sequence[Sequence[int]],
    count: int,
    *,
    seed: int,
    temperature: float = 1.0,
    longest: int = LONGEST_ANSWER,
) -> list[list[list[int]]]:
    """`count` answers to each prompt, as token ids without the end token.

    temperature: 0 takes the likeliest token. The same arguments give the same answers. Answers that do not end are cut
    at `longest` tokens.
    """
    random = torch.Generator().manual_seed(seed)
    parts = [(1.0, model)] if isinstance(model, Llama) else model
    readers = [(weight, _Reader(each, prompts, longest)) for weight, each in parts]
    logits = _sum([(weight, reader.first) for weight, reader in readers])
    written = torch.full((len(prompts) * count, longest), END_ID)
    sample_of = torch.arange(
        len(written)
    )  # the samples that have not ended, and the prefix on which each stands
    prefix = sample_of // count
    for step in range(longest):
        token = _choose(logits, prefix, temperature, random)
        written[sample_of, step] = token
        goes_on = token != END_ID
        sample_of, prefix, token = sample_of[goes_on], prefix[goes_on], token[goes_on]
        if step + 1 == longest or not len(sample_of):
            break
        different, prefix = (prefix * logits.shape[-1] + token).unique(return_inverse=True)
        parent, token = different // logits.shape[-1], different % logits.shape[-1]
        logits = _sum([(weight, reader.next(parent, token)) for weight, reader in readers])
    answers = [ids[: ids.index(END_ID)] if END_ID in ids else ids for ids in written.tolist()]
    return [answers[at : at + count] for at in range(0, len(answers), count)]


def _sum(parts: list[tuple[float, Tensor]]) -> Tensor:
    return parts[0][1] if len(parts) == 1 else sum(weight * logits for weight, logits in parts)


def _choose(logits: Tensor, prefix: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """A token for each sample, from the logits [prefixes, V] of the prefix on which it stands."""
    if temperature == 0:
        return logits.argmax(-1)[prefix]
    # float64: the sum of 1,536 float32 shares would be off by more than the rarest of them.
    below = torch.softmax(logits.double() / temperature, -1).cumsum(-1)
    drawn = torch.rand(len(prefix), 1, dtype=torch.float64, generator=random)
    return torch.searchsorted(below[prefix], drawn, right=True)[:, 0].clamp_max(logits.shape[-1] - 1)


class _Reader:
    """One model, and its keys and values of every prefix that is still being continued."""

    def __init__(self, model: Llama, prompts: Sequence[Sequence[int]], longest: int) -> None:
        """first: [P, V], the logits of the first token of an answer to each prompt."""
        start = max(len(prompt) for prompt in prompts)
        padded = torch.tensor([[PAD_ID] * (start - len(prompt)) + list(prompt) for prompt in prompts])
        real = torch.tensor([[False] * (start - len(prompt)) + [True] * len(prompt) for prompt in prompts])
        places = (real.long().cumsum(1) - 1).clamp_min(0)
        mask = None
        if not real.all():
            causal = torch.ones(start, start, dtype=torch.bool).tril()
            # A padded place sees itself, or its softmax would have nothing to sum to; nobody looks at what comes of it.
            mask = (causal & real[:, None, :] | torch.eye(start, dtype=torch.bool)).unsqueeze(1)
        self._model = model
        self._caches = [Cache(len(prompts), start + longest, model.size) for _ in model.model.layers]
        self._position = places[:, -1]
        self._seen = None if mask is None else real
        self.first = model.head(model.hidden(padded, places, mask, self._caches)[:, -1])

    def next(self, parent: Tensor, token: Tensor) -> Tensor:
        """[N, V]: prefix n becomes what stood at parent[n], continued by token[n]; foretells what comes then."""
        if not torch.equal(parent, torch.arange(len(self._position))):
            for cache in self._caches:
                cache.keep(parent)
            self._position = self._position[parent]
            self._seen = None if self._seen is None else self._seen[parent]
        self._position = self._position + 1
        mask = None
        if self._seen is not None:
            self._seen = torch.cat((self._seen, torch.ones(len(parent), 1, dtype=torch.bool)), 1)
            mask = self._seen[:, None, None, :]
        hidden = self._model.hidden(token[:, None], self._position[:, None], mask, self._caches)
        return self._model.head(hidden[:, -1])
