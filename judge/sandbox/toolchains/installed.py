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
    found = _look(language)
    if isinstance(found, LanguageUnavailable):
        raise LanguageUnavailable(str(found))
    return found


def present() -> dict[str, Toolchain]:
    """By language, what is installed."""
    looked = {language: _look(language) for language in FINDERS}
    return {name: found for name, found in looked.items() if isinstance(found, Toolchain)}


def forget() -> None:
    """Looks anew next time."""
    _look.cache_clear()
    cpp.find.cache_clear()
    node.look.cache_clear()
