"""`alpharay import`: converts problems of other formats to a problem file."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from alpharay.judge.compare import any_digits
from alpharay.judge.errors import ProblemError
from alpharay.judge.formats import FORMATS, ROWS, Unusable, codecontests_plus, kattis
from alpharay.judge.pool.generating import CannotGenerate, Generating
from alpharay.judge.problem import parse_problem
from alpharay.judge.writing import destination

Json = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("format", metavar="FORMAT", choices=FORMATS, help=", ".join(FORMATS))
    parser.add_argument(
        "source",
        type=Path,
        metavar="SRC",
        help="JSONL (also .gz), a JSON list or Parquet; for kattis a package's folder, or a folder of them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the problem file, JSONL")
    making = parser.add_argument_group("codecontests+", "rows without tests have them made, in the sandbox")
    making.add_argument(
        "--testlib", type=Path, metavar="FILE", help="testlib.h, which checkers and generators include"
    )
    making.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep the tests that were made here, and take them from here",
    )
    parser.epilog = (
        "example:\n  alpharay import humaneval HumanEvalPlus.jsonl.gz --out problems.jsonl\n"
        "  alpharay import kattis packages/ --out problems.jsonl\n"
        "  alpharay import codecontests+ part-00000.parquet --testlib testlib.h --out problems.jsonl\n\n"
        "Problems that cannot be judged here are left out, with the reason."
    )


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when at least one problem was written. Raises ProblemError."""
    skipped: Counter[str] = Counter()
    examples: dict[str, tuple[str, str]] = {}
    seen: set[str] = set()
    with any_digits(), Generating(cache=arguments.cache) as generating, destination(arguments.out) as out:
        for location, convert in _conversions(arguments, generating):
            try:
                problem = convert()
                parse_problem(problem)
                if problem["id"] in seen:
                    raise Unusable("its id is there twice", repr(problem["id"]))
            except (Unusable, CannotGenerate, ProblemError) as error:
                # Of malformed problems the place in them differs: tests.cases[3], tests.cases[7].
                reason = re.sub(r"\d+", "N", str(error))
                if isinstance(error, Unusable | CannotGenerate):
                    reason = error.reason
                skipped[reason] += 1
                examples.setdefault(reason, (location, str(error)))
                continue
            seen.add(problem["id"])
            out.write(json.dumps(problem) + "\n")
        if not seen:
            reasons = "; ".join(": ".join(examples[reason]) for reason, _ in skipped.most_common(3))
            raise ProblemError(
                f"{arguments.source} holds no problem of the format {arguments.format}"
                + (f": {reasons}" if reasons else "")
            )
    left_out = f", {skipped.total()} left out" if skipped else ""
    print(f"{len(seen)} problems written to {arguments.out}{left_out}", file=sys.stderr)
    for reason, count in skipped.most_common():
        location, error_text = examples[reason]
        print(f"left out: {count}, such as {location}: {error_text}", file=sys.stderr)
    for reason, count in generating.left_out.most_common():
        print(f"inputs left out: {count}, since {reason}", file=sys.stderr)
    return 0


def _conversions(arguments: argparse.Namespace, generating: Generating) -> Iterator[tuple[str, Any]]:
    """Where each problem is, and what converts it."""
    kind, source = arguments.format, arguments.source
    if kind == "kattis":
        if not source.is_dir():
            raise ProblemError(f"{source} is not a folder of Kattis packages")
        for folder in kattis.packages(source):
            yield folder.name, lambda folder=folder: kattis.convert(folder)
        return
    if kind == "codecontests+":
        testlib = None if arguments.testlib is None else _header(arguments.testlib)
        for number, row in enumerate(_rows(source), 1):
            yield (
                f"row {number}",
                lambda row=row: codecontests_plus.convert(row, generating.make, testlib),
            )
        return
    convert = ROWS[kind]
    for number, row in enumerate(_rows(source), 1):
        yield f"row {number}", lambda row=row: convert(row)


def _header(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProblemError(f"--testlib: {path} cannot be read as text: {error}") from None


def _rows(path: Path) -> Iterator[Json]:
    """Raises ProblemError: the file cannot be read as rows."""
    try:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PAR1":
            import pyarrow.parquet as pq

            for batch in pq.ParquetFile(path).iter_batches(batch_size=64):
                yield from batch.to_pylist()
            return
        with _text(path, start) as lines:
            if lines.read(1) == "[":
                lines.seek(0)
                yield from _objects(path, json.load(lines))
                return
            lines.seek(0)
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield from _objects(f"{path}, line {number}", [json.loads(line)])
    except OSError as error:
        raise ProblemError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError, RecursionError) as error:
        raise ProblemError(f"{path} is neither JSON, JSONL nor Parquet: {error}") from None


def _text(path: Path, start: bytes) -> IO[str]:
    if start[:2] == b"\x1f\x8b":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _objects(where: object, values: list[Any]) -> Iterator[Json]:
    for value in values:
        if not isinstance(value, dict):
            raise ProblemError(f"{where}: a row must be an object")
        yield value
