"""Outcomes files: Parquet, one row a sample, read strictly and written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from alpharay.router import Member
from alpharay.router.outcomes import CODE, Outcomes
from alpharay.serve.errors import OutcomesError
from alpharay.serve.learn.rollouts.outcome import SCHEMA, WEIGHTS, replace_whole
from alpharay.serve.spelling import did_you_mean, shown

_WHOLE = SCHEMA.append(WEIGHTS)


def write_outcomes(path: Path, columns: Mapping[str, list[Any]]) -> None:
    """Writes the columns of SCHEMA, and `weights` where given, to that file, which appears or changes only as a whole."""
    whole = {WEIGHTS.name: [None] * len(columns["problem"]), **columns}
    table = pa.table({field.name: pa.array(whole[field.name], field.type) for field in _WHOLE}, schema=_WHOLE)
    try:
        with replace_whole(path) as part:
            pq.write_table(table, part, compression="zstd")
    except OSError as error:
        raise OutcomesError(f"{path} cannot be written: {error.strerror}") from error


def read_outcomes(path: Path) -> Outcomes:
    """Raises OutcomesError: not such a file, or a column or row that cannot be used; it is named."""
    table = read_table(path)
    problem, problems = _indexed(table["problem"])
    member, names = _indexed(table["member"])
    alphas = table["alpha"].to_numpy(zero_copy_only=False).astype(np.float64)
    weights, texts = _indexed(pc.fill_null(table["weights"], ""))
    members = [
        Member(
            name=name,
            alpha=_alpha(path, name, alphas[member == n]),
            weights=_weights(path, name, {texts[code] for code in np.unique(weights[member == n])}),
        )
        for n, name in enumerate(names)
    ]
    # The frontier's order; what has no alpha comes last.
    by_alpha = sorted(
        range(len(members)),
        key=lambda n: (members[n].alpha is None, members[n].alpha or 0.0, names[n]),
    )
    member = np.argsort(by_alpha)[member]
    columns = {
        name: table[name].to_numpy(zero_copy_only=False).astype(np.int64)
        for name in ("sample", "seed", "passed", "total", "prompt_tokens", "completion_tokens")
    }
    columns |= {
        "problem": problem,
        "member": member,
        "verdict": _codes(path, table["verdict"]),
        "failed_level": pc.fill_null(table["failed_level"], -1).to_numpy().astype(np.int64),
        "cpu_s": table["cpu_s"].to_numpy().astype(np.float64),
        "text_sha256": np.array(table["text_sha256"].to_pylist(), dtype=np.str_),
    }
    order = np.lexsort((columns["sample"], member, problem))
    ordered = {name: column[order] for name, column in columns.items()}
    outcomes = Outcomes(problems=tuple(problems), members=tuple(members[n] for n in by_alpha), **ordered)
    _refuse_what_cannot_be(path, outcomes)
    return outcomes


def read_table(path: Path) -> Any:
    """The file as an Arrow table of SCHEMA and `weights`. Raises OutcomesError."""
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except OSError as error:
        raise OutcomesError(f"{path} cannot be read: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise OutcomesError(f"{path} is not a Parquet file: {error}") from error
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        others = ", ".join(table.column_names) or "none"
        raise OutcomesError(
            f"{path} has no column {missing[0]!r}; an outcomes file has {', '.join(SCHEMA.names)}, this one {others}"
        )
    if WEIGHTS.name not in table.column_names:
        table = table.append_column(WEIGHTS, pa.nulls(table.num_rows, WEIGHTS.type))
    if not table.num_rows:
        raise OutcomesError(f"{path} holds no outcome")
    return pa.table({field.name: _typed(path, field, table[field.name]) for field in _WHOLE}, schema=_WHOLE)


def _typed(path: Path, field: Any, column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    alike = [pa.types.is_string, pa.types.is_large_string]
    if not pa.types.is_string(field.type):
        alike = (
            [pa.types.is_integer]
            if pa.types.is_integer(field.type)
            else [pa.types.is_integer, pa.types.is_floating]
        )
    if not (
        any(is_one(column.type) for is_one in alike) or (field.nullable and pa.types.is_null(column.type))
    ):
        raise OutcomesError(
            f"{path}: the column {field.name!r} must be of type {field.type}, it is {column.type}"
        )
    if column.null_count and not field.nullable:
        row = pc.index(column.is_null(), value=True).as_py()
        raise OutcomesError(f"{path}: the column {field.name!r} has no value in row {row}")
    try:
        return column.cast(field.type)
    except pa.ArrowException as error:
        raise OutcomesError(
            f"{path}: the column {field.name!r} cannot be read as {field.type}: {error}"
        ) from error


def _indexed(column: Any) -> tuple[Any, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


def _alpha(path: Path, name: str, alphas: Any) -> float | None:
    first = float(alphas[0])
    if not (np.isnan(alphas).all() or (alphas == first).all()):
        others = sorted({float(alpha) for alpha in alphas})
        raise OutcomesError(
            f"{path}: the member {name!r} has more than one alpha: {others[0]:g}, {others[1]:g}"
        )
    if math.isinf(first):
        raise OutcomesError(f"{path}: the member {name!r} has the alpha {first}, which is not finite")
    return None if math.isnan(first) else first


def _weights(path: Path, name: str, texts: set[str]) -> tuple[tuple[str, float], ...]:
    """The weights in the rows of a member; rows of earlier versions have none."""
    recorded = [text for text in texts if text]
    if len(recorded) > 1:
        raise OutcomesError(
            f"{path}: the member {name!r} has more than one weights: {recorded[0]}, {recorded[1]}"
        )
    if not recorded:
        return ()
    try:
        weights = {str(key): float(value) for key, value in json.loads(recorded[0]).items()}
    except (ValueError, TypeError, AttributeError):
        weights = {"": math.nan}
    if not all(map(math.isfinite, weights.values())):
        raise OutcomesError(
            f"{path}: the member {name!r} has the weights {shown(recorded[0])}, which are no numbers by checkpoint"
        )
    return tuple(weights.items())


def _codes(path: Path, column: Any) -> Any:
    codes, kinds = _indexed(column)
    known = {kind.value: code for kind, code in CODE.items()}
    for kind in kinds:
        if kind not in known:
            raise OutcomesError(f"{path}: the verdict {shown(kind)} is not known{did_you_mean(kind, known)}")
    return np.array([known[kind] for kind in kinds], dtype=np.int64)[codes]


def _refuse_what_cannot_be(path: Path, outcomes: Outcomes) -> None:
    """Rows are in order: equal ones are neighbours."""
    keys = np.stack([outcomes.problem, outcomes.member, outcomes.sample])
    twice = np.flatnonzero((keys[:, 1:] == keys[:, :-1]).all(axis=0))
    if len(twice):
        row = int(twice[0])
        raise OutcomesError(
            f"{path}: sample {outcomes.sample[row]} of {outcomes.members[outcomes.member[row]].name!r} on the problem "
            f"{outcomes.problems[outcomes.problem[row]]!r} is there twice ({len(twice)} such rows); "
            "a sample counted twice would count as two"
        )
    for name in ("sample", "passed", "prompt_tokens", "completion_tokens", "cpu_s"):
        column = getattr(outcomes, name)
        if not (column >= 0).all():  # NaN included
            raise OutcomesError(f"{path}: {name} must be at least 0, one is {column[~(column >= 0)][0]}")
