"""What a config.json means, whichever version of Transformers wrote it.

Versions write one config in several ways: rope_theta and rope_scaling became rope_parameters, torch_dtype became
dtype, and what equals a default is written by some and left out by others. Two configs are compared by what is
read from them, without anything that does not change what the weights mean.
"""

import copy
import importlib.util
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

# What may differ: how the file was written, how training went, how to sample. Everything else matters, also keys
# that we do not know: a new architecture's option is a difference until someone says that it is not.
IRRELEVANT = frozenset(
    {
        "_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path", "dtype",
        "torch_dtype", "transformers_version", "use_cache", "auto_map", "attn_implementation",
        "_experts_implementation", "_experts_implementation_autoset", "use_bfloat16", "torchscript",
        "tf_legacy_loss", "unsloth_version", "unsloth_fixed", "tokenizer_class", "model_max_length",
        "attention_dropout", "attn_pdrop", "embd_pdrop", "resid_pdrop", "hidden_dropout", "dropout",
        "classifier_dropout", "initializer_range", "initializer_factor", "gradient_checkpointing",
        "output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "output_attentions",
        "output_hidden_states", "output_scores", "return_dict", "return_dict_in_generate", "problem_type",
        "task_specific_params", "finetuning_task", "id2label", "label2id", "num_labels", "pretraining_tp",
        "chunk_size_feed_forward", "pruned_heads",
        "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "decoder_start_token_id",
        "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "prefix",
        "do_sample", "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups",
        "num_return_sequences", "diversity_penalty", "length_penalty", "early_stopping", "bad_words_ids",
        "max_length", "min_length", "max_new_tokens", "repetition_penalty", "no_repeat_ngram_size",
        "encoder_no_repeat_ngram_size", "remove_invalid_values", "exponential_decay_length_penalty",
    }
)  # fmt: skip

# Of models that have the switch use_sliding_window and leave it off by default.
_WINDOW_OFF = ("qwen2", "qwen3")
# What older versions write beside rope_scaling, and newer ones in rope_parameters.
_OLD_ROPE = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """One field that means something else in two configs; None where one has none."""

    field: str
    left: Any
    right: Any

    def allowed_by(self, fields: Collection[str]) -> bool:
        """Whether one of the fields is this one, by its whole name or its last part, or holds it."""
        parts = self.field.split(".")
        own = {".".join(parts[:n]) for n in range(1, len(parts) + 1)} | {parts[-1]}
        return not own.isdisjoint(fields)

    def described(self, left: object, right: object) -> str:
        """In words, with the names of both sides."""
        return f"{self.field} is {json.dumps(self.left)} in {left} but {json.dumps(self.right)} in {right}"


def config_differences(left: dict[str, Any], right: dict[str, Any]) -> list[ConfigDifference]:
    """The fields in which two configs mean something else, by name.

    Defaults are Transformers' own where it is installed (it comes with the engine). Without it, a field that only one
    config has counts as a difference unless it is empty.
    """
    if dict(_flatten(meaning(left))) == dict(_flatten(meaning(right))):
        return []
    # Importing Transformers takes seconds: only for configs that are not plainly the same. It also tells a field that is
    # left out from one that is null or false: its default may be neither.
    ours, theirs = _as_read(left), _as_read(right)
    if ours is None or theirs is None:
        return _compare(meaning(left), meaning(right))
    return _compare(meaning(ours), meaning(theirs))


def meaning(config: dict[str, Any]) -> dict[str, Any]:
    """The config in one spelling for all versions, without what changes nothing. Nested configs too."""
    content = {key: value for key, value in config.items() if key not in IRRELEVANT}
    content = {
        key: meaning(value) if isinstance(value, dict) and key.endswith("_config") else value
        for key, value in content.items()
    }
    _unify_rope(content)
    _leave_out_unused_windows(content)
    _leave_out_derived(content)
    return content


def _unify_rope(content: dict[str, Any]) -> None:
    """rope_theta and rope_scaling as rope_parameters, which newer versions write in their place."""
    old = {key: content.pop(key, None) for key in _OLD_ROPE}
    scaling, new = content.pop("rope_scaling", None), content.pop("rope_parameters", None)
    local = content.pop("rope_local_base_freq", None)
    if not isinstance(new, dict):
        new = scaling if isinstance(scaling, dict) else {}
    # Some models have one set for each kind of layer.
    if new and all(isinstance(value, dict) for value in new.values()):
        kinds, old = new, {}
    elif local is not None:
        kinds = {"full_attention": {**old, **new}, "sliding_attention": {"rope_theta": local}}
    else:
        kinds = {"": {**old, **new}}
    longest = content.get("max_position_embeddings")
    unified = {kind: _rope_set({**old, **part}, longest) for kind, part in kinds.items()}
    rope = unified.get("", unified)
    if rope:
        content["rope_parameters"] = rope


def _rope_set(part: dict[str, Any], longest: object) -> dict[str, Any]:
    """One set, without what equals a default."""
    rope = {key: value for key, value in part.items() if value is not None}
    old_name = rope.pop("type", "default")
    kind = rope.pop("rope_type", old_name)
    if kind != "default":
        rope["rope_type"] = {"su": "longrope"}.get(kind, kind)
    defaults = {"partial_rotary_factor": 1.0, "original_max_position_embeddings": longest}
    return {key: value for key, value in rope.items() if key not in defaults or defaults[key] != value}


def _leave_out_unused_windows(content: dict[str, Any]) -> None:
    model = str(content.get("model_type", ""))
    off = content.get("use_sliding_window", False if model.startswith(_WINDOW_OFF) else None)
    if off is False:
        for key in ("use_sliding_window", "sliding_window", "max_window_layers"):
            content.pop(key, None)
    kinds = content.get("layer_types")
    if isinstance(kinds, list) and set(kinds) == {"full_attention"}:
        content.pop("layer_types")


def _leave_out_derived(content: dict[str, Any]) -> None:
    """What equals that which Transformers derives from other fields."""
    heads, size = content.get("num_attention_heads"), content.get("hidden_size")
    if not isinstance(heads, int) or not heads:
        return
    if isinstance(size, int) and content.get("head_dim") == size // heads:
        content.pop("head_dim")
    if content.get("num_key_value_heads") == heads:
        content.pop("num_key_value_heads")


def _compare(left: dict[str, Any], right: dict[str, Any]) -> list[ConfigDifference]:
    ours, theirs = dict(_flatten(left)), dict(_flatten(right))
    return [
        ConfigDifference(key, ours.get(key), theirs.get(key))
        for key in sorted(ours.keys() | theirs.keys())
        if ours.get(key) != theirs.get(key) and (ours.get(key) or theirs.get(key))
    ]


def _flatten(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + str(key), value


def _as_read(config: dict[str, Any]) -> dict[str, Any] | None:
    """The config with Transformers' defaults; None where it is not installed, or does not know the model.

    Nothing of the checkpoint's own code is run.
    """
    if importlib.util.find_spec("transformers") is None:
        return None
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.utils import logging

    model = config.get("model_type")
    if not isinstance(model, str) or model not in CONFIG_MAPPING:
        return None
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        read: dict[str, Any] = CONFIG_MAPPING[model].from_dict(copy.deepcopy(config)).to_dict()
    except Exception:
        return None  # a config that Transformers refuses is compared as it was written
    finally:
        logging.set_verbosity(before)
    return read
