"""A prompt as a short vector, the same in every process and on every machine.

Eight measured properties, then hashed words and word pairs (feature hashing with signs, Weinberger et al.
2009), so that nothing needs to be downloaded and nothing of the prompt can be read back from the log.
"""

from __future__ import annotations

import math
import re
import zlib
from itertools import pairwise

DIMENSION = 32
_MEASURED = 8
_MOST_CHARACTERS = 20_000

_WORD = re.compile(r"[a-z]+|\d+|[^\sa-z\d]")
_POWER = re.compile(r"10\s*(?:\^|\*\*)\s*\{?(\d{1,2})")
_NUMBER = re.compile(r"(?<![\w.])\d{1,18}(?![\w.])")
# Words that problems from the harder sources use more; the first group is about what is asked, the
# second about how fast it must be.
_HARD = frozenset(
    {"minimum", "maximum", "shortest", "longest", "optimal", "subsequence", "subarray", "permutation", "tree",
     "graph", "edges", "vertices", "path", "modulo", "prime", "primes", "divisors", "expected", "probability",
     "lexicographically", "xor", "bitwise", "substring", "palindrome", "knapsack", "partition", "interval",
     "intervals", "distinct", "pairs", "cost", "game", "wins"}
)  # fmt: skip
_LARGE = frozenset(
    {"efficient", "efficiently", "fast", "large", "limit", "limits", "constraints", "log", "queries"}
)
_CPP = re.compile(r"c\+\+|#include|std::")


def features_of(prompt: str, dimension: int = DIMENSION) -> tuple[float, ...]:
    """`dimension` numbers about in [-1, 1], rounded to four decimals.

    dimension: at least 9; what is beyond the eight measured ones is for hashed words.

    Raises ValueError: the dimension leaves no room for words.
    """
    if dimension <= _MEASURED:
        raise ValueError(f"features need a dimension above {_MEASURED}, got {dimension}")
    text = prompt[:_MOST_CHARACTERS].lower()
    words = _WORD.findall(text)
    values = _measured(text, words) + _hashed(words, dimension - _MEASURED)
    return tuple(round(value, 4) + 0.0 for value in values)


def _measured(text: str, words: list[str]) -> list[float]:
    powers = [int(digits) for digits in _POWER.findall(text)]
    numbers = [math.log10(int(digits) + 1) for digits in _NUMBER.findall(text)]
    count = max(len(words), 1)
    return [
        math.log1p(len(text)) / 10,
        math.log1p(text.count("\n")) / 5,
        sum(word.isdigit() for word in words) / count,
        min(1.0, 5 * sum(word in _HARD for word in words) / count),
        min(1.0, 5 * sum(word in _LARGE for word in words) / count),
        min(1.0, max([*powers, *numbers], default=0.0) / 18),
        float("sample" in text or "example" in text),
        float(_CPP.search(text) is not None),
    ]


def _hashed(words: list[str], buckets: int) -> list[float]:
    """Words and neighbouring pairs, dampened by a square root; of length 1 unless there are none."""
    counts = [0.0] * buckets
    seen: dict[str, int] = {}
    for gram in (*words, *(f"{word} {following}" for word, following in pairwise(words))):
        seen[gram] = seen.get(gram, 0) + 1
    for gram, times in seen.items():
        code = zlib.crc32(gram.encode("utf-8", "surrogatepass"))
        counts[(code >> 1) % buckets] += math.sqrt(times) if code & 1 else -math.sqrt(times)
    length = math.sqrt(sum(count * count for count in counts)) or 1.0
    return [count / length for count in counts]
