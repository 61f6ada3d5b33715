"""The named methods and recipe files against their formulas."""

import numpy as np
import pytest

from alpharay.merge.compute.methods import (
    best_pair,
    plan_ewa,
    plan_exme,
    plan_expo,
    plan_linear,
    plan_wise_ft,
)
from alpharay.merge.compute.plan import Settings, parse_size
from alpharay.merge.compute.recipe import plan_recipe
from alpharay.merge.errors import MergeError, UsageError
from alpharay.merge.write.run import run_plan


@pytest.fixture
def three(tmp_path, save, tensors):
    """base, first, second as paths, in float32 so that formulas can be compared closely."""
    return [
        save(tmp_path / name, tensors(seed, 0.05, np.float32))
        for name, seed in (("base", 1), ("first", 2), ("second", 3))
    ]


@pytest.fixture
def same(load):
    """same(path, formula, *checkpoints): the merge equals the formula, up to one float32 rounding."""

    def check(path, formula, *checkpoints):
        merged, inputs = load(path), [load(checkpoint) for checkpoint in checkpoints]
        for name, value in merged.items():
            expected = formula(*(tensors[name].astype("f8") for tensors in inputs))
            np.testing.assert_allclose(value, expected, rtol=1.2e-7, atol=1e-12, err_msg=name)

    return check


def test_expo_counts_alpha_from_the_tuned_model(three, tmp_path, same, load):
    base, tuned, _ = three
    result = run_plan(
        plan_expo(base=base, tuned=tuned, alphas=[0, 0.5], settings=Settings()), tmp_path / "expo"
    )
    same(result.outputs[1].path, lambda b, t: t + 0.5 * (t - b), base, tuned)
    ours = run_plan(plan_ewa(low=base, high=tuned, alphas=[1, 1.5], settings=Settings()), tmp_path / "ewa")
    assert [output.sha256 for output in result.outputs] == [output.sha256 for output in ours.outputs]
    assert [output.effective_alpha for output in result.outputs] == pytest.approx([0, 0.5], abs=1e-6)


def test_expo_takes_the_chat_template_of_the_tuned_model(three, tmp_path):
    base, tuned, _ = three
    (tuned / "chat_template.jinja").write_text("tuned")
    result = run_plan(plan_expo(base=base, tuned=tuned, alphas=[0.5], settings=Settings()), tmp_path / "out")
    assert (result.outputs[0].path / "chat_template.jinja").read_text() == "tuned"


def test_wise_ft_interpolates_and_no_more(three, tmp_path, same):
    early, late, _ = three
    plan = plan_wise_ft(early=early, late=late, alphas=[0.3], settings=Settings())
    same(run_plan(plan, tmp_path / "out").outputs[0].path, lambda a, b: (1 - 0.3) * a + 0.3 * b, early, late)
    with pytest.raises(UsageError, match="ewa"):
        plan_wise_ft(early=early, late=late, alphas=[1.2], settings=Settings())


def test_linear_takes_weights_as_they_are(three, tmp_path, same):
    models = dict(zip("abc", three, strict=True))
    outputs = {"sum": [1, 1, 0.5], "difference": [-1, 1, 0], "average": [0.2, 0.3, 0.5], "first": [1, 0, 0]}
    result = run_plan(plan_linear(models=models, outputs=outputs, settings=Settings()), tmp_path / "out")
    for output, weights in zip(result.outputs, outputs.values(), strict=True):
        same(output.path, lambda *parts, w=weights: sum(x * y for x, y in zip(w, parts, strict=True)), *three)
    assert (result.outputs[3].path / "model.safetensors").read_bytes() == (
        three[0] / "model.safetensors"
    ).read_bytes()


def test_weights_are_normalised_only_by_name_and_never_by_zero(three, tmp_path, same):
    models = dict(zip("ab", three, strict=False))
    plan = plan_linear(models=models, outputs={"x": [1, 3]}, normalise=True, settings=Settings())
    same(run_plan(plan, tmp_path / "out").outputs[0].path, lambda a, b: 0.25 * a + 0.75 * b, *three[:2])
    with pytest.raises(UsageError, match="zero"):
        plan_linear(models=models, outputs={"x": [-1, 1]}, normalise=True, settings=Settings())


def test_exme_extrapolates_both_and_averages_them(three, tmp_path, same):
    base, first, second = three
    plan = plan_exme(
        base=base, first=first, second=second, alphas=[0.1, 0.4], betas=[0.3, 1], settings=Settings()
    )
    result = run_plan(plan, tmp_path / "out")
    names = [output.path.name for output in result.outputs]
    assert names == ["alpha=0.1,beta=0.3", "alpha=0.1,beta=1", "alpha=0.4,beta=0.3", "alpha=0.4,beta=1"]
    same(
        result.outputs[2].path,
        lambda o, a, b: 0.3 * (a + 0.4 * (a - o)) + 0.7 * (b + 0.4 * (b - o)),
        *three,
    )


def test_exme_takes_the_two_best_unless_they_are_far_apart():
    scores = {"a": 40.0, "b": 41.0, "c": 30.0, "d": 39.9}
    assert best_pair(scores) == ("b", "a")
    with pytest.raises(UsageError, match=r"2\.00 points apart"):
        best_pair({"a": 40.0, "b": 42.0})
    assert best_pair({"a": 40.0, "b": 42.0}, max_gap=2) == ("b", "a")
    with pytest.raises(UsageError):
        best_pair({"a": 40.0})


RECIPE = """
models: {base: base, first: first, second: second}
outputs:
  even: {first: 0.5, second: 0.5}
  layered:
    weights: {first: 1}
    tensors: {"*.layers.0.*": {second: 1}, "*.layers.*": {first: 0.5, second: 0.75}}
rounding: nearest
shard_size: 1KB
"""


def test_a_recipe_combines_any_checkpoints_with_weights_by_tensor(three, tmp_path, same, load):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    even, layered = run_plan(plan_recipe(recipe), tmp_path / "out").outputs
    same(even.path, lambda a, b: 0.5 * a + 0.5 * b, *three[1:])
    assert len(list(even.path.glob("*.safetensors"))) > 1
    merged, first, second = (load(path) for path in (layered.path, three[1], three[2]))
    name = "model.layers.{}.mlp.up_proj.weight"
    assert merged[name.format(0)].tobytes() == second[name.format(0)].tobytes()
    expected = 0.5 * first[name.format(1)].astype("f8") + 0.75 * second[name.format(1)]
    np.testing.assert_allclose(merged[name.format(1)], expected, rtol=1e-6)
    assert merged["model.norm.weight"].tobytes() == first["model.norm.weight"].tobytes()
    assert even.effective_alpha == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("change", "message"), [
    (("models:", "modles:"), "did you mean models"),
    (("first: 0.5", "frist: 0.5"), "did you mean first"),
    (("rounding: nearest", "rounding: up"), "stochastic"),
    (("1KB", "much"), "5GB"),
    (('"*.layers.0.*"', '"*.lairs.*"'), "matches no tensor"),
    (("first: 0.5", "first: half"), "give a number"),
    (("even:", "../even:"), "no directory name"),
    (("outputs:", "x: ["), "not YAML"),
    (("first: first,", ""), "is unknown"),
])  # fmt: skip
def test_a_recipe_with_an_error_says_where(three, tmp_path, change, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace(*change))
    with pytest.raises(UsageError, match=message) as caught:
        plan_recipe(recipe)
    assert str(recipe) in str(caught.value)


def test_an_exme_recipe_picks_the_pair_and_then_the_best_merge(three, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    text = "exme:\n  base: base\n  checkpoints: {second: 40.1, first: 41, base: 12}\n"
    recipe.write_text(text)
    plan = plan_recipe(recipe)
    assert [source.checkpoint.path.name for source in plan.sources] == ["base", "first", "second"]
    assert len(plan.outputs) == 45
    recipe.write_text(text + "  scores: {'alpha=0.1,beta=0.5': 41.5, 'alpha=0.3,beta=0.2': 42}\n")
    assert [output.name for output in plan_recipe(recipe).outputs] == ["alpha=0.3,beta=0.2"]
    recipe.write_text(text.replace("40.1", "39"))
    with pytest.raises(MergeError, match="max_gap"):
        plan_recipe(recipe)
    recipe.write_text(text.replace("40.1", "39") + "  max_gap: 3\n")
    assert len(plan_recipe(recipe).outputs) == 45


@pytest.mark.parametrize(
    ("text", "size"), [("5GB", 5 * 10**9), ("1.5 mb", 1_500_000), ("700", 700), ("2K", 2000)]
)
def test_sizes_are_read_as_hubs_write_them(text, size):
    assert parse_size(text) == size


def test_an_output_without_a_move_says_the_whole_move_was_realised(three, tmp_path):
    plan = plan_linear(models={"a": three[0], "b": three[1]}, outputs={"same": [1, 0]}, settings=Settings())
    assert run_plan(plan, tmp_path / "out").outputs[0].effective_alpha == 1.0
