"""From a model's answer to the program in it."""

from dataclasses import dataclass

from alpharay.judge.languages import LANGUAGES


@dataclass(frozen=True, slots=True)
class Program:
    """The text to run. fenced: it stood in a code block, so that it is meant as a program.
    label: the block's own, where it may name a standard.

    An unfenced text is the whole answer. Whether it parses is found out by compiling it in the sandbox, where
    a hostile text cannot hurt the judge; if it does not, there was no program.
    """

    source: str
    fenced: bool
    label: str = ""


@dataclass(slots=True)
class _Block:
    language: str
    lines: list[str]


def extract_program(completion: str, language: str = "python") -> Program | None:
    """The last code block of the language, else the last one without a language, else the whole text.

    A block that the answer's end cuts off counts, as in CommonMark: models stop at the closing fence.
    None: there is no text, or only blocks of other languages. Linear in the length of the completion.
    """
    blocks = _blocks(completion)
    for accepted in (LANGUAGES[language].labels, frozenset({""})):
        matching = [
            block for block in blocks if block.language in accepted and any(map(str.strip, block.lines))
        ]
        if matching:
            text = "\n".join(matching[-1].lines) + "\n"
            # Which C++ standard a block is written for matters; which Python, it does not say.
            label = matching[-1].language if language == "cpp" else ""
            return Program(text, fenced=True, label=label)
    if blocks or not completion.strip():
        return None
    return Program(completion, fenced=False)


def _blocks(text: str) -> list[_Block]:
    blocks: list[_Block] = []
    mark, indent, inside = "", 0, False
    for line in text.split("\n"):
        bare = line.lstrip(" \t")
        run = _fence(bare)
        if inside:
            # The closing fence has the opening one's character, at least its length, and nothing after it.
            if run and run[0] == mark[0] and len(run) >= len(mark) and not bare[len(run) :].strip():
                inside = False
            else:
                blocks[-1].lines.append(_outdent(line.removesuffix("\r"), indent))
        elif run:
            info = bare[len(run) :].strip()
            if "`" in info:
                continue  # inline code, not a fence
            mark, indent, inside = run, len(line) - len(bare), True
            blocks.append(_Block(_language(info), []))
    return blocks


def _fence(bare: str) -> str:
    for character in "`~":
        if bare.startswith(character * 3):
            return bare[: len(bare) - len(bare.lstrip(character))]
    return ""


def _language(label: str) -> str:
    word = label.split(maxsplit=1)[0] if label else ""
    return word.strip("{}.").split(",")[0].lower()


def _outdent(line: str, indent: int) -> str:
    blank = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, blank) :]
