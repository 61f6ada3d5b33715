"""What a user should know of the inputs of a merge that are merged all the same: one line each."""

from alpharay.merge.checkpoints.checkpoint import CONFIG, Checkpoint, Tensor
from alpharay.merge.checkpoints.companions import companion_roots
from alpharay.merge.checkpoints.config_meaning import config_differences
from alpharay.merge.checkpoints.prompting import prompting_differences
from alpharay.merge.compute.plan import Plan

_CHUNK = 1 << 20


def input_notes(plan: Plan) -> tuple[str, ...]:
    """Differences between the inputs that end no merge, and whose files the outputs have. Raises CheckpointError."""
    taken = plan.companion_path
    first = plan.sources[0].checkpoint
    lines: list[str] = []
    for source in plan.sources[1:]:
        other = source.checkpoint
        if plan.settings.allow_config and first.config is not None and other.config is not None:
            lines += [
                f"{CONFIG}: {difference.described(first.path, other.path)}, which is allowed; the outputs have that of {taken}"
                for difference in config_differences(first.config, other.config)
            ]
        lines += prompting_differences(first.path, other.path, taken)
    lenders = {root for root in companion_roots(plan.companion_paths).values() if root != taken}
    lines += [f"{taken} has no tokenizer; the outputs have that of {root}" for root in sorted(lenders)]
    lines += [
        f"{source.checkpoint.path} ties its head to its embedding (tie_word_embeddings in {CONFIG}) but stores another "
        "lm_head.weight, which engines leave aside"
        for source in plan.sources
        if source.delta is None and stores_another_head(source.checkpoint)
    ]
    return tuple(lines)


def stores_another_head(checkpoint: Checkpoint) -> bool:
    """Whether the config ties head and embedding, and both are stored and differ."""
    config = checkpoint.config or {}
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if not any(part.get("tie_word_embeddings") is True for part in parts):
        return False
    heads = _named(checkpoint, "lm_head.weight")
    embeddings = _named(checkpoint, "embed_tokens.weight", "wte.weight")
    if not heads or not embeddings:
        return False
    return not _equal(heads[0], embeddings[0])


def _named(checkpoint: Checkpoint, *ends: str) -> list[Tensor]:
    return [tensor for name, tensor in checkpoint.tensors.items() if name.endswith(ends)]


def _equal(left: Tensor, right: Tensor) -> bool:
    if (left.dtype, left.shape) != (right.dtype, right.shape):
        return False
    with left.file.open("rb") as left_file, right.file.open("rb") as right_file:
        left_file.seek(left.start)
        right_file.seek(right.start)
        for start in range(0, left.nbytes, _CHUNK):
            size = min(_CHUNK, left.nbytes - start)
            if left_file.read(size) != right_file.read(size):
                return False
    return True
