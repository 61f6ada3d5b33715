"""Recipe files: any linear combination of any number of checkpoints, in YAML.

    models:                  # a name for each checkpoint directory, relative to this file
      base: checkpoints/base #   the first is the anchor and gives tokenizer and configs
      maths: checkpoints/maths
      code: checkpoints/code
    outputs:                 # one directory each
      even: {maths: 0.5, code: 0.5}
      layered:
        weights: {maths: 0.3, code: 0.7}
        tensors:             # other weights for some tensors; the first glob that matches counts
          "*.mlp.*": {code: 1.0}
    normalise: false         # divide each output's weights by their sum
    dtype: bf16              # these five as on the command line
    rounding: nearest
    seed: 0
    shard_size: 5GB
    allow_config: [sliding_window]  # fields of config.json that may differ

or, in place of models and outputs, extrapolation merging from recorded scores:

    exme:
      base: checkpoints/base
      checkpoints: {checkpoints/a: 41.2, checkpoints/b: 40.5, checkpoints/c: 33.0}  # score in points
      alphas: [0.1, 0.2, 0.3, 0.4, 0.5]
      betas: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
      scores: {"alpha=0.3,beta=0.5": 42.0}   # once measured: only the best of these is written
      max_gap: 1.5           # points by which the best two checkpoints may differ
"""

import difflib
import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from alpharay.merge.combine import Combination
from alpharay.merge.compute.methods import (
    EXME_ALPHAS,
    EXME_BETAS,
    EXME_MAX_GAP,
    best_pair,
    plan_exme,
    weighted,
)
from alpharay.merge.compute.plan import Output, Plan, Settings, open_sources, read_settings
from alpharay.merge.errors import UsageError

SETTINGS = ("dtype", "rounding", "seed", "shard_size", "allow_config")


def plan_recipe(path: Path) -> Plan:
    """The merge that a recipe file describes.

    Raises UsageError naming the key that is wrong, and what opening the checkpoints raises.
    """
    content = _read(path)
    _known(path, content, ("models", "outputs", "normalise", "exme", *SETTINGS))
    settings = _settings(path, content)
    if "exme" in content:
        if "models" in content or "outputs" in content:
            raise UsageError(f"{path} has exme beside models or outputs; keep one of them")
        return _plan_exme(path, _mapping(path, "exme", content["exme"]), settings)
    models = {
        str(name): path.parent / str(folder)
        for name, folder in _mapping(path, "models", content.get("models")).items()
    }
    normalise = content.get("normalise", False)
    if not isinstance(normalise, bool):
        raise UsageError(f"{path}: normalise is {normalise!r}; write true or false")
    outputs = tuple(
        _output(path, str(name), part, tuple(models), normalise=normalise)
        for name, part in _mapping(path, "outputs", content.get("outputs")).items()
    )
    plan = Plan(
        method="recipe",
        sources=open_sources(models, settings),
        outputs=outputs,
        settings=settings,
        along_delta=False,
    )
    _globs_match(path, plan)
    return plan


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    return _mapping(path, "the recipe", content)


def _settings(path: Path, content: Mapping[str, Any]) -> Settings:
    seed = content.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"{path}: seed is {seed!r}; give a whole number")
    dtype, shard_size = content.get("dtype"), content.get("shard_size")
    allowed = content.get("allow_config", [])
    if not isinstance(allowed, list) or not all(isinstance(field, str) for field in allowed):
        raise UsageError(f"{path}: allow_config is {allowed!r}; give a list of fields of config.json")
    try:
        return read_settings(
            dtype=None if dtype is None else str(dtype),
            rounding=str(content.get("rounding", "nearest")),
            seed=seed,
            shard_size=None if shard_size is None else str(shard_size),
            allow_config=allowed,
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _output(path: Path, name: str, part: Any, models: Sequence[str], *, normalise: bool) -> Output:
    if Path(name).name != name or name.startswith("."):
        raise UsageError(f"{path}: output {name!r} is no directory name; use letters, digits, - and =")
    part = _mapping(path, f"outputs.{name}", part)
    if "weights" not in part:
        part = {"weights": part}
    _known(path, part, ("weights", "tensors"), f"outputs.{name}.")

    def combination(where: str, weights: Any) -> Combination:
        weights = _numbers(path, where, weights)
        _known(path, weights, models, f"{where}.")
        try:
            return weighted(where, [weights.get(model, 0.0) for model in models], normalise=normalise)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    tensors = _mapping(path, f"outputs.{name}.tensors", part["tensors"]) if "tensors" in part else {}
    return Output(
        name=name,
        alpha=1.0,
        combination=combination(f"outputs.{name}", part["weights"]),
        tensors=tuple(
            (str(glob), combination(f"outputs.{name}.tensors.{glob}", weights))
            for glob, weights in tensors.items()
        ),
    )


def _plan_exme(path: Path, part: Mapping[str, Any], settings: Settings) -> Plan:
    _known(path, part, ("base", "checkpoints", "alphas", "betas", "scores", "max_gap"), "exme.")
    max_gap = part.get("max_gap", EXME_MAX_GAP)
    if not isinstance(max_gap, int | float):
        raise UsageError(f"{path}: exme.max_gap is {max_gap!r}; give points")
    try:
        first, second = best_pair(
            _numbers(path, "exme.checkpoints", part.get("checkpoints")), max_gap=max_gap
        )
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if "base" not in part:
        raise UsageError(f"{path}: exme.base is missing; name the checkpoint that both were tuned from")
    plan = plan_exme(
        base=path.parent / str(part["base"]),
        first=path.parent / first,
        second=path.parent / second,
        alphas=_list(path, "exme.alphas", part.get("alphas", EXME_ALPHAS)),
        betas=_list(path, "exme.betas", part.get("betas", EXME_BETAS)),
        settings=settings,
    )
    if "scores" not in part:
        return plan
    scores = _numbers(path, "exme.scores", part["scores"])
    _known(path, scores, [output.name for output in plan.outputs], "exme.scores.")
    best = max(scores, key=lambda name: scores[name])
    return replace(plan, outputs=tuple(output for output in plan.outputs if output.name == best))


def _globs_match(path: Path, plan: Plan) -> None:
    """A glob that matches nothing is a typing error, and would be lost silently."""
    names = list(plan.sources[0].checkpoint.tensors)
    for output in plan.outputs:
        for glob, _ in output.tensors:
            if not fnmatch.filter(names, glob):
                raise UsageError(
                    f"{path}: outputs.{output.name}.tensors.{glob} matches no tensor; names look like {names[0]}"
                )


def _mapping(path: Path, where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        raise UsageError(f"{path}: {where} must be a mapping that is not empty; see alpharay merge --help")
    return value


def _numbers(path: Path, where: str, value: Any) -> dict[str, float]:
    numbers = _mapping(path, where, value)
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise UsageError(f"{path}: {where}.{name} is {number!r}; give a number")
    return {str(name): float(number) for name, number in numbers.items()}


def _list(path: Path, where: str, value: Any) -> list[float]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, int | float) for item in value):
        raise UsageError(f"{path}: {where} is {value!r}; give a list of numbers")
    return [float(item) for item in value]


def _known(path: Path, keys: Collection[str], known: Sequence[str], prefix: str = "") -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known[:9])}"
            raise UsageError(f"{path}: {prefix}{key} is unknown; {hint}")
