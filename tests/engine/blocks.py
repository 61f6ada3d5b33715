"""The command and configuration blocks of the documentation."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_INDENTED = re.compile(r"^    (?:make|alpharay|\.venv/bin/alpharay)\b.*$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """page: its file. line: where it starts. kind: of a fenced block, its language."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    all_blocks = []
    for page in PAGES:
        text, name = page.read_text(encoding="utf-8"), str(page.relative_to(ROOT))
        fenced = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        parts = [(match.start(), match[1], match[2]) for match in fenced]
        parts += [(match.start(), "sh", match[0].strip()) for match in _INDENTED.finditer(text)]
        all_blocks += [
            Block(name, text[:start].count("\n") + 1, kind, content) for start, kind, content in parts
        ]
    return all_blocks


def commands() -> list[tuple[Block, list[str]]]:
    """Every command of the shell blocks as its words; redirections and settings before it are left out."""
    all_commands = []
    for block in blocks():
        if block.kind == "sh":
            all_commands += [(block, words) for line in _lines(block) if (words := _bare(line))]
    return all_commands


def _lines(block: Block) -> list[list[str]]:
    lines, rest = [], ""
    for line in block.text.splitlines():
        rest += line
        try:
            lines.append(shlex.split(rest, comments=True))
            rest = ""
        except ValueError:  # a quotation goes on in the next line
            rest += "\n"
    assert not rest, f"{block}: a quotation does not end"
    return lines


def _bare(words: list[str]) -> list[str]:
    ends = [words.index(redirection) for redirection in (">", ">>") if redirection in words]
    words = words[: min(ends, default=len(words))]
    while words and re.match(r"^\w+=", words[0]):
        words = words[1:]
    return words
