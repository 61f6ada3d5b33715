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
        # Fences as CommonMark has them: up to three blanks before, within the list item or quotation that they stand in.
        ("```python\na = 1\n    ```\nb = 2\n```", fenced("a = 1\n    ```\nb = 2\n")),
        ("```python\n    ```python\n    ```\n```", fenced("    ```python\n    ```\n")),
        ("~~~~ python\n```\n~~~\na\n~~~~~", fenced("```\n~~~\na\n")),
        ("  ```python\n  a\n   ```\nb", fenced("a\n")),
        (
            "- So:\n\n  1. This:\n\n     ```python\n     if a:\n         b\n     ```\n",
            fenced("if a:\n    b\n"),
        ),
        (
            "10. So:\n    ```python\n    if a:\n        ```\n        b\n    ```",
            fenced("if a:\n    ```\n    b\n"),
        ),
        ("-\tSo:\n\t```python\n\tif a:\n\t\tb\n\t```", fenced("if a:\n\tb\n")),
        ("> ```python\n> if a:\n>     b\n> ```\n", fenced("if a:\n    b\n")),
        ("Like this:\n    ```python\n    a\n    ```\n", fenced("a\n")),
        ("print(1)", Program("print(1)", fenced=False)),
        ("use `x` and ```y``` here", Program("use `x` and ```y``` here", fenced=False)),
        ("```bash\nls\n```", None),
        ("", None),
        (" \n", None),
    ],
)
def test_the_program_is_the_last_block_of_its_language(completion, expected):
    assert extract_program(completion) == expected


@pytest.mark.parametrize(
    "label",
    [
        *(
            "python",
            "python3",
            "Python",
            "py",
            "py3",
            "python3.11",
            "python-3.12",
            "pypy3.10",
            "PyPy3-64",
            "ipython",
        ),
        *(
            "{.python}",
            "{python}",
            "{ .python }",
            "{.python .numberLines}",
            "python{1,3}",
            "python=",
            "python,editable",
        ),
        *("python:main.py", "language-python", "lang=py", "main.py", "src/main.py", "Python 3", "python2"),
        'python title="main.py"',
    ],
)
def test_a_label_that_names_python_plainly_is_known(label):
    assert extract_program(f"```text\nx\n```\n```{label}\na\n```\n```output\n5\n```") == fenced("a\n")


@pytest.mark.parametrize(
    ("label", "standard"),
    [
        *(
            (each, "c++17")
            for each in ("c++17", "C++17", "cpp17", "gnu++17", "cpp-17", "c++ 17", "C++ (g++ -std=c++17)")
        ),
        *((each, "c++11") for each in ("c++11", "cpp11")),
        *((each, "c++2a") for each in ("c++2a", "cpp2a")),
        *((each, "c++23") for each in ("c++23", "cpp23", "C++23 (GCC 14-64, msys2)")),
        ("cpp:main.cpp", "cpp"),
        ("c++", "c++"),
        ("C++ (GCC 13)", "c++"),
        ("cpp main.cpp", "cpp"),
        ("{.cpp}", "cpp"),
        ("g++", "g++"),
        ("main.cpp", "main.cpp"),
        ("c", "c"),
        ("hpp", "hpp"),
        ("h++", "h++"),
    ],
)
def test_a_label_that_names_cpp_plainly_is_known_with_its_standard(label, standard):
    assert extract_program(f"```{label}\na\n```", "cpp") == Program("a\n", fenced=True, label=standard)


@pytest.mark.parametrize(
    "label", ["text", "pycon", "c#", "csharp", "cuda", "java", "pyrex", "cython", "console"]
)
def test_other_labels_name_neither(label):
    for language in ("python", "cpp"):
        assert extract_program(f"```{label}\na\n```", language) is None


def test_a_near_language_counts_only_where_there_is_no_other():
    assert extract_program("```cpp\na\n```\n```c\nb\n```", "cpp").source == "a\n"
    assert extract_program("```py\na\n```\n```python2\nb\n```").source == "a\n"


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


@pytest.mark.parametrize(
    "unit",
    ["`", "```", "```\n", "```python\n", "~~~x\n", "`\n ", " \t`", "> ", "- ", "1. ", "\t", "- \n", ">\n"],
)
def test_long_hostile_texts_are_read_in_one_pass(unit):
    extract_program(unit * (2_000_000 // len(unit)))
