"""How inputs are asked and when they stop: chat template, special and added tokens, eos, sampling defaults.

These come from one input alone, and say nothing of the weights, so a difference ends no merge; but a member near the
other input would be asked in a form that it was not trained for, or never stop. So each difference is said.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alpharay.merge.checkpoints.checkpoint import CONFIG, read_json
from alpharay.merge.checkpoints.companions import has_tokenizer

TOKENIZER_CONFIG = "tokenizer_config.json"
GENERATION_CONFIG = "generation_config.json"
SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")
# How generation_config.json was written, and what is compared by itself.
_GENERATION_IRRELEVANT = ("_from_model_config", "transformers_version", "use_cache", "eos_token_id")
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Prompting:
    """What one input says. templates: chat templates by name. added: ids of added tokens by their text.

    generation: the sampling defaults of generation_config.json; None without one.
    """

    templates: dict[str, str]
    special: dict[str, str]
    added: dict[str, int]
    eos: tuple[int, ...]
    generation: dict[str, Any] | None
    tokenizer: bool


def read_prompting(path: Path) -> Prompting:
    """Raises CheckpointError: one of the files is not JSON."""
    tokenizer = _optional(path / TOKENIZER_CONFIG)
    special = _optional(path / "special_tokens_map.json") | tokenizer
    generation = read_json(path / GENERATION_CONFIG) if (path / GENERATION_CONFIG).is_file() else None
    eos = (generation or {}).get("eos_token_id")
    if eos is None:
        eos = _optional(path / CONFIG).get("eos_token_id")
    return Prompting(
        templates=dict(_templates(path, tokenizer)),
        special={name: _text(special[name]) for name in SPECIAL if special.get(name) is not None},
        added=dict(_added(path, tokenizer)),
        eos=tuple(sorted(eos)) if isinstance(eos, list) else () if eos is None else (eos,),
        generation=generation
        if generation is None
        else {k: v for k, v in generation.items() if k not in _GENERATION_IRRELEVANT and v is not None},
        tokenizer=bool(tokenizer) or has_tokenizer(path),
    )


def prompting_differences(first: Path, other: Path, taken: Path) -> list[str]:
    """One line for each difference between two inputs. taken: the input whose files the outputs have."""
    left, right = read_prompting(first), read_prompting(other)
    lines = []
    if left.tokenizer and right.tokenizer:
        lines += [
            f"the chat template{f' {name}' if name != 'default' else ''} {_two_texts(*pair, first, other)}"
            for name, pair in _differing(left.templates, right.templates)
        ]
        lines += [
            f"{name} is {_show(pair[0])} in {first} but {_show(pair[1])} in {other}"
            for name, pair in _differing(left.special, right.special)
        ]
        added = [
            f"{text} ({_show(pair[0])} / {_show(pair[1])})"
            for text, pair in _differing(left.added, right.added)
        ]
        if added:
            more = f" and {len(added) - 4} more" if len(added) > 4 else ""
            lines.append(f"added tokens have other ids in {first} / {other}: {', '.join(added[:4])}{more}")
    if left.eos != right.eos and left.eos and right.eos:
        lines.append(
            f"generation ends at eos_token_id {list(left.eos)} in {first} but {list(right.eos)} in {other}"
        )
    if left.generation is not None and right.generation is not None:
        fields = [
            f"{name} ({_show(pair[0])} / {_show(pair[1])})"
            for name, pair in _differing(left.generation, right.generation)
        ]
        if fields:
            lines.append(f"{GENERATION_CONFIG} differs in {first} / {other}: {', '.join(fields)}")
    elif left.generation or right.generation:
        lines.append(f"{GENERATION_CONFIG} is only in {first if left.generation else other}")
    return [f"{line}; the outputs have that of {taken}" for line in lines]


def _differing(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, tuple[Any, Any]]]:
    names = sorted(left.keys() | right.keys())
    return [(name, (left.get(name), right.get(name))) for name in names if left.get(name) != right.get(name)]


def _two_texts(left: str | None, right: str | None, first: Path, other: Path) -> str:
    if left is None or right is None:
        return f"is only in {first if right is None else other}"
    ours, theirs = left.splitlines(), right.splitlines()
    line = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
    where = min(len(ours), len(theirs)) if line is None else line
    shown = [repr(text[where][:_SHOWN]) if where < len(text) else "nothing" for text in (ours, theirs)]
    return f"differs from line {where + 1} on: {shown[0]} in {first} but {shown[1]} in {other}"


def _show(value: object) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _templates(path: Path, tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Chat templates by name, wherever one version of Transformers or another keeps them; files come last and count."""
    for holder in (tokenizer, _optional(path / "chat_template.json")):
        templates = holder.get("chat_template")
        if isinstance(templates, str):
            yield "default", templates.strip()
        elif isinstance(templates, list):
            yield from ((str(part["name"]), str(part["template"]).strip()) for part in templates)
    for file in sorted((path / "additional_chat_templates").glob("*.jinja")):
        yield file.stem, file.read_text().strip()
    if (path / "chat_template.jinja").is_file():
        yield "default", (path / "chat_template.jinja").read_text().strip()


def _added(path: Path, tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for part in _optional(path / "tokenizer.json").get("added_tokens") or []:
        yield str(part["content"]), int(part["id"])
    for number, part in (tokenizer.get("added_tokens_decoder") or {}).items():
        yield _text(part), int(number)
    for text, number in _optional(path / "added_tokens.json").items():
        yield text, int(number)


def _text(token: Any) -> str:
    """A token as its text; versions write either that or an object with its flags."""
    return str(token.get("content")) if isinstance(token, dict) else str(token)


def _optional(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
