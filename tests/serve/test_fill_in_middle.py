import pytest

from alpharay.serve.engine import fill_in_middle


@pytest.mark.parametrize(
    ("vocabulary", "wanted"),
    [
        (
            {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
            "<|fim_prefix|>A<|fim_suffix|>B<|fim_middle|>",
        ),
        ({"<fim_prefix>", "<fim_suffix>", "<fim_middle>"}, "<fim_prefix>A<fim_suffix>B<fim_middle>"),
        ({"<fim-prefix>", "<fim-suffix>", "<fim-middle>"}, "<fim-prefix>A<fim-suffix>B<fim-middle>"),
        (
            {"<\uff5cfim\u2581begin\uff5c>", "<\uff5cfim\u2581hole\uff5c>", "<\uff5cfim\u2581end\uff5c>"},
            "<\uff5cfim\u2581begin\uff5c>A<\uff5cfim\u2581hole\uff5c>B<\uff5cfim\u2581end\uff5c>",
        ),
        ({"[SUFFIX]", "[PREFIX]"}, "[SUFFIX]B[PREFIX]A"),
    ],
)
def test_each_family_is_asked_in_its_own_layout(vocabulary, wanted):
    words = fill_in_middle.layout(vocabulary | {"a", "b"})
    assert words is not None
    assert fill_in_middle.prompt(words, "A", "B") == wanted


def test_texts_that_name_the_places_are_left_as_they_are():
    words = fill_in_middle.layout({"[SUFFIX]", "[PREFIX]"})
    assert fill_in_middle.prompt(words, "suffix", "prefix{0}") == "[SUFFIX]prefix{0}[PREFIX]suffix"


@pytest.mark.parametrize("vocabulary", [set(), {"prefix", "suffix"}, {"<fim_prefix>", "<fim_suffix>"}])
def test_a_model_without_the_words_is_not_asked(vocabulary):
    assert fill_in_middle.layout(vocabulary) is None
