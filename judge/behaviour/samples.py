"""Sample inputs and outputs of contest statements: labelled blocks, fenced or not, and tables."""

import re
from dataclasses import dataclass, field
from itertools import pairwise

from alpharay.judge.behaviour.data import continues_output, describes, explains, is_prose

_LABEL = re.compile(
    r"^[\s#*_>|-]*+(?P<sample>(?:sample|example)s?\b[\s\d#.:-]*+)?(?P<kind>input|output)(?:copy)?\s*+(?:copy\b)?"
    r"(?:#?\s*+\d++)?[\s*_#]*+(?::[*_\s]*+(?P<rest>.*))?$",
    re.IGNORECASE,
)
_OF_SAMPLE = re.compile(r"\boutput for (?:the )?sample input", re.IGNORECASE)
_EXAMPLES = re.compile(r"^[\s#*_>-]*+(?:examples?|sample tests?|samples?)\b[\s\d#*_.:-]*+$", re.IGNORECASE)
_ENDS = re.compile(
    r"^[\s#*_>(-]*+(?:(?:sample|example)s? )?(?:\d++ )?(?:notes?|explanations?|constraints?|hints?|limits?|scoring|subtasks?"
    r"|examples?|samples?|sample tests?|remarks?|clarifications?|reason(?:ing)?|details|source|time limit|memory limit"
    r"|description|problem|task|requirements?|follow[- ]up|test cases?)"
    r"\b(?: (?:for|of|to) [^:\n]{0,40})?[\s\d#*_.]*+(?::.*)?$",
    re.IGNORECASE,
)
# A row of a grid may begin with `#`; a heading has a word.
_HEADING = re.compile(r"^\s*+(?:#{1,6}\s[^\n]*[A-Za-z]{2}|\*\*[^*]++\*\*:?\s*+$|-{3,}\s*+$)")
_FENCE = re.compile(r"^\s*+(?:```|~~~)\s*+(\w*+)")
_PLAIN_FENCES = frozenset(
    {"", "text", "txt", "plaintext", "plain", "none", "input", "output", "console", "in", "out"}
)
# A function's arguments, or calls of a class's methods: no program reads them.
_ARGUMENTS = re.compile(
    r"^[^\w\n]{0,3}[A-Za-z_]\w*+(?:\[\])*+\s*+=(?!=)|^\[\s*+\"[A-Za-z]\w*+\"[^\n]*+\]\n\[\[", re.MULTILINE
)
_LITERAL = re.compile(r"^\s*+[\[\"'{(]")
_READS = re.compile(r"\bstdin\b|\bstandard input\b|\binput\(\)|\breads?\b|\bprints?\b", re.IGNORECASE)
_OTHERWISE = re.compile(r"^[^\w\n]*+or[^\w\n]*+$", re.IGNORECASE | re.MULTILINE)
BEFORE = 20  # lines of an output that say what its other lines look like
_VARIABLES = re.compile(r"^[A-Za-z](?:\s++[A-Za-z])*+$")


@dataclass(slots=True)
class _Block:
    """Lines under one label.

    certain: it is called a sample, or stands where the samples are. doubtful: what follows may belong to it or not.
    """

    kind: str
    certain: bool
    lines: list[str] = field(default_factory=list)
    doubtful: bool = False

    def text(self) -> str:
        return "\n".join(self.lines).strip("\n").rstrip()

    def add(self, line: str) -> bool:
        """One more line, outside of fences. Returns whether the block goes on."""
        if not line.strip():
            if self.lines:
                self.lines.append("")
            return True
        if self.kind == "output" and self.lines and not self.lines[-1]:
            # After its paragraph an output seldom goes on: mostly it is explained.
            belongs = continues_output(line, self.lines[:BEFORE])
            if not belongs:
                self.doubtful = belongs is None
                return False
        self.lines.append(line.rstrip())
        return True


def samples(prompt: str) -> list[tuple[str, str]]:
    """Pairs of input and output, in their order. Descriptions of the format, which are prose, are no samples."""
    blocks = _blocks(prompt)
    adjacent = [
        (first, second)
        for first, second in pairwise(blocks)
        if first.kind == "input" and second.kind == "output"
    ]
    certain = [pair for pair in adjacent if pair[0].certain]
    reads = _READS.search(prompt) is not None
    pairs = [pair for pair in _table(prompt) if _is_data(*pair, reads=reads)]
    for first, second in certain or adjacent:
        input_text, output = first.text(), second.text()
        if second.doubtful or (not certain and _VARIABLES.match(input_text)):
            continue
        if _is_data(input_text, output, reads=reads):
            pairs.append((input_text + "\n" if input_text else "", output))
    return pairs


def _is_data(input_text: str, output: str, *, reads: bool) -> bool:
    """Whether nothing in a pair speaks about data instead of being some.

    reads: the statement is about a program that reads, so that `[1, 2]` need not be a function's argument.
    """
    if not output or _ARGUMENTS.search(input_text) or _OTHERWISE.search(output):
        return False
    if not reads and _LITERAL.match(input_text):
        return False
    lines = output.split("\n")
    if any(explains(line, lines[: min(index, BEFORE)]) for index, line in enumerate(lines)):
        return False
    return not any(is_prose(line) or describes(line) for line in (*input_text.split("\n"), *lines))


def _blocks(prompt: str) -> list[_Block]:
    blocks: list[_Block] = []
    open_block: _Block | None = None
    fenced = data = among_samples = False  # data: the fence holds one block, and no labels
    for raw in prompt.split("\n"):
        line = _OF_SAMPLE.sub("sample output", raw)
        fence = _FENCE.match(line)
        if fence:
            fenced = not fenced
            if open_block is not None and (open_block.lines or fence[1].lower() not in _PLAIN_FENCES):
                open_block = None
            data = fenced and open_block is not None
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
            if (
                open_block is not None
                and open_block.lines
                and open_block.lines[-1]
                and set(line.strip()) == {"-"}
            ):
                open_block.doubtful = True  # a rule between sections, or a row of the output
            open_block = None
        elif open_block is not None and not open_block.add(line):
            open_block = None
    return blocks


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
            input_text, output = (_cell(cells[column]) for column in columns)
            pairs.append((input_text + "\n", output))
    return pairs


def _cell(text: str) -> str:
    return "\n".join(part.strip().strip("`").strip() for part in re.split(r"<br\s*/?>", text))
