"""The data set card of a folder of rollouts, in the form of the Hugging Face hub."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from alpharay.serve.evaluate.rollouts.fields import MEANINGS, ROLLOUT_SCHEMA
from alpharay.serve.evaluate.settings import read_settings

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
A row is one sample: what was asked, what came back, and what the judge found. Made by `alpharay eval --save-rollouts`,
version $version. `outcomes.parquet` has the same samples without their texts. A sample that the judge itself failed at
is not here.

The tests are not in here: `tests_sha256` is the SHA-256 of `json.dumps(tests, sort_keys=True)` of the problem's `tests`.
The file of problems had the SHA-256 `$problems`.

## How it was made

| member | checkpoint | seed | options | kept |
| --- | --- | --- | --- | --- |
$members

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


def write_card(folder: Path) -> bool:
    """Writes README.md from what `keep_settings` wrote there. False: there is another README.md, which is left alone."""
    path = folder / "README.md"
    if path.exists() and _MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return False
    settings = read_settings(folder)
    members = [_member(name, member) for name, member in settings["members"].items() if "rollouts" in member]
    fields = [f"| `{field.name}` | {field.type} | {MEANINGS[field.name]} |" for field in ROLLOUT_SCHEMA]
    text = _CARD.substitute(
        mark=_MARK,
        version=version("alpharay"),
        problems=settings["problems"],
        members="\n".join(members),
        fields="\n".join(fields),
    )
    part = path.with_suffix(".tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return True


def _member(name: str, settings: dict[str, Any]) -> str:
    options = json.dumps(settings["options"], sort_keys=True)
    kept = "texts, token ids, logprobs" if settings["rollouts"] == "logprobs" else "texts"
    return f"| `{name}` | `{settings['checkpoint']}` | {settings['seed']} | `{options}` | {kept} |"
