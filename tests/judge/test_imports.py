"""What each part of the judge costs to import."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("alpharay.judge.verdict", {"asyncio", "subprocess", "json"}),
        ("alpharay.judge.command", {"vllm", "ray", "torch", "numpy", "fastapi"}),
    ],
)
def test_an_import_stays_light(module, without):
    script = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    ).stdout.split()
    assert module in loaded
    assert without & set(loaded) == set()


def test_every_public_name_is_there():
    import alpharay.judge

    for name in alpharay.judge.__all__:
        assert getattr(alpharay.judge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = alpharay.judge.nothing
