"""Problems of several parts: what is judged is what is asked, and what the comparison of ensembles makes of known chances."""

from __future__ import annotations

import collections
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from alpharay.judge import parse_problem
from alpharay.serve.evaluate.outcomes import SCHEMA, WEIGHTS, read_table, write_outcomes
from bench.frontier.evaluate import evaluate
from bench.frontier.members import Candidate
from bench.frontier.model import Llama, Size
from bench.frontier.parts.compare import compared, splits
from bench.frontier.parts.draw import (
    CODES,
    COUNTS,
    FAST_LINES,
    both_limits,
    evaluation,
    example,
    fast_parts,
    pairs,
    questions,
    split_of,
)
from bench.frontier.parts.foretell import gain
from bench.frontier.parts.gate import GO, ratio
from bench.frontier.parts.outcomes import (
    Counted,
    best_off_the_line,
    gather_parts,
    keep_problems,
    path_of,
    read,
)
from bench.frontier.parts.quantities import QUANTITIES
from bench.frontier.parts.report import BEGIN, END, write
from bench.frontier.parts.scheduled import scheduled
from bench.frontier.problems.draft import CHOICE
from bench.frontier.tokenizer import train_tokenizer
from bench.frontier.verdicts import Judge, covered


def test_a_prompt_comes_with_low_and_with_high_limits_and_does_not_say_which():
    raws = evaluation("validation", 4)
    assert [raw["parts"] for raw in raws] == [1, 1, 2, 2, 3, 3] * 4
    for low, high in zip(raws[::2], raws[1::2], strict=True):
        assert (low["large"], high["large"]) == (False, True)
        assert low["prompt"] == high["prompt"]
        assert "most" not in low["prompt"].replace("at most", "")
        for raw in (low, high):
            assert [case.level for case in parse_problem(raw).tests.cases] == [1, 2, 2, 2, 3, 4]


def test_no_prompt_is_in_two_sets_and_none_twice_in_one():
    sets = {
        split: {raw["prompt"] for count in COUNTS for raw in pairs(count, 12, 3, split, folded=folded)}
        for split, folded in (("train", False), ("train", True), ("validation", True), ("test", True))
    }
    for split, prompts in sets.items():
        assert {split_of(prompt) for prompt in prompts} == {split}
        assert len(prompts) == 12 * len(COUNTS)


def test_more_prompts_than_there_are_is_an_error():
    with pytest.raises(ValueError, match="prompts of 1 part"):
        questions(1, 200, 1, "test")


def test_the_judge_passes_all_simple_under_low_limits_all_fast_under_high_ones_and_no_mixture():
    """Every choice of ways of two parts, and both references of one and of three; narrow values take any way."""
    candidates, wanted = [], []
    drawn = [each for count in COUNTS for each in questions(count, 3 if count == 2 else 6, 1, "validation")]
    for seed, question in drawn:
        for raw in both_limits(question, seed, seed):
            tests = covered(raw, 4)
            for ways in question.mixtures():
                if raw["parts"] == 3 and len(set(ways)) == 2:
                    continue
                candidates.append((tests, question.program(ways, raw["code"])))
                fast = ways.count("fast")
                good = fast == len(ways) if raw["large"] else raw["narrow"] or fast == 0
                wanted.append((raw["id"], ways, good))
    with Judge(workers=2) as judge:
        verdicts = judge.verdicts(candidates)
    came = [
        (name, ways, v.verdict == "accepted") for (name, ways, _), v in zip(wanted, verdicts, strict=True)
    ]
    assert came == wanted
    slow = [
        v
        for v, (name, ways, good) in zip(verdicts, wanted, strict=True)
        if name.endswith("high") and not good
    ]
    assert {str(v.verdict) for v in slow} == {"time_limit"}
    assert {v.failed_case for v in slow} == {5}


@pytest.mark.parametrize("family", QUANTITIES)
def test_every_choice_point_has_something_to_get_wrong_and_what_it_leaves_parses(family):
    for seed in range(12):
        quantity = QUANTITIES[family](random.Random(seed))
        for text in (quantity.simple, quantity.fast):
            points = [point.split("¦") for point in CHOICE.findall(text)]
            assert points
            assert all(len(set(each)) == len(each) > 1 for each in points)
        assert not any(line in quantity.simple for line in FAST_LINES)
        assert sum(quantity.fast.count(line) for line in FAST_LINES) == 1
    for number in range(60):
        compile(example(1, number)[1][0], family, "exec")


def test_parts_of_imitated_programs_choose_their_ways_and_the_code_by_themselves():
    fast, codes = collections.Counter(), collections.Counter()
    for number in range(600):
        prompt, programs = example(2, number)
        for program in programs:
            chosen, parts = fast_parts(program)
            if parts == 2:
                fast[chosen] += 1
            if "checksum" in prompt:
                codes[program.rstrip(")\n").split("print(t")[1]] += 1
    total = sum(fast.values())
    assert [round(4 * fast[chosen] / total, 1) for chosen in (0, 1, 2)] == pytest.approx([1, 2, 1], abs=0.21)
    assert codes.keys() == set(CODES)
    assert max(codes.values()) < 2 * min(codes.values())


ROOT = Path(__file__).resolve().parents[2]
MEMBERS = ("frontier@0", "frontier@0.5", "frontier@1", "init")


def counted(chances, samples=400, prompts=40):
    """Passes exactly as often as the chances [low and high limits, members] say."""
    solved = np.rint(np.broadcast_to(np.array(chances) * samples, (prompts, 2, len(MEMBERS)))).astype(int)
    return Counted(members=MEMBERS, samples=np.full_like(solved, samples), solved=solved)


def of_parts(parts, right=0.1, fast=(0.05, 0.5, 0.95, 0.5)):
    f = np.array(fast)
    return counted([right * (1 - f) ** parts, right * f**parts])


def test_the_gate_is_open_where_a_program_takes_two_decisions_and_shut_where_it_takes_one():
    one_part, two_parts = (ratio(of_parts(parts))[0] for parts in (1, 2))
    p = np.array([0.095, 0.005])
    assert one_part == pytest.approx(np.log1p(-0.05) / np.log1p(-p).mean(), abs=0.01)
    assert two_parts == pytest.approx(0.25 / 0.45, abs=0.02)
    assert two_parts < GO < one_part


def test_problems_that_pass_often_do_not_count_at_the_gate():
    whole, _, problems = ratio(counted([[0.02, 0.01, 0.02, 0], [0.9, 0.9, 0.1, 0]]))
    assert problems == 40
    assert whole == pytest.approx(0.5, abs=0.01)


def test_an_even_split_of_specialists_gains_with_two_decisions_and_not_with_one():
    for parts, least, most in ((1, -2.0, 1.0), (2, 5.0, 40.0)):
        chances = of_parts(parts, right=0.04)
        (only,) = compared(chances, chances, [100])
        for way in ("{0, 1}", "the split", "the schedule"):
            gains = [
                only.gain(way, than)[0]
                for than in ("the single by validation", "the best single with hindsight")
            ]
            assert least <= gains[0] <= most, (parts, way)
            assert gains[1] <= gains[0]


def test_shares_are_those_of_the_exact_formula_and_intervals_hold_them():
    chances = of_parts(2, right=0.04)
    (only,) = compared(chances, chances, [2])
    p = chances.solved[0] / chances.samples[0]
    assert only.shares["{0, 1}"][0] == pytest.approx((1 - (1 - p[:, 0]) * (1 - p[:, 2])).mean(), abs=1e-9)
    n, c = 400, chances.solved[0, :, 1]
    assert only.members["frontier@0.5"] == pytest.approx((1 - (n - c) * (n - c - 1) / (n * (n - 1))).mean())
    for than in ("the single by validation", "init"):
        mean, low, high = only.gain("the split", than)
        assert low <= mean + 1e-9
        assert mean - 1e-9 <= high


def test_a_choice_is_made_on_validation_problems_alone():
    misleading = counted([[0.0, 0.2, 0.0, 0.0], [0.0, 0.2, 0.0, 0.0]])
    (only,) = compared(misleading, of_parts(2), [10])
    assert only.names == ("frontier@0.5", "frontier@0")
    assert only.split == {"frontier@0.5": 10}


def test_another_point_joins_the_schedule_of_the_endpoints_only_where_left_out_problems_gain():
    alike = scheduled(of_parts(2, right=0.04), 100)
    assert alike.members == ("frontier@0", "frontier@1")
    assert set(alike.schedule) == set(alike.members)
    assert alike.solved == pytest.approx(alike.even, abs=0.01)
    apart = scheduled(counted([[0.04, 0.0, 0.0, 0.0], [0.0, 0.04, 0.0, 0.0]]), 100)
    assert apart.members == ("frontier@0", "frontier@1", "frontier@0.5")
    assert apart.solved > apart.even + 0.2
    assert {"frontier@0", "frontier@0.5"} <= set(apart.schedule)


def test_splits_are_every_member_alone_and_every_two_in_three_proportions():
    tried = splits(4, 10)
    assert len(tried) == 4 + 6 * 3
    assert (tried.sum(axis=1) == 10).all()
    assert (tried[:4] == 10 * np.eye(4)).all()


def test_the_foretold_gain_grows_with_the_decisions():
    gains = []
    for parts in COUNTS:
        single, both, pair = gain((0.05, 0.25, 0.5, 0.75, 0.95), 0.05, parts, 100, (0, 4))
        assert both <= pair + 1e-9
        gains.append(both - single)
    assert abs(gains[0]) < 0.01
    assert gains[1] > 0.1
    assert gains[2] > 0.1


def outcome_rows(parts, members, samples, solved_by):
    """Rows of two prompts; solved_by: (member, limits) whose every second sample passes."""
    rows = {field.name: [] for field in (*SCHEMA, WEIGHTS)}
    for prompt, limits, member, at in itertools.product(range(2), ("low", "high"), members, range(samples)):
        row = {
            "problem": f"parts{parts}-test-{prompt}-{limits}", "member": member, "alpha": None, "sample": at,
            "seed": 1, "verdict": "accepted" if (member, limits) in solved_by and at % 2 else "wrong_answer",
            "failed_level": None, "passed": 0, "total": 1, "prompt_tokens": 1, "completion_tokens": 1,
            "cpu_s": 0.0, "text_sha256": f"{at:064d}", "weights": None,
        }  # fmt: skip
        for name, value in row.items():
            rows[name].append(value)
    return rows


def test_outcomes_are_gathered_into_a_file_for_each_number_of_parts_and_counted_prompt_by_prompt(tmp_path):
    for count in COUNTS:
        drawn = tmp_path / f"parts{count}-test-4"
        drawn.mkdir()
        rows = outcome_rows(count, ("frontier@0", "frontier@1"), 4, {("frontier@0", "low")})
        write_outcomes(drawn / "part-000.parquet", rows)
        gather_parts(drawn, tmp_path, 7, count, "test")
    for count in COUNTS:
        came = read(path_of(tmp_path, 7, count, "test"))
        assert came.members == ("frontier@0", "frontier@1")
        assert came.solved.tolist() == [[[2, 0], [0, 0]]] * 2
        assert (came.samples == 4).all()


def test_problems_are_kept_as_they_were_evaluated(tmp_path):
    raws = evaluation("validation", 2)
    path = keep_problems(raws, tmp_path, "validation")
    assert [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] == raws
    assert path.read_bytes() == keep_problems(raws, tmp_path, "again").read_bytes()


def test_the_best_point_off_the_line_is_that_of_the_validation_problems_of_as_many_parts(tmp_path):
    names = ("both steps", "wise-ft low")
    with pytest.raises(SystemExit, match="--set validation first"):
        best_off_the_line(tmp_path, 1, 2, names)
    for count, best in ((1, "both steps"), (2, "wise-ft low")):
        rows = outcome_rows(count, names, 4, {(best, "low")})
        write_outcomes(path_of(tmp_path, 1, count, "validation"), rows)
        assert best_off_the_line(tmp_path, 1, count, names) == best


def test_a_report_takes_the_place_between_its_markers_and_no_more(tmp_path):
    members = ("frontier@0", "frontier@0.5", "frontier@1", "init")
    ends = {("frontier@0", "low"), ("frontier@1", "high")}
    for count, name in itertools.product(COUNTS, ("validation", "test")):
        sampled = (*members, "both steps") if count == 3 else members
        write_outcomes(path_of(tmp_path, 1, count, name), outcome_rows(count, sampled, 20, ends))
    gates = [
        {"parts": 1, "ratio": 0.5, "interval": [0.4, 0.6], "problems": 4, "fast": {"frontier@0": 0.1}, "alike": {"frontier@0.5": [0.5, 0.5]}}
    ]  # fmt: skip
    (tmp_path / "parts-seed1-gate.json").write_text(json.dumps(gates))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(1, tmp_path, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    # Of half of the problems 1 - (10 * 9) / (20 * 19) by two samples of one endpoint; of each half 1/2 by one of each.
    assert "| {0, 1}, against the single by validation | +11.8 [+11.8, +11.8] (0) |" in text
    assert "| `frontier@0` | 38.2" in text
    assert (
        "| `both steps` |  |  |  |  | 0.0 | 0.0 |" in text
    )  # a point that only one number of parts was sampled with
    assert (tmp_path / "parts-seed1.png").stat().st_size > 1000
    page.write_text("no markers")
    with pytest.raises(SystemExit, match="has no place"):
        write(1, tmp_path, page)


def test_two_problems_of_one_prompt_are_answered_by_the_same_samples(tmp_path):
    raws = pairs(1, 2, 1, "validation")
    tokenizer = train_tokenizer(text for number in range(200) for text in (example(1, number)[1][0],))
    model = Llama(Size(vocabulary=tokenizer.get_vocab_size(), hidden=32, inner=32, layers=1, heads=2, key_heads=1, head=16))  # fmt: skip
    model.reset(1)
    evaluate(
        raws, [Candidate("any", 0.0, lambda: model)], 3, seed=1, tokenizer=tokenizer, out=tmp_path, size=12
    )
    table = read_table(tmp_path / "part-000.parquet")
    hashes = collections.defaultdict(list)
    for problem, digest in zip(table["problem"].to_pylist(), table["text_sha256"].to_pylist(), strict=True):
        hashes[problem].append(digest)
    assert list(hashes) == [raw["id"] for raw in raws]
    for low, high in zip(raws[::2], raws[1::2], strict=True):
        assert hashes[low["id"]] == hashes[high["id"]]
        assert len(hashes[low["id"]]) == 3
    assert hashes[raws[0]["id"]] != hashes[raws[2]["id"]]


def test_one_number_of_parts_is_evaluated_with_the_packages_weights_where_nothing_was_trained(tmp_path):
    (tmp_path / "serve").symlink_to(ROOT / "serve")
    command = [sys.executable, "-m", "bench.frontier", "evaluate", "--kind", "parts", "--parts", "2"]
    done = subprocess.run(
        [*command, "--prompts", "1", "--samples", "2", "--out", str(tmp_path / "build")],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = tmp_path / "bench" / "results" / "frontier"
    came = read(path_of(results, 1, 2, "validation"))
    assert (came.samples == 2).all()
    assert came.samples.shape[:2] == (1, 2)
    assert {file.name for file in results.iterdir()} == {
        "parts2-seed1-validation.parquet",
        "parts-validation.jsonl.gz",
    }
