import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpharay.judge.program import Program, extract_program


def fenced(source):
    return Program(source, fenced=True)


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        ("```python\nprint(1)\n```", fenced("print(1)\n")),
        ("Say:\n```python\na\n```\nBetter:\n```python\nb\n```\nDone.", fenced("b\n")),
        ("```python\na\n```\nIt prints\n```\n5\n```", fenced("a\n")),
        ("```\na\n```\n```\nb\n```", fenced("b\n")),
        ("```py\na\n```", fenced("a\n")),
        ("``` Python3 title=x\na\n```", fenced("a\n")),
        ("```{.python}\na\n```", fenced("a\n")),
        ("~~~python\na\n~~~", fenced("a\n")),
        ("````python\n```\na\n````", fenced("```\na\n")),
        ("```python\r\na\r\nb\r\n```\r\n", fenced("a\nb\n")),
        ("1. So:\n   ```python\n   if a:\n       b\n   ```", fenced("if a:\n    b\n")),
        ("```python\nx = 1\n", fenced("x = 1\n\n")),
        ("```python\na\n```\n```python\n\n```", fenced("a\n")),
        ("print(1)", Program("print(1)", fenced=False)),
        ("use `x` and ```y``` here", Program("use `x` and ```y``` here", fenced=False)),
        ("```bash\nls\n```", None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_program_is_the_last_block_of_its_language(completion, expected):
    assert extract_program(completion) == expected


def test_blocks_of_another_language_are_not_taken():
    both = "```python\na\n```\n```cpp\nb\n```"
    assert extract_program(both, "python") == fenced("a\n")
    assert extract_program(both, "cpp") == Program("b\n", fenced=True, label="cpp")


def test_a_block_that_the_end_of_the_answer_cuts_off_counts():
    assert extract_program("```python\nold\n```\nNo:\n```python\ndef f(:") == fenced("def f(:\n")


@given(st.text(alphabet="`~ \npython\r{}", max_size=300))
def test_every_text_has_an_answer(completion):
    program = extract_program(completion)
    assert program is None or program.source.strip()


@pytest.mark.parametrize("unit", ["`", "```", "```\n", "```python\n", "~~~x\n", "`\n ", " \t`"])
def test_long_hostile_texts_are_read_in_one_pass(unit):
    extract_program(unit * (2_000_000 // len(unit)))
