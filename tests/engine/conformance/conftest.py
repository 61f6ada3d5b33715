"""Every test here runs against the ensemble and against a pinned member; `python -m tests.engine.conformance` names others."""

from __future__ import annotations

import os

import pytest

from .target import Target

# Of a server that is running already, and the models of it to ask for.
URL, MODELS = "CONFORMANCE_URL", "CONFORMANCE_MODELS"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "target" in metafunc.fixturenames:
        models = os.environ.get(MODELS, "frontier,frontier@1").split(",")
        metafunc.parametrize("target", models, indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Target:
    root = os.environ.get(URL) or request.getfixturevalue("server").root
    return Target(root, request.param)
