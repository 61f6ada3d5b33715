"""What one budget over a batch is worth, on recorded outcomes and on a server that is up.

    python -m bench.solve recorded --save                                  # both embedded frontiers, minutes
    python -m bench.solve served --server http://127.0.0.1:8000 --save     # real engines, about 8 minutes

Writes bench/results/solve.md, a part each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.solve import recorded, served

RESULTS = Path(__file__).parents[1] / "results" / "solve.md"
FIGURES = (
    "Percent of problems solved with so many samples a problem in all and, in brackets, the samples that reach what `uniform` solves with "
    "them, in parts of these, with 95 % intervals by the paired bootstrap over problems. What is under way counts as spent. A "
    "batch draws the recorded samples in several random orders, requests in others."
)
PARTS = {"recorded": "## Recorded outcomes", "served": "## Real engines"}


def save(name: str, text: str) -> None:
    """Replaces one part of the results, and leaves the other."""
    parts = dict.fromkeys(PARTS, "")
    if RESULTS.exists():
        for part, title in PARTS.items():
            _, _, rest = RESULTS.read_text().partition(f"{title}\n\n")
            parts[part] = rest.partition("\n## ")[0].strip()
    parts[name] = text
    sections = [f"{title}\n\n{parts[part]}" for part, title in PARTS.items() if parts[part]]
    head = f"# One budget over a batch\n\nMade by `python -m bench.solve`. {FIGURES}"
    RESULTS.write_text("\n\n".join([head, *sections]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.solve",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", choices=PARTS)
    parser.add_argument("--runs", type=int, default=16, help="random orders of the recorded samples")
    parser.add_argument("--server", default="http://127.0.0.1:8000", metavar="URL")
    parser.add_argument("--problems", type=int, default=96, help="on a server; fewer are evenly from all")
    parser.add_argument("--out", type=Path, default=Path("solve-bench"), help="where the runs on a server go")
    parser.add_argument("--save", action="store_true")
    arguments = parser.parse_args()
    if arguments.what == "recorded":
        text = recorded.tables(arguments.runs)
    else:
        text = served.measured(arguments.server, arguments.out, arguments.problems)
    print(text)
    if arguments.save:
        save(arguments.what, text)


if __name__ == "__main__":
    main()
