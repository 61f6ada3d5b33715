"""Merged checkpoints are read by those who will read them."""

import os

import numpy as np
import pytest

from alpharay.merge import merge


def test_transformers_reads_a_merge_and_computes_with_its_weights(frontier, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    low, high = frontier
    result = merge(low=low, high=high, alphas=[0.5, 1.0], out=tmp_path / "out", dtype="fp32")
    models = [
        transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        for path in (low, high, *(output.path for output in result.outputs))
    ]
    states = [model.state_dict() for model in models]
    for name, middle in states[2].items():
        assert torch.equal(middle, (states[0][name].double() * 0.5 + states[1][name].double() * 0.5).float())
    tokenizer = transformers.AutoTokenizer.from_pretrained(result.outputs[0].path)
    ids = torch.tensor([tokenizer("print the sum of two numbers")["input_ids"]])
    with torch.no_grad():
        assert torch.equal(models[1](ids).logits, models[3](ids).logits)
        assert not torch.equal(models[2](ids).logits, models[3](ids).logits)


@pytest.mark.engine
def test_the_engine_generates_from_a_merge(frontier, tmp_path, monkeypatch):
    vllm = pytest.importorskip("vllm")
    for name, value in {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, value))
    low, high = frontier
    result = merge(low=low, high=high, alphas=[1.5], out=tmp_path / "out")
    engine = vllm.LLM(
        str(result.outputs[0].path), dtype="bfloat16", enforce_eager=True, kv_cache_memory_bytes=128 << 20
    )
    answers = engine.chat(
        [[{"role": "user", "content": "Read n and print the sum of n numbers."}]] * 2,
        vllm.SamplingParams(temperature=1.0, max_tokens=40, seed=1),
    )
    assert all(answer.outputs[0].text.strip() for answer in answers)
    logprob = np.array([answer.outputs[0].cumulative_logprob or 0.0 for answer in answers])
    assert np.isfinite(logprob).all()
