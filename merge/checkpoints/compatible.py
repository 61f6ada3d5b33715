"""Whether checkpoints belong to one model: the same tensors, a config that means the same, one tokenizer.

Nothing is skipped and nothing is broadcast: a tensor that cannot be merged ends the merge.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from alpharay.merge.checkpoints.checkpoint import CONFIG, Checkpoint, read_json
from alpharay.merge.checkpoints.config_meaning import config_differences
from alpharay.merge.errors import (
    CheckpointError,
    ConfigMismatch,
    DtypeMismatch,
    ExtraTensor,
    MissingTensor,
    ShapeMismatch,
    TokenizerMismatch,
)

# Files that decide which id means which text; each is compared where both checkpoints have it,
# because some trainers save weights without a tokenizer.
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt", "tekken.json")
# Parts of tokenizer.json that do not change how text is encoded by a server.
TOKENIZER_IRRELEVANT = ("version", "truncation", "padding")
# Differing fields that one refusal names.
_MOST_TOLD = 6


def check_compatible(
    first: Checkpoint, other: Checkpoint, *, any_dtype: bool, allow_config: Collection[str] = ()
) -> None:
    """Raises the Mismatch that says why `other` cannot be merged with `first`.

    any_dtype: the caller says which dtype to write, so the inputs' may differ. allow_config: fields of config.json
    that may differ.
    """
    _check_config(first, other, allow_config)
    _check_tensors(first, other, any_dtype=any_dtype)
    _check_tokenizers(first.path, other.path)


def _check_tensors(first: Checkpoint, other: Checkpoint, *, any_dtype: bool) -> None:
    missing = [name for name in first.tensors if name not in other.tensors]
    if missing:
        raise MissingTensor(_absent(missing, has=first, lacks=other))
    extra = [name for name in other.tensors if name not in first.tensors]
    if extra:
        raise ExtraTensor(_absent(extra, has=other, lacks=first))
    for name, tensor in first.tensors.items():
        twin = other.tensors[name]
        if tensor.shape != twin.shape:
            hint = "; was the vocabulary resized?" if "embed" in name or "lm_head" in name else ""
            raise ShapeMismatch(
                f"{name} is {list(tensor.shape)} in {tensor.file} but "
                f"{list(twin.shape)} in {twin.file}{hint}; "
                "give two checkpoints of one model"
            )
        convertible = any_dtype and tensor.is_float and twin.is_float
        if tensor.dtype != twin.dtype and not convertible:
            way_out = "say what to write with --dtype" if tensor.is_float and twin.is_float else "convert one"
            raise DtypeMismatch(
                f"{name} is {tensor.dtype} in {tensor.file} but {twin.dtype} in {twin.file}; {way_out}"
            )


def _absent(names: list[str], *, has: Checkpoint, lacks: Checkpoint) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if any("lm_head" in name for name in names):
        way_out = (
            "one side ties its embeddings and the other does not: "
            "save both with the same tie_word_embeddings, or write the tied copy out in both"
        )
    else:
        way_out = "give two checkpoints of one model"
    return f"{names[0]}{more} is in {has.path} but not in {lacks.path}; {way_out}"


def _check_config(first: Checkpoint, other: Checkpoint, allow_config: Collection[str]) -> None:
    if first.config is None and other.config is None:
        return
    for left, right in ((first, other), (other, first)):
        if left.config is None:
            raise ConfigMismatch(
                f"{left.path} has no {CONFIG} but {right.path} has; copy the one that belongs to it there"
            )
    assert first.config is not None
    assert other.config is not None
    differences = config_differences(first.config, other.config)
    refused = [difference for difference in differences if not difference.allowed_by(allow_config)]
    if refused:
        listed = "; ".join(
            difference.described(first.path, other.path) for difference in refused[:_MOST_TOLD]
        )
        more = f"; and {len(refused) - _MOST_TOLD} more" if len(refused) > _MOST_TOLD else ""
        raise ConfigMismatch(
            f"{CONFIG}: {listed}{more}; the weights would not mean the same: give two checkpoints of one model, or "
            f"--allow-config {refused[0].field} where it does not matter"
        )


def _check_tokenizers(first: Path, other: Path) -> None:
    for name in TOKENIZERS:
        left, right = first / name, other / name
        if not (left.exists() and right.exists()):
            continue
        try:
            same = left.read_bytes() == right.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{left} or {right} cannot be read: {error.strerror}") from error
        if not same and (not name.endswith(".json") or _encoding(left) != _encoding(right)):
            raise TokenizerMismatch(
                f"{name} differs between {first} and {other}: one token id would mean two texts; "
                "give two checkpoints with one tokenizer"
            )


def _encoding(path: Path) -> dict[str, Any]:
    """What of a tokenizer file decides the encoding, in one spelling for all versions of its writer."""
    content = {key: value for key, value in read_json(path).items() if key not in TOKENIZER_IRRELEVANT}
    model = content.get("model")
    if isinstance(model, dict):
        merges = model.get("merges")
        if isinstance(merges, list):
            # Older writers join the two halves by a space, newer ones keep a pair.
            merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in merges]
        content["model"] = {
            key: value for key, value in {**model, "merges": merges}.items() if value not in (None, False)
        }
    return content
