"""Outcomes files: what was written is read again, and what cannot be is refused by name."""

from __future__ import annotations

import math
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alpharay.router.outcomes import VERDICTS
from alpharay.serve.errors import OutcomesError
from alpharay.serve.evaluate.outcomes import SCHEMA, read_outcomes, write_outcomes

from .outcomes_files import columns_of, outcomes_file

HALF = np.full((3, 2), 0.5)


def changed(path, change, **options):
    columns = columns_of(HALF, samples=4, **options)
    table = pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA})
    pq.write_table(change(table), path)
    return path


def with_column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, [values(table)])


def test_what_was_written_is_read_again(tmp_path):
    columns = columns_of(HALF, samples=5, judge_errors=0.1)
    outcomes = read_outcomes(outcomes_file(tmp_path / "o.parquet", HALF, samples=5, judge_errors=0.1))
    assert len(outcomes) == 30
    assert [member.name for member in outcomes.members] == ["frontier@0", "frontier@1"]
    read = {
        (outcomes.problems[p], outcomes.members[m].name, s): (VERDICTS[v].value, seed, level, text)
        for p, m, s, v, seed, level, text in zip(
            outcomes.problem, outcomes.member, outcomes.sample, outcomes.verdict, outcomes.seed,
            outcomes.failed_level, outcomes.text_sha256, strict=True,
        )
    }  # fmt: skip
    for row in range(30):
        key = columns["problem"][row], columns["member"][row], columns["sample"][row]
        level = columns["failed_level"][row]
        assert read[key] == (
            columns["verdict"][row],
            columns["seed"][row],
            -1 if level is None else level,
            columns["text_sha256"][row],
        )


def test_rows_come_in_order_whatever_the_file_s(tmp_path):
    shuffled = changed(
        tmp_path / "o.parquet", lambda table: table.take(np.random.default_rng(1).permutation(24))
    )
    outcomes = read_outcomes(shuffled)
    keys = list(zip(outcomes.problem, outcomes.member, outcomes.sample, strict=True))
    assert keys == sorted(keys)


def test_members_stand_in_the_order_of_their_alpha_those_without_one_last(tmp_path):
    names = ["c", "b", "a"]
    path = outcomes_file(tmp_path / "o.parquet", np.full((2, 3), 0.5), alphas=[1.5, None, -0.5], names=names)
    assert [member.name for member in read_outcomes(path).members] == ["a", "c", "b"]


def test_counts_leave_the_judge_s_own_errors_out(tmp_path):
    outcomes = read_outcomes(outcomes_file(tmp_path / "o.parquet", HALF, samples=200, judge_errors=0.2))
    counts = outcomes.counts
    assert (counts.samples + counts.judge_errors == 200).all()
    assert (counts.solved + counts.incorrect + counts.inefficient == counts.samples).all()
    assert counts.judge_errors.sum() > 100


def test_a_problem_that_lacks_samples_is_not_complete(tmp_path):
    def without_last(table):
        return table.slice(0, 21)  # 3 problems x 2 members x 4 samples, less 3 of the last

    counts = read_outcomes(changed(tmp_path / "o.parquet", without_last)).counts
    assert counts.typical.tolist() == [4, 4]
    assert counts.complete.tolist() == [True, True, False]


def test_a_few_missing_samples_leave_a_problem_complete(tmp_path):
    solve = np.full((3, 1), 0.5)
    columns = columns_of(solve, samples=100)
    kept = {name: values[:-5] for name, values in columns.items()}
    write_outcomes(tmp_path / "o.parquet", kept)
    assert read_outcomes(tmp_path / "o.parquet").counts.complete.all()


def test_some_members_can_be_picked_in_any_order(tmp_path):
    outcomes = read_outcomes(outcomes_file(tmp_path / "o.parquet", np.full((2, 3), 0.5)))
    picked = outcomes.only(("frontier@1", "frontier@0"))
    assert [member.name for member in picked.members] == ["frontier@1", "frontier@0"]
    assert (picked.counts.solved == outcomes.counts.solved[:, [2, 0]]).all()


def test_dictionary_columns_and_narrow_numbers_are_read(tmp_path):
    def narrow(table):
        table = with_column("problem", lambda t: t["problem"].dictionary_encode())(table)
        return with_column("sample", lambda t: t["sample"].cast(pa.int16()))(table)

    assert len(read_outcomes(changed(tmp_path / "o.parquet", narrow))) == 24


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda t: t.drop_columns(["verdict"]), "no column 'verdict'"),
        (lambda t: t.slice(0, 0), "holds no outcome"),
        (with_column("sample", lambda t: t["sample"].cast(pa.string())), "'sample' must be of type int64, it is string"),
        (with_column("verdict", lambda _: pa.array(["passed"] * 24)), "the verdict 'passed' is not known"),
        (with_column("verdict", lambda _: pa.array([None] + ["accepted"] * 23)), "'verdict' has no value in row 0"),
        (lambda t: pa.concat_tables([t, t.slice(3, 2)]), "is there twice (2 such rows)"),
        (with_column("alpha", lambda _: pa.array(np.arange(24.0))), "has more than one alpha: "),
        (with_column("alpha", lambda _: pa.array([math.inf] * 24)), "not finite"),
        (with_column("cpu_s", lambda _: pa.array([math.nan] * 24)), "cpu_s must be at least 0"),
        (with_column("sample", lambda _: pa.array(range(-1, 23))), "sample must be at least 0, one is -1"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, change, names):
    path = changed(tmp_path / "o.parquet", change)
    with pytest.raises(OutcomesError, match=re.escape(names)) as error:
        read_outcomes(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_no_parquet_or_not_there_is_refused(tmp_path):
    (tmp_path / "o.parquet").write_text("problem,member\n")
    with pytest.raises(OutcomesError, match="not a Parquet file"):
        read_outcomes(tmp_path / "o.parquet")
    with pytest.raises(OutcomesError, match="cannot be read"):
        read_outcomes(tmp_path / "none.parquet")


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = outcomes_file(tmp_path / "o.parquet", HALF)
    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_outcomes(path, {"problem": ["a"]})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["o.parquet"]


def test_weights_are_read_again_and_a_member_without_alpha_keeps_its_place(tmp_path):
    columns = columns_of(HALF, samples=4, alphas=[0.5, None], names=["f@0.5", "f@wide"])
    weights = {"f@0.5": '{"low": 0.5, "high": 0.5}', "f@wide": '{"init": 0.75, "low": 0.25}'}
    write_outcomes(
        tmp_path / "o.parquet", columns | {"weights": [weights[name] for name in columns["member"]]}
    )
    line, wide = read_outcomes(tmp_path / "o.parquet").members
    assert (line.alpha, dict(line.weights)) == (0.5, {"low": 0.5, "high": 0.5})
    assert (wide.alpha, dict(wide.weights)) == (None, {"init": 0.75, "low": 0.25})


def test_a_file_without_weights_is_read_as_before(tmp_path):
    path = changed(tmp_path / "o.parquet", lambda table: table)
    assert "weights" not in pq.read_table(path).column_names
    assert [member.weights for member in read_outcomes(path).members] == [(), ()]


@pytest.mark.parametrize("weights", ['{"init": "x"}', "[1]", "no", '{"init": NaN}'])
def test_weights_that_are_no_numbers_are_refused_by_the_member(tmp_path, weights):
    columns = columns_of(HALF, samples=4, alphas=[0.5, None], names=["f@0.5", "f@wide"])
    path = tmp_path / "o.parquet"
    write_outcomes(
        path, columns | {"weights": [weights if n == "f@wide" else None for n in columns["member"]]}
    )
    with pytest.raises(OutcomesError, match="the member 'f@wide' has the weights"):
        read_outcomes(path)
