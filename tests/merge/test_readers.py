"""Merged checkpoints are read by those who will read them."""

import os
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from alpharay.merge import merge, merge_adapters
from alpharay.merge.adapters.adapter import open_adapter, product
from alpharay.merge.adapters.extract import extract_lora
from alpharay.merge.compute.methods import plan_ewa
from alpharay.merge.compute.plan import read_settings
from alpharay.merge.compute.span import plan_span
from alpharay.merge.compute.theta import weights
from alpharay.merge.write.run import run_plan


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


def test_merge_on_load_gives_the_bits_that_a_merge_writes(endpoints, tmp_path, load):
    low, high = endpoints
    for options in ({"dtype": "fp16"}, {"rounding": "stochastic", "seed": 4}):
        result = merge(low=low, high=high, alphas=[1.3], out=tmp_path / str(options), **options)
        plan = plan_ewa(low=low, high=high, alphas=[1.3], settings=read_settings(**options))
        got = {weight.name: weight for weight in weights(plan)}
        expected = load(result.outputs[0].path)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name].data.tobytes() == value.tobytes()
            assert got[name].shape == value.shape


@pytest.mark.engine
def test_the_engine_serves_a_merge_a_merge_on_load_a_shift_and_adapters(
    frontier, tmp_path, load, monkeypatch
):
    vllm = pytest.importorskip("vllm")
    from vllm.lora.request import LoRARequest

    from alpharay.merge.engine.loader import register

    for name, value in {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, os.environ.get(name, value))
    register()
    low, high = frontier
    prompt = "Read n and print the sum of n numbers."
    common = {"dtype": "bfloat16", "enforce_eager": True, "kv_cache_memory_bytes": 64 << 20}
    sampling = vllm.SamplingParams(temperature=0.0, max_tokens=24, logprobs=3, prompt_logprobs=3)

    def answer(engine, **options):
        (result,) = engine.chat([{"role": "user", "content": prompt}], sampling, **options)
        steps = [*(result.prompt_logprobs or [])[1:], *result.outputs[0].logprobs]
        return result.outputs[0].text, [
            sorted((token, entry.logprob) for token, entry in step.items()) for step in steps
        ]

    def move(engine, **point):
        engine.start_weight_update()
        engine.update_weights({"update_info": point})
        engine.finish_weight_update()
        engine.reset_prefix_cache()

    # An adapter, an adapter that does nothing, and a checkpoint with the first one added to its weights.
    extract_lora(low=low, high=high, rank=4, out=tmp_path / "tuned")
    shutil.copytree(tmp_path / "tuned", tmp_path / "idle")
    factors = load_file(tmp_path / "tuned" / "adapter_model.safetensors")
    idle = {name: value * (0 if ".lora_B." in name else 1) for name, value in factors.items()}
    save_file(idle, tmp_path / "idle" / "adapter_model.safetensors", metadata={"format": "pt"})
    full = load(low)
    for module, pair in open_adapter(tmp_path / "tuned").modules.items():
        name = module.removeprefix("base_model.model.") + ".weight"
        full[name] = (full[name].astype("f8") + product(pair)).astype("f4").astype(full[name].dtype)
    shutil.copytree(low, tmp_path / "full")
    save_file(full, tmp_path / "full" / "model.safetensors", metadata={"format": "pt"})

    (output,) = merge(low=low, high=tmp_path / "full", alphas=[1.5], out=tmp_path / "out").outputs
    written = answer(vllm.LLM(str(output.path), **common))
    extra = {"high": str(tmp_path / "full"), "alpha": 1.5}
    live = vllm.LLM(
        str(low),
        load_format="alpharay",
        model_loader_extra_config=extra,
        weight_transfer_config={"backend": "alpharay"},
        **common,
    )
    assert written[0].strip()
    assert answer(live) == written
    seen = []
    for alpha in (0.0, 1.5):  # away and back: nothing of what was there before is left
        move(live, alpha=alpha)
        seen.append(answer(live))
    assert seen[1] == written
    assert seen[0] == answer(vllm.LLM(str(low), **common))

    # A point of three checkpoints: written, loaded there, and reached from another point.
    three = {"init": low.parent / "init", "low": low, "high": high}
    wide = {"init": 0.75, "low": -0.25, "high": 0.5}
    plan = plan_span(checkpoints=three, outputs={"wide": wide}, settings=read_settings(dtype="bf16"))
    (output,) = run_plan(plan, tmp_path / "span").outputs
    point = answer(vllm.LLM(str(output.path), **common))
    assert point[1] != written[1]
    spanning = {"checkpoints": {name: str(path) for name, path in three.items()}, "dtype": "bf16"}
    kept = []  # the end of an in-process engine ends what the next one shares with it
    for weights_at in (wide, {"init": 0.5, "high": 0.5}):
        kept.append(
            engine := vllm.LLM(
                str(three["init"]),
                load_format="alpharay",
                model_loader_extra_config=spanning | {"weights": weights_at},
                weight_transfer_config={"backend": "alpharay"},
                **common,
            )
        )
        assert (answer(engine) == point) == (weights_at is wide)
        move(engine, weights=wide)
        assert answer(engine) == point

    ends = {"low": tmp_path / "idle", "high": tmp_path / "tuned"}
    (adapter,) = merge_adapters(**ends, alphas=[1.5], out=tmp_path / "adapters").outputs
    served = vllm.LLM(str(low), enable_lora=True, max_lora_rank=8, **common)
    request = LoRARequest("frontier@1.5", 1, str(adapter.path))
    base, adapted = answer(served), answer(served, lora_request=request)

    def distance(left, right):
        steps = zip(left[1][:20], right[1][:20], strict=True)
        pairs = [(dict(first), dict(second)) for first, second in steps]
        return np.mean(
            [
                abs(first[token] - second[token])
                for first, second in pairs
                for token in first.keys() & second.keys()
            ]
        )

    # The same update in the weights gives the same probabilities, up to bfloat16; none gives others.
    assert distance(adapted, written) < 0.1 < distance(base, written)
