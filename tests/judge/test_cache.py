"""What the judge remembers of programs is bounded in bytes, whatever they are and however many tests live."""

import asyncio
import gc
import tracemalloc

from alpharay.judge.pool.cache import ResultCache, digest
from alpharay.judge.problem import StdioCase, StdioTests
from alpharay.judge.verdict import Verdict, VerdictKind

MOST = 1 << 20


def case_of(text):
    return StdioTests((StdioCase(text, ""),))


def known(cache, tests, number):
    return cache.get(tests, digest(f"print({number})")) is not None


def add(cache, tests, number, detail=""):
    answer = asyncio.Future(loop=LOOP)
    answer.set_result(Verdict(VerdictKind.WRONG_ANSWER, 0, 1, detail=detail))
    key = digest(f"print({number})")
    cache.put(tests, key, answer)
    cache.weigh(tests, key, answer.result())


LOOP = asyncio.new_event_loop()


def test_many_programs_of_many_tests_stay_within_the_bound():
    cache, held = ResultCache(MOST), [case_of(str(number)) for number in range(40)]
    tracemalloc.start()
    for number in range(200):
        for tests in held:
            add(cache, tests, number, detail="x" * 1500 + str(number))
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < MOST
    assert known(cache, held[-1], 199)
    assert not known(cache, held[0], 0)


def test_what_is_asked_for_stays_and_the_least_recently_used_goes_first():
    cache, tests = ResultCache(4 * 1700), case_of("")
    for number in range(4):
        add(cache, tests, number)
    assert known(cache, tests, 0)
    add(cache, tests, 4)
    assert [number for number in range(5) if known(cache, tests, number)] == [0, 2, 3, 4]


def test_it_goes_with_its_tests_and_with_being_dropped():
    cache, first, second = ResultCache(MOST), case_of("a"), case_of("b")
    for number in range(3):
        add(cache, first, number)
        add(cache, second, number)
    cache.drop(second, digest("print(0)"))
    cache.drop(second, digest("never seen"))
    assert not known(cache, second, 0)
    assert known(cache, second, 1)
    del first
    gc.collect()
    assert len(cache) == 2
    del second
    gc.collect()
    assert (len(cache), cache.bytes) == (0, 0)


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
