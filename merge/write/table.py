"""The tables that the command prints: one line per output, with what alpha became."""

from collections.abc import Iterable, Mapping

from alpharay.merge.write.preview import Preview
from alpharay.merge.write.run import MergeResult


def merged_table(result: MergeResult) -> str:
    """What a merge wrote, or found written."""
    rows = [
        [
            *_row(output.name, output.effective_alpha, output.groups, output.rounding_error),
            output.sha256[:12],
            str(output.path),
        ]
        for output in result.outputs
    ]
    lines = _align([[*HEADER, "checkpoint", "path"], *rows])
    if not result.written:
        lines.append(f"{result.out} holds this merge already; nothing was written")
    return "\n".join(lines)


def preview_table(seen: Preview, dtype: str) -> str:
    """What a merge would write."""
    rows = [
        _row(name, whole.effective_alpha, groups, whole.rounding_error)
        for name, whole, groups in seen.outputs
    ]
    head = (
        f"{len(rows)} checkpoints of {len(seen.layout.shards)} files, {dtype}, {seen.nbytes / 1e9:.2f} GB in "
        f"all; sampled {seen.sampled / max(1, seen.total):.0%} of {seen.total} weights"
    )
    return "\n".join([head, *_align([HEADER, *rows])])


HEADER = ["alpha", "effective", "by layers", "rounding error"]


def _row(name: str, effective: float, groups: Mapping[str, float], error: float) -> list[str]:
    spread = f"{min(groups.values()):.3f} to {max(groups.values()):.3f}" if groups else "-"
    label = name if "," in name else name.removeprefix("alpha=")
    return [label, f"{effective:.3f}", spread, f"{error:.1%} of delta"]


def _align(rows: Iterable[list[str]]) -> list[str]:
    """Numbers to the right, the last two columns (hash and path) to the left."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if i < len(HEADER) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in zip(*columns, strict=True)
    ]
