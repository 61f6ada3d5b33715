"""The data set card of a folder of rollouts, in the form of the Hugging Face hub."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from string import Template

from alpharay.serve.learn.rollouts.fields import MEANINGS, ROLLOUT_SCHEMA
from alpharay.serve.learn.rollouts.outcome import replace_whole

# In the card's head: what says that the file may be replaced.
_MARK = "tags: [code, alpharay-rollouts]"

_CARD = Template("""\
---
pretty_name: alpharay rollouts
$mark
configs:
- config_name: default
  data_files: rollouts/*.parquet
---

# Rollouts

Answers of language models to programming problems, each judged by running its program against the problem's tests.
A row is one sample: what was asked, what came back, and what the judge found. Made by $made_by, version $version. A sample
that the judge itself failed at is not here.

The tests are not in here: `tests_sha256` is the SHA-256 of `json.dumps(tests, sort_keys=True)` of the problem's `tests`.

## How it was made

$how

`options` are the sampling parameters of each request; what is absent is the checkpoint's own (`generation_config.json`).
`logprobs` are vLLM's `raw_logprobs`, of the model before temperature and `top_p`, unless the configuration has
`engine: {extra: {logprobs_mode: processed_logprobs}}`.

## Reading it

```python
import pyarrow.dataset

rollouts = pyarrow.dataset.dataset("rollouts").to_table()  # or pandas.read_parquet("rollouts")
```

One row a different program (`text_first`), with its count (`sample_count`):

```python
programs = rollouts.filter(pyarrow.dataset.field("program_sha256").is_valid())
programs = programs.group_by(["problem", "program_sha256"], use_threads=False).aggregate(
    [("text", "first"), ("reward", "first"), ("sample", "count")]
)
```

## Fields

| field | type | meaning |
| --- | --- | --- |
$fields
""")


def write_card(folder: Path, made_by: str, how: str) -> bool:
    """Writes README.md. False: there is another README.md, which is left alone.

    made_by: a command, or a server. how: a paragraph or table of Markdown.
    """
    path = folder / "README.md"
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return False
    fields = [f"| `{field.name}` | {field.type} | {MEANINGS[field.name]} |" for field in ROLLOUT_SCHEMA]
    text = _CARD.substitute(
        mark=_MARK, made_by=made_by, version=version("alpharay"), how=how, fields="\n".join(fields)
    )
    with replace_whole(path) as part:
        part.write_text(text, encoding="utf-8")
    return True
