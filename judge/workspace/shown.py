"""pytest for a workspace: its own modules out of the environment that the judge runs in, ready to be unpacked.

Compiled once, since the sandbox's copies are as new as each run. What is not installed is not shown.
"""

import functools
import importlib.metadata
import importlib.util
import py_compile
import re
import tempfile
from pathlib import Path

from alpharay.judge.errors import LanguageUnavailable
from alpharay.judge.guest.workspace import TOOLS
from alpharay.judge.workspace.files import Tree

_ROOT = "pytest"
# Of the languages that pytest's highlighter knows it shows these two, and all others are most of it.
_LEFT_OUT = re.compile(
    r"pygments/(?:lexers/(?!__init__|_mapping|python|diff)|styles/(?!__init__|_mapping|default))"
)


@functools.cache
def pytest_files() -> Tree:
    """By path in the workspace. Raises LanguageUnavailable."""
    tree: Tree = {}
    waiting, seen = [_ROOT], {_ROOT}
    while waiting:
        name = waiting.pop()
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            if name == _ROOT:
                raise LanguageUnavailable(
                    "tests that run pytest need it beside alpharay; install it with: pip install pytest"
                ) from None
            continue
        from packaging.requirements import Requirement  # which pytest brings

        tree |= _modules(package)
        for required in package.requires or []:
            requirement = Requirement(required)
            name = requirement.name.lower()
            # Not what is only for another system: Ray has such a package within its own, in parts.
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and name not in seen:
                seen.add(name)
                waiting.append(name)
    return tree


def _modules(package: importlib.metadata.Distribution) -> Tree:
    tree: Tree = {}
    with tempfile.TemporaryDirectory() as folder:
        for file in package.files or []:
            if file.suffix != ".py" or ".." in file.parts or _LEFT_OUT.match(file.as_posix()):
                continue
            source = Path(str(package.locate_file(file)))
            tree[f"{TOOLS}/{file.as_posix()}"] = source.read_bytes()
            cached = Path(importlib.util.cache_from_source(str(file)))
            compiled = Path(folder) / "module.pyc"
            py_compile.compile(
                str(source),
                str(compiled),
                dfile=file.as_posix(),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            tree[f"{TOOLS}/{cached.as_posix()}"] = compiled.read_bytes()
    return tree
