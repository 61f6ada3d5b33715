"""A small byte-level BPE tokenizer of our own, whose merges may cross words but no line and no digit.

The programs repeat whole lines, and a line that is always the same is one decision: tokens that span it make prompts
and programs about half as long, which on two cores is half of the training time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIAL = [PAD, USER, ASSISTANT, END]
PAD_ID, END_ID = 0, 3
VOCABULARY = 1536
# A digit alone; else up to the end of a line or of a sentence (a full stop within a word ends none).
PIECE = r"\d|(?:[^\d\n.?]|[.?](?![ \n]))+(?:[.?](?=[ \n]))?\n?|[.?]\n?|\n"
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> Tokenizer:
    """Learns merges from prompts and programs. Deterministic for the same texts in the same order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode_prompt(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """What the chat template makes of one user message, up to where the answer begins."""
    user, assistant = (tokenizer.token_to_id(token) for token in (USER, ASSISTANT))
    return [user, *tokenizer.encode(prompt).ids, END_ID, assistant]


def encode_answer(tokenizer: Tokenizer, program: str) -> list[int]:
    return [*tokenizer.encode(program.rstrip("\n")).ids, END_ID]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """The files by which transformers and vLLM load it, with the chat template."""
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "additional_special_tokens": [USER, ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 512,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
