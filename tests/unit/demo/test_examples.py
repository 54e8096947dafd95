"""The examples in the docstrings of `clinic.demo` are true."""

from __future__ import annotations

import doctest
from types import ModuleType

import pytest
from clinic.demo import catalogue, clinic, show


@pytest.mark.parametrize("module", [catalogue, clinic, show], ids=lambda module: module.__name__)
def test_examples(module: ModuleType) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted > 0
    assert outcome.failed == 0
