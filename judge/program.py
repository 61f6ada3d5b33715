"""From a model's answer to the program in it."""

import re
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
    label: str
    lines: list[str]


# A list's marker and the blanks after it, by which its items' contents are indented.
_MARKER = re.compile(r"(?:[-*+]|\d{1,9}[.)])([ \t]+|$)")
# The first word of what stands behind a fence: `cpp:main.cpp`, `{.python .numberLines}`, `language-python`, `python,x=1`.
_WORD = re.compile(r"[{.\s]*(?:lang(?:uage)?[-=:])?([^\s,;:={}()\[\]|]+)")
_STANDARD = re.compile(r"\+\+[-_ ]?(\d[\da-z])\b|(?:cpp|cxx|cc)[-_]?(\d[\da-z])\b")
_UNLABELLED = re.compile("")
_DEEPEST = 3  # blanks before a fence, within what it stands in; from four on a line is text


def program_of(answer: str | Program, language: str) -> Program | None:
    """A program that was given as such, or the one in a model's answer."""
    return answer if isinstance(answer, Program) else extract_program(answer, language)


def extract_program(completion: str, language: str = "python") -> Program | None:
    """The last code block of the language, else of a near one, else without a language, else the whole text.

    Blocks are CommonMark's, so that a fence in a docstring ends none. One that the answer's end cuts off counts: models
    stop at the closing fence. None: there is no text, or only blocks of other languages. Linear in the length of the
    completion.
    """
    blocks = _blocks(completion) or _blocks(completion, deepest=len(completion))
    known = LANGUAGES[language]
    for accepted in (known.labels, known.near, _UNLABELLED):
        matching = [
            block
            for block in blocks
            if accepted.fullmatch(_word(block.label)) and any(map(str.strip, block.lines))
        ]
        if matching:
            text = "\n".join(matching[-1].lines) + "\n"
            # Which C++ standard a block is written for matters; which Python, it does not say.
            label = _standard(matching[-1].label) if language == "cpp" else ""
            return Program(text, fenced=True, label=label)
    if blocks or not completion.strip():
        return None
    return Program(completion, fenced=False)


def code_blocks(text: str) -> list[str]:
    """The contents of all fenced blocks, whatever their label, without the last line's end."""
    return ["\n".join(block.lines) for block in _blocks(text) or _blocks(text, deepest=len(text))]


def _blocks(text: str, deepest: int = _DEEPEST) -> list[_Block]:
    """Fenced blocks. deepest: how many blanks a fence may have before it, beyond those of what it stands in."""
    blocks: list[_Block] = []
    mark, indent, quote, inside = "", 0, 0, False
    items: list[int] = []  # where the contents of the list items begin that are open here
    base = 0
    for whole in text.split("\n"):
        if inside:
            line = _unquoted(whole, quote)
            bare = line.lstrip(" \t")
            run = _fence(bare)
            # The closing fence has the opening one's character, at least its length, and nothing after it.
            closes = run and run[0] == mark[0] and len(run) >= len(mark) and not bare[len(run) :].strip()
            if closes and _width(line) - base <= deepest:
                inside = False
            else:
                blocks[-1].lines.append(_outdent(line.removesuffix("\r"), indent))
            continue
        quote = _quotes(whole)
        line = _unquoted(whole, quote)
        bare = line.lstrip(" \t")
        if not bare.strip():
            continue
        width = _width(line)
        while items and width < items[-1]:
            items.pop()
        while (marker := _MARKER.match(bare)) and width - (items[-1] if items else 0) <= _DEEPEST:
            # More than four blanks after a marker are the contents' own.
            blanks = len(marker[1].expandtabs(4))
            width += len(marker[0]) - len(marker[1]) + (blanks if 0 < blanks <= 4 else 1)
            items.append(width)
            bare = bare[marker.end() :]
            if len(items) > 100:
                break  # no text that anybody means, and each further one would cost all before it
        run = _fence(bare)
        base = items[-1] if items else 0
        if run and width - base <= deepest:
            info = bare[len(run) :].strip()
            if run[0] == "`" and "`" in info:
                continue  # inline code, not a fence
            mark, indent, inside = run, width, True
            blocks.append(_Block(info.lower(), []))
    return blocks


def _width(line: str) -> int:
    """Blanks before the first other character; a tab reaches to the next column that four divides."""
    return len(line[: len(line) - len(line.lstrip(" \t"))].expandtabs(4))


def _quotes(line: str) -> int:
    """How many marks of quotation the line begins with."""
    depth, bare = 0, line
    while depth < 9 and bare.lstrip(" ").startswith(">") and len(bare) - len(bare.lstrip(" ")) <= _DEEPEST:
        bare = bare.lstrip(" ")[1:].removeprefix(" ")
        depth += 1
    return depth


def _unquoted(line: str, depth: int) -> str:
    for _ in range(depth):
        bare = line.lstrip(" ")
        if not bare.startswith(">"):
            break
        line = bare[1:].removeprefix(" ")
    return line


def _fence(bare: str) -> str:
    for character in "`~":
        if bare.startswith(character * 3):
            return bare[: len(bare) - len(bare.lstrip(character))]
    return ""


def _word(info: str) -> str:
    match = _WORD.match(info)
    return match[1].strip(".") if match else ""


def _standard(info: str) -> str:
    """`c++17` for a block that names a standard in whatever way, else its first word."""
    match = _STANDARD.search(info)
    return f"c++{match[1] or match[2]}" if match else _word(info)


def _outdent(line: str, indent: int) -> str:
    """The line without so many columns of blanks, if it has them."""
    width = 0
    for index, character in enumerate(line):
        if width >= indent or character not in " \t":
            return line[index:]
        width += 1 if character == " " else 4 - width % 4
    return ""
