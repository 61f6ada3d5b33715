"""What the judge remembers of programs is bounded in bytes, whatever they are and however many tests live."""

import asyncio
import gc
import tracemalloc

from alpharay.judge.pool.cache import Repeats, digest
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.verdict import Verdict, VerdictKind

MOST = 1 << 20


def case_of(text):
    return StdioTests((StdioCase(text, ""),))


def known(repeats, tests, number):
    return repeats.get(tests, digest(f"print({number})")) is not None


def add(repeats, tests, number, detail=""):
    answer = asyncio.Future(loop=LOOP)
    answer.set_result(Verdict(VerdictKind.WRONG_ANSWER, 0, 1, detail=detail))
    key = digest(f"print({number})")
    repeats.put(tests, key, answer)
    repeats.weigh(tests, key, answer.result())


LOOP = asyncio.new_event_loop()


def test_many_programs_of_many_tests_stay_within_the_bound():
    repeats, held = Repeats(MOST), [case_of(str(number)) for number in range(40)]
    tracemalloc.start()
    for number in range(200):
        for tests in held:
            add(repeats, tests, number, detail="x" * 1500 + str(number))
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < MOST
    assert known(repeats, held[-1], 199)
    assert not known(repeats, held[0], 0)


def test_what_is_asked_for_stays_and_the_least_recently_used_goes_first():
    repeats, one = Repeats(4 * 1700), case_of("")
    for number in range(4):
        add(repeats, one, number)
    assert known(repeats, one, 0)
    add(repeats, one, 4)
    assert [number for number in range(5) if known(repeats, one, number)] == [0, 2, 3, 4]


def test_it_goes_with_its_tests_and_with_being_dropped():
    repeats, one, other = Repeats(MOST), case_of("a"), case_of("b")
    for number in range(3):
        add(repeats, one, number)
        add(repeats, other, number)
    repeats.drop(other, digest("print(0)"))
    repeats.drop(other, digest("never seen"))
    assert not known(repeats, other, 0)
    assert known(repeats, other, 1)
    del one
    gc.collect()
    assert len(repeats) == 2
    del other
    gc.collect()
    assert (len(repeats), repeats.bytes) == (0, 0)


def test_every_part_of_what_is_asked_tells_programs_apart():
    keys = {
        digest("a"),
        digest("a", 1),
        digest("a", 1, 2),
        digest("a", "1"),
        digest(None),
        digest("None"),
        digest("\ud800"),
    }
    assert len(keys) == 7
