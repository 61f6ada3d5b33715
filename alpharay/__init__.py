"""alpharay from Python: merge checkpoints, judge programs, draw the best of several samples, run a server.

::

    import alpharay

    alpharay.merge(low="low/", high="high/", alphas=[0.5, 1.5], out="frontier/")
    verdict = alpharay.judge({"kind": "call", "entry_point": "f", "cases": [{"args": [2], "output": 4}]}, answer)
    best = await alpharay.best_of(sample, ["small", "large"], tests, budget=16)
    with alpharay.Server() as server:
        print(server.url)

docs/python.md says more. Everything is loaded at first use, so that `import alpharay` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alpharay.errors import AlpharayError

if TYPE_CHECKING:
    from alpharay._best_of import Best, best_of
    from alpharay._judge import AsyncJudge, judge
    from alpharay._server import Server
    from alpharay.judge.verdict import Verdict, VerdictKind
    from alpharay.merge.write.run import merge

    __version__: str

__all__ = [
    "AlpharayError",
    "AsyncJudge",
    "Best",
    "Server",
    "Verdict",
    "VerdictKind",
    "__version__",
    "best_of",
    "judge",
    "merge",
]

_MODULES = {
    "AsyncJudge": "alpharay._judge",
    "Best": "alpharay._best_of",
    "Server": "alpharay._server",
    "Verdict": "alpharay.judge.verdict",
    "VerdictKind": "alpharay.judge.verdict",
    "best_of": "alpharay._best_of",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("alpharay")
    if name in ("merge", "judge"):
        return import_module(f"alpharay.{name}")  # a package that can be called: see callable_package.py
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'alpharay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
