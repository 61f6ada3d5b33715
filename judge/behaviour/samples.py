"""Sample inputs and outputs of contest statements: labelled blocks, fenced or not, and tables."""

import re
from dataclasses import dataclass, field
from itertools import pairwise

_LABEL = re.compile(
    r"^[\s#*_>|-]*+(?P<sample>(?:sample|example)s?\b[\s\d#.:-]*+)?(?P<kind>input|output)(?:copy)?\s*+(?:copy\b)?"
    r"(?:#?\s*+\d++)?[\s*_#]*+(?::[*_\s]*+(?P<rest>.*))?$",
    re.IGNORECASE,
)
_EXAMPLES = re.compile(r"^[\s#*_>-]*+(?:examples?|sample tests?|samples?)\b[\s\d#*_.:-]*+$", re.IGNORECASE)
_ENDS = re.compile(
    r"^[\s#*_>-]*+(?:notes?|explanation|constraints?|hints?|limits?|scoring|subtasks?|examples?|samples?|sample tests?)"
    r"\b[\s\d#*_.]*+(?::.*)?$",
    re.IGNORECASE,
)
_HEADING = re.compile(r"^\s*+(?:#{1,6}\s|\*\*[^*]++\*\*\s*+$|-{3,}\s*+$)")
_FENCE = re.compile(r"^\s*+(?:```|~~~)")
_WORD = re.compile(r"^[A-Za-z][a-z'-]*+[,.;:]?$")
PROSE_WORDS = 4


@dataclass(slots=True)
class _Block:
    """Lines under one label. certain: it is called a sample, or stands where the samples are."""

    kind: str
    certain: bool
    lines: list[str] = field(default_factory=list)

    def text(self) -> str:
        return "\n".join(self.lines).strip("\n").rstrip()


def samples(prompt: str) -> list[tuple[str, str]]:
    """Pairs of input and output, in their order. Descriptions of the format, which are prose, are no samples."""
    pairs = _table(prompt)
    blocks = _blocks(prompt)
    found = [
        (one, other) for one, other in pairwise(blocks) if one.kind == "input" and other.kind == "output"
    ]
    certain = [pair for pair in found if pair[0].certain]
    for one, other in certain or found:
        given, output = one.text(), other.text()
        if output and not (_is_prose(given) or _is_prose(output)):
            pairs.append((given + "\n" if given else "", output))
    return pairs


def _blocks(prompt: str) -> list[_Block]:
    blocks: list[_Block] = []
    open_block: _Block | None = None
    fenced = data = among_samples = False  # data: the fence holds one block, and no labels
    for line in prompt.split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
            data = fenced and open_block is not None
            if not fenced and open_block is not None and open_block.lines:
                open_block = None
            continue
        if data and open_block is not None:
            open_block.lines.append(line)
            continue
        label = _LABEL.match(line)
        if label:
            certain = among_samples or bool(label["sample"])
            open_block = _Block(label["kind"].lower(), certain)
            blocks.append(open_block)
            if label["rest"] and label["rest"].strip():
                open_block.lines.append(label["rest"].strip().strip("`"))
        elif _EXAMPLES.match(line):
            among_samples, open_block = True, None
        elif _ENDS.match(line) or _HEADING.match(line):
            open_block = None
        elif open_block is not None:
            # An output ends with its paragraph; an input ends where its output begins.
            if not line.strip() and open_block.lines and open_block.kind == "output":
                open_block = None
            elif line.strip() or open_block.lines:
                open_block.lines.append(line.rstrip())
    return blocks


def _is_prose(text: str) -> bool:
    """Whether some line is a sentence: contest data seldom has so many plain words in a row."""
    for line in text.split("\n"):
        words = line.split()
        plain = sum(bool(_WORD.match(word)) for word in words)
        if plain >= PROSE_WORDS and plain > len(words) / 2:
            return True
    return False


def _table(prompt: str) -> list[tuple[str, str]]:
    """Rows of Markdown tables with a column for the input and one for the output."""
    pairs: list[tuple[str, str]] = []
    columns: tuple[int, int] | None = None
    for line in prompt.split("\n"):
        if "|" not in line:
            columns = None
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        names = [re.sub(r"\W|\d|sample|example", "", cell.lower()) for cell in cells]
        if "input" in names and "output" in names:
            columns = (names.index("input"), names.index("output"))
        elif columns is not None and max(columns) < len(cells) and not set("".join(cells)) <= set("-: "):
            given, output = (_cell(cells[column]) for column in columns)
            pairs.append((given + "\n", output))
    return pairs


def _cell(text: str) -> str:
    return "\n".join(part.strip().strip("`").strip() for part in re.split(r"<br\s*/?>", text))
