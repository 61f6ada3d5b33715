"""What is done to the array before a task, and to the answer after it."""

# name -> (statements, expression of one value v)
TRANSFORMS: dict[str, tuple[tuple[str, ...], str]] = {
    "square": (
        ("Each value v is first replaced by its square.", "Before anything else, square every value."),
        "v*v",
    ),
    "distance": (
        ("Each value v is first replaced by |v-5|.", "Before anything else, turn every value v into |v-5|."),
        "abs(v-5)",
    ),
    "last digit": (
        (
            "Each value v is first replaced by v mod 10.",
            "Before anything else, keep only the last digit of every value.",
        ),
        "v%10",
    ),
    "double": (
        ("Each value v is first replaced by 2*v+1.", "Before anything else, turn every value v into 2*v+1."),
        "2*v+1",
    ),
    "half": (
        (
            "Each value v is first replaced by v div 2.",
            "Before anything else, halve every value, rounding down.",
        ),
        "v//2",
    ),
}

# name -> (statements, the printed expression)
WRAPS: dict[str, tuple[tuple[str, ...], str]] = {
    "one": (("Print the answer plus one.", "Add one to the answer and print it."), "ans + 1"),
    "twice": (("Print twice the answer.", "Print the answer times two."), "ans * 2"),
    "minus": (("Print minus the answer.", "Print the answer with its sign changed."), "-ans"),
    "97": (("Print the answer modulo 97.", "Print the remainder of the answer by 97."), "ans % 97"),
    "1009": (("Print the answer modulo 1009.", "Print the remainder of the answer by 1009."), "ans % 1009"),
}

ANY = ("", "", "", *TRANSFORMS)  # half of the problems or so leave the array as it is
