"""Which languages have their toolchain on this machine."""

import functools
from collections.abc import Callable

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.sandbox.toolchains import cpp, go, java, node, rust
from alpharay.judge.sandbox.toolchains.tools import Toolchain

FINDERS: dict[str, Callable[[], Toolchain]] = {
    "cpp": cpp.find,
    "rust": rust.find,
    "go": go.find,
    "java": java.find,
    "javascript": node.find,
    "typescript": node.find_typescript,
}


@functools.cache
def _look(language: str) -> Toolchain | LanguageUnavailable:
    try:
        return FINDERS[language]()
    except LanguageUnavailable as error:
        return error


def find(language: str) -> Toolchain:
    """Raises LanguageUnavailable, with the way out, when something is not installed."""
    outcome = _look(language)
    if isinstance(outcome, LanguageUnavailable):
        raise LanguageUnavailable(str(outcome))
    return outcome


def present() -> dict[str, Toolchain]:
    """By language, what is installed."""
    outcomes = {language: _look(language) for language in FINDERS}
    return {name: toolchain for name, toolchain in outcomes.items() if isinstance(toolchain, Toolchain)}


def forget() -> None:
    """Clears what was found: the next call looks again."""
    _look.cache_clear()
    cpp.find.cache_clear()
    node.look.cache_clear()
