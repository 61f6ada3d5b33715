"""Classifies lines of a statement: data, or text about data."""

import re

_WORD = re.compile(r"^[A-Za-z][a-z'-]*+[,.;:]?$")
_LETTERS = re.compile(r"[A-Za-z][A-Za-z'-]*+")
_ENDS_SENTENCE = re.compile(r"[A-Za-z)\]'\"`\d][.:!?][)\"'*_]*$")
_OPENS = re.compile(
    r"^[\W_]*+(?:because|since|so|thus|hence|therefore|here|as|in (?:the|this|that|our|both|each)|the|for|we|you|it|this"
    r"|that|there|if|note|notes|explanation|explained|reason|where|when|which|optimal|one|note that|after|first|total"
    r"|example|sample|hint|remark|answer|output|input)\b[\s:,]++\S",
    re.IGNORECASE,
)
_ASIDE = re.compile(
    r"\S\s++(?:\(|//|#|<-|<=|\u2190|\u21d0|--|\u2014|\u2013|because\b|since\b|as\b|i\.e\.).{0,80}?[a-z]{2}"
)
_MARKS = "=\u2192\u21d2\u00d7\u2264\u2265$\\"
_NOUNS = re.compile(
    r"\b(?:integers?|numbers?|strings?|lines?|arrays?|lists?|characters?|values?|digits?|words?|elements?|separated"
    r"|contain(?:s|ing)|consist(?:s|ing)|denot\w++|single|floats?|booleans?|sentence|matrix|answer|result)\b",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"(?<![\w])[A-Za-z]_\{?(?:\d++|[A-Za-z])(?![\w])|\\[lcvd]?dots\b|\u2026|\u22ee|\$[^$\n]{1,60}\$|(?<!\S)<[A-Za-z][\w ]*+>(?!\S)"
    r"|(?<=\s)\.\.\.(?=\s*+\S)(?=[^.]*+$)|\[(?:truncated|omitted|\.\.\.)",
    re.IGNORECASE,
)
_NOTHING = re.compile(
    r"^\W*+(?:no input|none|empty|n/a|there is no input|this problem has no input)\W*+$", re.IGNORECASE
)
PROSE_WORDS = 4
LONGEST = 400  # characters of a line that are looked at


def _words(line: str) -> list[str]:
    """Those with a small letter: names of grids' cells and verdicts have none."""
    return [word for word in _LETTERS.findall(line) if len(word) > 1 and not word.isupper()]


def is_prose(line: str) -> bool:
    """Whether it is a sentence: contest data seldom has so many plain words in a row."""
    line = line[:LONGEST]
    words = line.split()
    count = sum(map(bool, map(_WORD.match, words)))
    return count >= PROSE_WORDS and count > len(words) / 2


def describes(line: str) -> bool:
    """Whether it says what kind of data stands there: "1 line with 2 integers", "A_1 A_2 ... A_N"."""
    line = line[:LONGEST]
    if _PLACEHOLDER.search(line) or _NOTHING.match(line):
        return True
    words = line.split()
    return len(words) > 1 and _NOUNS.search(line) is not None and 2 * len(_words(line)) >= len(words)


def explains(line: str, before: list[str]) -> bool:
    """Whether it speaks about the output in the lines before it, or about itself in an aside."""
    line = line[:LONGEST]
    if _ASIDE.search(line) and not any(map(_ASIDE.search, before)):
        return True
    if not before or not _words(line):
        return bool(before) and _calculates(line, before)
    alike = any(
        line.split(maxsplit=1)[0].lower() == earlier.split()[0].lower()
        for earlier in before
        if earlier.strip()
    )
    return not alike and (is_prose(line) or bool(_OPENS.match(line)) or _calculates(line, before))


def _calculates(line: str, before: list[str]) -> bool:
    return any(mark in line and not any(mark in earlier for earlier in before) for mark in _MARKS)


def continues_output(line: str, before: list[str]) -> bool | None:
    """Whether a line after a blank one still belongs to the output; None: it may or may not."""
    line = line[:LONGEST]
    letters = _words(line)
    known = {word.lower() for earlier in before for word in _words(earlier)}
    if letters and all(word.lower() in known for word in letters):
        return True
    if letters and (len(letters) >= 3 or _ENDS_SENTENCE.search(line.strip()) or is_prose(line)):
        return False
    if _calculates(line, before):
        return False
    return None if letters else True
