"""Fill-in-the-middle prompts: the special tokens that the model's tokenizer has for them.

A model was trained for it when its vocabulary has one of these sets; each family lays them out in its own way.
"""

from __future__ import annotations

from collections.abc import Container

PREFIX, SUFFIX = "prefix", "suffix"

_LAYOUTS = (
    # Qwen-Coder, CodeGemma
    ("<|fim_prefix|>", PREFIX, "<|fim_suffix|>", SUFFIX, "<|fim_middle|>"),
    # StarCoder, Granite
    ("<fim_prefix>", PREFIX, "<fim_suffix>", SUFFIX, "<fim_middle>"),
    # SantaCoder
    ("<fim-prefix>", PREFIX, "<fim-suffix>", SUFFIX, "<fim-middle>"),
    # DeepSeek-Coder
    (
        "<\uff5cfim\u2581begin\uff5c>",
        PREFIX,
        "<\uff5cfim\u2581hole\uff5c>",
        SUFFIX,
        "<\uff5cfim\u2581end\uff5c>",
    ),
    # Codestral
    ("[SUFFIX]", SUFFIX, "[PREFIX]", PREFIX),
)

Layout = tuple[str, ...]


def layout(vocabulary: Container[str]) -> Layout | None:
    """The one whose words the vocabulary has; None when the model does not fill in the middle."""
    for words in _LAYOUTS:
        if all(word in vocabulary for word in words if word not in (PREFIX, SUFFIX)):
            return words
    return None


def prompt(words: Layout, prefix: str, suffix: str) -> str:
    """The text after which the model writes what stands between the two."""
    texts = {PREFIX: prefix, SUFFIX: suffix}
    return "".join(texts.get(word, word) for word in words)
