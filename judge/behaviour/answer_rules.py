"""Reads from a statement which answers are right: several, in any order, within a tolerance, or in a dialogue.

Where the text leaves it open, the answer is what makes a test less sure: a wrong test does more harm than none.
"""

import re
from dataclasses import dataclass

_ANSWERS = r"(?:answers?|solutions?|outputs?|results?)"
# What a statement asks to construct or to find, of which there may be more than one.
_OBJECTS = (
    r"(?:arrays?|permutations?|sequences?|subsequences?|subsets?|sets?|strings?|substrings?|words?|pairs?|triples?|paths?"
    r"|ways?|orders?|orderings?|arrangements?|assignments?|partitions?|constructions?|configurations?|colou?rings?"
    r"|plans?|schedules?|strategies|trees?|graphs?|grids?|matri(?:x|ces)|numbers?|integers?|values?|choices?|options?"
    r"|possibilities|candidates?|indices|positions?|routes?|tours?|cycles?|elements?|points?|lists?|ones?|names?)"
)
_SAY = r"(?:print|output|return|report|give|display|write|construct|produce)"
_GOOD = r"(?:valid|correct|possible|acceptable|suitable|optimal|such|right|legal|feasible|satisfying)"
_WORDS = r"(?:[\w'$-]++\s++)"

_INTERACTIVE = re.compile(
    r"\binteractive (?:problem|task|mode|judge|program|protocol)|\b(?:problem|task) is interactive\b"
    r"|^[^A-Za-z\n]*+(?:interaction(?: protocol)?|sample interaction.{0,20})[^\w\n]*+$|\binteractor\b|\bfflush\b"
    r"|\bflush (?:the |your |standard )*+(?:output|stdout|buffer|stream)|\bflush(?:=True|\(\)| after (?:each|every|print))"
    r"|\binteract with (?:the |a )?(?:judge|grader|program|jury)|\byou (?:can|may) (?:ask|make) (?:at most|up to|no more than)"
    r" [^.\n]{1,40}(?:queries|questions)",
    re.IGNORECASE | re.MULTILINE,
)
_ANY = re.compile(
    rf"\bany (?:one )?of (?:them|these|those|which|the (?:{_GOOD} )?{_ANSWERS}|the {_OBJECTS})\b"
    rf"|\b{_SAY} (?:an? )?(?:any|arbitrary)\b(?! (?:order|case|additional|extra|other (?:text|output)))"
    rf"|\bany {_GOOD} {_WORDS}{{0,2}}?(?:{_ANSWERS}|{_OBJECTS})\b(?! (?:input|is given))"
    rf"|\bany (?:one )?(?:{_ANSWERS})\b|\bany (?:is|are|will be|would be) (?:accepted|acceptable|fine|ok|correct|valid)\b"
    rf"|\bany {_WORDS}{{1,6}}?(?:will be|is|are) (?:accepted|acceptable|considered correct)\b"
    rf"|\b(?:other|another|alternative|different) (?:{_GOOD} )*+{_ANSWERS} "
    r"(?:is|are|would|may|might|can|could|will|also|exists?)\b"
    rf"|\b(?:is|are|be|as) also (?:an? )?(?:{_GOOD}|accepted|fine)\b"
    rf"|\bone (?:of the )?(?:{_GOOD}) {_ANSWERS}|\bone of the (?:{_GOOD} )*+(?:{_ANSWERS}|{_OBJECTS}) (?:is|would be|:)"
    rf"|\b(?:a|one) possible (?:{_ANSWERS}|{_OBJECTS})\b|\bpossible (?:{_ANSWERS}) *:|\b(?:sample|example) {_ANSWERS} "
    r"(?:is|are) (?:only |just )?(?:one|an example)"
    rf"|\b(?:{_ANSWERS}|it) (?:is|are|may|might|need|does|do|can)(?: not|n't)(?: be| have to be| need to be)?"
    r"(?: necessarily)? unique\b|\bspecial (?:judge|checker)\b|\bcustom (?:judge|checker)\b|\bthe checker\b"
    rf"|\b(?:your|the) {_ANSWERS} (?:may|might|can|could|does not have to|need not) (?:differ|be different|match)\b"
    r"|\bchoose any\b[^.\n]{0,40}\b(?:print|output|return)\b|\bprint one of them\b|\b(?:output|return) one of them\b"
    r"|\bat random\b|\brandomly (?:chosen|selected|generated|shuffled?) (?:element|item|sample|value|permutation)",
    re.IGNORECASE,
)
_MANY = r"(?:multiple|several|many|more than one|more than 1|two or more)"
_SEVERAL = re.compile(
    rf"\b{_MANY} {_WORDS}{{0,3}}?{_ANSWERS}\b"
    rf"|\b(?:if|when|where|in case|should)\b[^.\n]{{0,60}}?\b{_MANY} {_WORDS}{{0,3}}?{_OBJECTS}\b"
    rf"|\b(?:there (?:is|are|may be|might be|can be|could be|exists?|may exist)) {_MANY} {_WORDS}{{0,2}}?"
    rf"{_GOOD} {_OBJECTS}\b|\bif there (?:are|is) (?:a )?ties?\b",
    re.IGNORECASE,
)
# What makes one of several right answers the only one, or asks for all.
_DECIDED = re.compile(
    r"\b(?:smallest|largest|least|greatest|biggest|lowest|highest|minim\w++|maxim\w++|first|last|earliest|latest"
    r"|lexicographic\w*+|alphabetic\w*+|leftmost|rightmost|shortest|longest|smaller|larger|lower|higher|closest|nearest"
    r"|fewest|most|count|how many|all of them|all such|every|each of them|sorted|ascending|descending|increasing"
    r"|comes? first|appears? first|occurs? first)\b",
    re.IGNORECASE,
)
_NEGATED = re.compile(r"(?:\bnot|n't|\bnever|\bwithout|\bavoid|\bcannot|\bnor)(?: \w++)?\s*+$", re.IGNORECASE)

_ANY_ORDER = re.compile(
    r"\b(?:in|of|with) (?:any|arbitrary|an arbitrary|whatever|no particular|no specific|unspecified|random) (?:\w++ )?order"
    r"|\border (?:of \w++ ?(?:\w++ ){0,4})?(?:does(?: not|n't)|do(?: not|n't)|is not|isn't|may not|will not|won't) "
    r"(?:matter|important|be important|relevant|be checked)|\b(?:regardless|irrespective) of (?:the |their )?order"
    r"|\bany order (?:is|will|would)\b|\border is (?:irrelevant|arbitrary|unimportant|not important|up to you)"
    r"|\b(?:in|up to) any permutation\b",
    re.IGNORECASE,
)
_OF_INPUT = re.compile(
    r"\b(?:given|input|provided|listed|described|come|comes|arrive|arrives|appear|appears|receive"
    r"|operations?|moves?|perform|apply|applied|rearrange|swap|visit|choose|pick|select|stored)\b",
    re.IGNORECASE,
)
_OF_OUTPUT = re.compile(rf"\b(?:{_SAY}s?|printed|returned|{_ANSWERS}|accepted|listing)\b", re.IGNORECASE)

_ANY_CASE = re.compile(
    r"\b(?:letters?|characters?|answers?|verdicts?|strings?|yes|no)\b[^.\n]{0,80}\bin any (?:case|register|letter case)\b"
    r"|\bin any (?:case|register) \((?:upper|lower)|\bany (?:combination|mix) of (?:upper|lower)"
    r"|\b(?:case[- ]insensitive(?:ly)?|case is (?:ignored|irrelevant)|case does(?: not|n't) matter)\b",
    re.IGNORECASE,
)

_EXPONENT = r"\s*+\{?\s*+[-\u2212\u2013\u2010\u2011\u207b]\s*+\{?\s*+"
_SMALL = re.compile(
    rf"\b10\s*+(?:\^|\*\*)?{_EXPONENT}(\d{{1,2}}|[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]{{1,2}})"
    r"|\b1(?:\.0*+)?e[-\u2212](\d{1,2})\b|(?<![\d.])0?\.(0*+1)\b",
    re.IGNORECASE,
)
_ROUGH = re.compile(
    r"\b(?:absolute|relative|rounding|precision|floating[- ]point|small) errors?\b|\berror (?:of|is|at|up|less|below|must|does)"
    r"|\b(?:precision|accuracy|tolerance|accurate|within|epsilon|differ(?:s|ence)?|deviat\w++)\b",
    re.IGNORECASE,
)
_SURELY_ROUGH = re.compile(
    r"\b(?:absolute|relative)(?: or (?:absolute|relative))? errors?\b|\bapproximate(?:ly)? (?:equal|answer|value|solution)"
    r"|\b(?:rounding|precision|floating[- ]point) errors? (?:is|are|will be) (?:accepted|ignored|tolerated|allowed)",
    re.IGNORECASE,
)
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789")
_SENTENCE = re.compile(r"(?<=[.!?;])\s++|\n[ \t]*+\n|\n(?=[ \t]*+[-*\u2022])")
REACH = 120  # characters between what speaks of an error and how large it may be


@dataclass(frozen=True, slots=True)
class AnswerRules:
    """interactive: a program is to talk. several: more than one answer is right. any_order: of an answer's parts.

    any_case: letters may be upper or lower. tolerance: how far a number may be off. rough: it may be off, and nothing
    says how far.
    """

    interactive: bool = False
    several: bool = False
    any_order: bool = False
    any_case: bool = False
    tolerance: float | None = None
    rough: bool = False


def answer_rules(prompt: str) -> AnswerRules:
    """The rules for answers that a statement gives."""
    # One space between words: statements break lines anywhere.
    sentences = [" ".join(each.split()) for each in _SENTENCE.split(prompt)]
    tolerance = _tolerance(prompt)
    return AnswerRules(
        interactive=_INTERACTIVE.search(prompt) is not None,
        several=any(map(_several, sentences, [*sentences[1:], ""])),
        any_order=any(map(_any_order, sentences)),
        any_case=any(map(_ANY_CASE.search, sentences)),
        tolerance=tolerance,
        rough=tolerance is None and any(map(_SURELY_ROUGH.search, sentences)),
    )


def _several(sentence: str, following: str) -> bool:
    for match in _ANY.finditer(sentence):
        if not _NEGATED.search(sentence[max(0, match.start() - 40) : match.start()]):
            return True
    if _SEVERAL.search(sentence) is None:
        return False
    return not (_DECIDED.search(sentence) or _DECIDED.search(following))


def _any_order(sentence: str) -> bool:
    """Whether it speaks of the order of what is printed; that of an input or of steps leaves the answer as it is."""
    if _ANY_ORDER.search(sentence) is None:
        return False
    return _OF_OUTPUT.search(sentence) is not None or _OF_INPUT.search(sentence) is None


def _tolerance(prompt: str) -> float | None:
    for mention in _ROUGH.finditer(prompt):
        size = _SMALL.search(prompt, mention.end(), mention.end() + REACH)
        if size is not None:
            power, scientific, decimal = size.groups()
            exponent = len(decimal) if decimal else int((power or scientific).translate(_SUPERSCRIPTS))
            if 1 <= exponent <= 15:
                return float(f"1e-{exponent}")
    return None
