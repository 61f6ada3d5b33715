"""Everything in a checkpoint directory that is not a weight: tokenizer, chat template, generation config."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpharay.merge.checkpoints.checkpoint import CONFIG, INDEX, PICKLES
from alpharay.merge.dtypes import Dtype

# Weights in any format, and what a trainer leaves beside them to resume.
WEIGHTS = (".safetensors", *PICKLES, ".gguf", ".h5", ".msgpack", ".onnx", ".npz", ".index.json")
TRAINING = ("trainer_state.json", "training_args.json")
# A directory without any of the first has no tokenizer; the others belong to one.
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json", "spiece.model")
TOKENIZER_FILES = (
    *VOCABULARIES, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def companion_files(path: Path) -> list[Path]:
    """Files to carry over from the checkpoint in `path`, relative to it, sorted.

    Directories without any weights are carried too (extra chat templates), hidden files are not.
    """
    files: list[Path] = []
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or entry.name in (INDEX, *TRAINING) or entry.name.endswith(WEIGHTS):
            continue
        if entry.is_file():
            files.append(Path(entry.name))
        elif entry.is_dir() and not entry.is_symlink():
            inner = [file for file in sorted(entry.rglob("*")) if file.is_file()]
            if not any(file.name.endswith(WEIGHTS) for file in inner):
                files += [file.relative_to(path) for file in inner]
    return files


def has_tokenizer(path: Path) -> bool:
    """Whether the directory holds a vocabulary."""
    return any((path / name).is_file() for name in VOCABULARIES)


def companion_roots(paths: Sequence[Path]) -> dict[Path, Path]:
    """The companions to carry over, each with the checkpoint that it is taken from: the first.

    Where that has no tokenizer, the tokenizer of the next one that has: trainers may save weights alone.
    """
    first = paths[0]
    roots = dict.fromkeys(companion_files(first), first)
    lender = next((path for path in paths if path.is_dir() and has_tokenizer(path)), first)
    if lender != first:
        missing = {Path(name): lender for name in TOKENIZER_FILES if (lender / name).is_file()}
        roots = missing | roots
    return dict(sorted(roots.items()))


def companion_bytes(path: Path, file: Path, dtype: Dtype | None) -> bytes:
    """The content of a companion; in config.json the dtype is the one that is written."""
    content = (path / file).read_bytes()
    if dtype is None or str(file) != CONFIG:
        return content
    config = json.loads(content)
    if not _set_dtype(config, dtype):
        return content
    return (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode()


def _set_dtype(config: dict[str, Any], dtype: Dtype) -> bool:
    """Sets the dtype here and in nested configs (vision, text), says whether anything changed.

    Of the two spellings the file keeps the one it has; a config that names no dtype stays so.
    """
    keys = [key for key in ("dtype", "torch_dtype") if key in config]
    changed = any(config[key] != dtype.config for key in keys)
    config.update(dict.fromkeys(keys, dtype.config))
    for value in config.values():
        if isinstance(value, dict) and ("dtype" in value or "torch_dtype" in value):
            changed |= _set_dtype(value, dtype)
    return changed
