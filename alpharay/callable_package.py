"""`alpharay.merge` and `alpharay.judge` are packages and functions at once.

Python binds the attribute `alpharay.merge` to the package as soon as any part of it is imported, so a function
of that name in `alpharay` would last until then. A package that can be called is right in every order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(name: str, load: Callable[[], Callable[..., Any]]) -> None:
    """Has calls of the package `name` call what `load()` returns; it is loaded at the first call."""

    class CallablePackage(ModuleType):
        def __call__(self, *arguments: Any, **options: Any) -> Any:
            return load()(*arguments, **options)

    sys.modules[name].__class__ = CallablePackage
