"""The examples in docstrings say what is so."""

import doctest
import importlib
import pkgutil

import clinic
import clinic_airflow
import pytest

PACKAGES = (clinic, clinic_airflow)
WITH_EXAMPLES = [
    module
    for package in PACKAGES
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if found.name != "clinic.__main__"
    for module in [importlib.import_module(found.name)]
    if any(test.examples for test in doctest.DocTestFinder().find(module))
]


@pytest.mark.parametrize("module", WITH_EXAMPLES, ids=lambda module: module.__name__)
def test_the_examples_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_examples_are_found() -> None:
    assert len(WITH_EXAMPLES) >= 10
