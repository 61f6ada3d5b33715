"""The small model, its sampler, and what training does to it."""

from __future__ import annotations

import collections
import json
import math
import random

import pytest
from safetensors.torch import load_file

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from bench.frontier import sft  # noqa: E402
from bench.frontier.examples import example  # noqa: E402
from bench.frontier.grpo import Group, advantages, loss_of  # noqa: E402
from bench.frontier.lora import add_adapters, merged, save_adapter  # noqa: E402
from bench.frontier.model import Llama, Size, load_checkpoint, save_checkpoint  # noqa: E402
from bench.frontier.sample import sample  # noqa: E402
from bench.frontier.tokenizer import (  # noqa: E402
    END_ID,
    encode_answer,
    encode_prompt,
    save_tokenizer,
    train_tokenizer,
)
from bench.frontier.trees import logits, plant  # noqa: E402

SMALL = Size(vocabulary=64, hidden=32, inner=48, layers=2, heads=4, key_heads=2, head=8)
PROMPTS = [[1, 9, 8, 7, 3, 2], [1, 20, 3, 2], [1, 5, 6, 7, 8, 9, 10, 3, 2]]


@pytest.fixture
def model():
    made = Llama(SMALL)
    made.reset(0)
    with torch.no_grad():
        for value in made.parameters():
            value.mul_(4 if value.ndim == 2 else 1)  # far from uniform, so that differences show
    return made


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(
        [text for number in range(400) for text in (example(0, number)[0], example(0, number)[1][0])]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_transformers_reads_the_checkpoint_and_computes_the_same(model, tmp_path, dtype):
    save_checkpoint(model, tmp_path, dtype)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    tokens = torch.randint(4, 64, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(theirs(tokens).logits, load_checkpoint(tmp_path)(tokens), atol=1e-4)


def test_greedy_answers_are_those_of_transformers_whatever_else_is_in_the_batch(model, tmp_path):
    save_checkpoint(model, tmp_path)
    theirs = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    ours = sample(model, PROMPTS, 2, seed=0, temperature=0, longest=12)
    for prompt, answers in zip(PROMPTS, ours, strict=True):
        whole = theirs.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=12, eos_token_id=END_ID, pad_token_id=0
        )
        wanted = whole[0, len(prompt) :].tolist()
        wanted = wanted[: wanted.index(END_ID)] if END_ID in wanted else wanted
        assert answers == [wanted, wanted]


def test_first_tokens_are_drawn_with_the_probabilities_of_the_model(model):
    (answers,) = sample(model, PROMPTS[:1], 4000, seed=1, temperature=0.7, longest=1)
    with torch.no_grad():
        wanted = torch.softmax(model(torch.tensor(PROMPTS[:1]))[0, -1] / 0.7, -1)
    drawn = (
        torch.bincount(torch.tensor([answer[0] if answer else END_ID for answer in answers]), minlength=64)
        / 4000
    )
    assert float((drawn - wanted).abs().max()) < 0.03


def test_whole_answers_are_drawn_with_the_probabilities_of_the_model_from_whichever_prompt(model):
    """Samples that wrote the same so far are computed once; what they write next must stay theirs."""
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(3 if value.ndim == 2 else 1)  # so that what stands far back matters
    drawn = sample(model, PROMPTS, 3000, seed=2, temperature=0.6, longest=3)
    for prompt, answers in zip(PROMPTS, drawn, strict=True):
        seen = collections.Counter(tuple(answer) for answer in answers if len(answer) == 3)
        assert len(seen) > 20
        for answer, times in seen.most_common(4):
            with torch.no_grad():
                logits = model(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1]
            share = torch.softmax(logits / 0.6, -1)[torch.arange(3), list(answer)].prod().item()
            assert abs(times / 3000 - share) < 4 * (share / 3000) ** 0.5


def test_weighted_models_speak_by_the_sum_of_their_logits(model):
    other = Llama(SMALL)
    other.reset(5)
    ours = sample([(1.0, model), (0.0, other)], PROMPTS, 3, seed=4, longest=8)
    assert ours == sample(model, PROMPTS, 3, seed=4, longest=8)
    (answers,) = sample([(-0.5, other), (1.5, model)], PROMPTS[:1], 1, seed=0, temperature=0, longest=1)
    with torch.no_grad():
        wanted = (1.5 * model(torch.tensor(PROMPTS[:1])) - 0.5 * other(torch.tensor(PROMPTS[:1])))[0, -1]
    assert (answers[0] or [END_ID]) == [int(wanted.argmax())]


def test_the_same_seed_draws_the_same_and_another_one_something_else(model):
    first, second, other = (sample(model, PROMPTS, 4, seed=seed, longest=8) for seed in (3, 3, 4))
    assert first == second != other


def test_answers_that_share_a_prompt_are_computed_as_if_alone(model):
    trees = [(PROMPTS[0], [[5, 6, 7], [8], [9, 10]]), (PROMPTS[1], [[11, 12]])]
    with torch.no_grad():
        together = logits(model, plant(trees))
        alone = [
            model(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1]
            for prompt, answers in trees
            for answer in answers
        ]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_advantages_are_deviations_from_the_problems_own_mean():
    gains = advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    assert torch.allclose(gains[0], torch.tensor([3.0, -1.0, -1.0, -1.0]) / math.sqrt(3), atol=1e-2)
    assert not gains[1:].any()


def test_the_update_follows_the_policy_gradient_of_every_sample(model):
    """Samples that wrote the same are one row, weighed by their number and summed advantage."""
    start = Llama(SMALL)
    start.load_state_dict(model.state_dict())
    groups = [Group(PROMPTS[0], [[5, 6, END_ID], [7, END_ID]], [1.5, -2.0], [3, 1])]
    with torch.no_grad():
        loss, apart, entropy = loss_of(model, start, groups, kl=0.1)
    wanted = 0.0
    for answer, gain in (([5, 6, END_ID], 1.5), ([7, END_ID], -2.0)):
        chosen = torch.log_softmax(
            model(torch.tensor([PROMPTS[0] + answer]))[0, len(PROMPTS[0]) - 1 : -1], -1
        )
        wanted = wanted - gain * chosen[torch.arange(len(answer)), answer].sum()
    assert float(apart) == pytest.approx(0, abs=1e-5)
    assert float(loss) == pytest.approx(float(wanted.detach()), rel=1e-4)
    assert float(entropy) > 0


def test_reinforcement_raises_the_reward_and_a_heavy_divergence_penalty_holds_it_back(model):
    """Reward: the answer begins with an even token."""

    def trained(kl: float) -> float:
        torch.manual_seed(0)
        policy, start = Llama(SMALL), Llama(SMALL)
        policy.load_state_dict(model.state_dict())
        start.load_state_dict(model.state_dict())
        optim = torch.optim.AdamW(policy.parameters(), lr=3e-3)
        for step in range(25):
            answers = sample(policy, PROMPTS, 16, seed=step, longest=1)
            rewards = torch.tensor([[float(bool(a) and a[0] % 2 == 0) for a in each] for each in answers])
            groups = [
                Group(prompt, [a or [END_ID] for a in each], gains, [1] * len(each))
                for prompt, each, gains in zip(PROMPTS, answers, advantages(rewards).tolist(), strict=True)
            ]
            loss, *_ = loss_of(policy, start, groups, kl)
            (loss / 48).backward()
            optim.step()
            optim.zero_grad()
        samples = sample(policy, PROMPTS, 200, seed=99, longest=1)
        return sum(bool(a) and a[0] % 2 == 0 for each in samples for a in each) / 600

    free, held = trained(0.0), trained(30.0)
    assert free > 0.9
    assert held < free - 0.1


def test_an_adapter_changes_nothing_before_it_is_trained_and_its_file_holds_the_change_after(model, tmp_path):
    """W + lora_alpha / r * B A, with the names and numbers that PEFT reads."""
    original = {name: value.detach().clone() for name, value in model.named_parameters()}
    tokens = torch.randint(4, 64, (2, 10), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(tokens)
    trained = add_adapters(model, 0)
    with torch.no_grad():
        assert torch.equal(model(tokens), before)
        for value in trained:
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
        after = model(tokens)
    save_adapter(model, tmp_path, "../init")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    factors = load_file(tmp_path / "adapter_model.safetensors")
    plain = Llama(SMALL)
    plain.load_state_dict(original)
    for name, value in plain.named_parameters():
        stem = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{stem}.lora_A.weight" in factors:
            assert name.split(".")[-2] in config["target_modules"]
            product = factors.pop(f"{stem}.lora_B.weight") @ factors.pop(f"{stem}.lora_A.weight")
            value.data += config["lora_alpha"] / config["r"] * product
    assert not factors
    with torch.no_grad():
        assert torch.allclose(plain(tokens), after, atol=1e-4)
        plain.load_state_dict(original)
        halves = merged(merged(plain, {tmp_path: 0.25}), {tmp_path: 0.75})
        assert torch.allclose(halves(tokens), after, atol=1e-4)
    assert not torch.allclose(after, before, atol=1e-2)


def test_the_tokenizer_gives_back_every_text_and_the_template_makes_the_same_prompt(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for number in range(400, 430):
        prompt, programs = example(0, number)
        for text in (prompt, *programs, "ünï \t 3.5?x .\n\n?"):
            assert tokenizer.decode(tokenizer.encode(text).ids) == text
        made = theirs.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True)
        made = made["input_ids"] if not isinstance(made, list) else made
        assert made == encode_prompt(tokenizer, prompt)
        assert encode_answer(tokenizer, programs[0])[-1] == END_ID


def test_supervised_training_goes_on_where_it_was_stopped(tokenizer, tmp_path):
    """Six steps in one go and in two give the same weights."""
    tiny = Size(
        hidden=32, inner=32, layers=1, heads=2, key_heads=1, head=16, vocabulary=tokenizer.get_vocab_size()
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    plan = sft.Sft(steps=6, batch=4, keep_every=3)
    for folder in (whole, parts):
        folder.mkdir()
    sft.run(0, 1, plan, 1, tokenizer, whole, size=tiny)

    class Stopped(Exception):
        pass

    def stop(seed: int, number: int) -> tuple[str, list[str]]:
        if number >= 16:  # the fifth step
            raise Stopped
        return example(seed, number)

    with pytest.raises(Stopped):
        sft.run(0, 1, plan, 1, tokenizer, parts, teacher=stop, size=tiny)
    sft.run(0, 1, plan, 1, tokenizer, parts, size=tiny)
    uninterrupted, resumed = (load_checkpoint(folder / "init") for folder in (whole, parts))
    assert all(
        torch.equal(a, b) for a, b in zip(uninterrupted.parameters(), resumed.parameters(), strict=True)
    )
    assert (
        json.loads((parts / "init" / "config.json").read_text())["vocab_size"] == tokenizer.get_vocab_size()
    )


def test_examples_are_drawn_from_the_training_set_and_mix_both_ways():
    from bench.frontier.problems.draw import split_of

    drawn = [example(7, number) for number in random.Random(0).sample(range(10_000), 60)]
    assert {split_of(prompt) for prompt, _ in drawn} == {"train"}
    fast = [program.startswith("# fast") for _, programs in drawn for program in programs]
    assert 0.3 < sum(fast) / len(fast) < 0.7
