"""What all tests share: where the running stack is."""

import os
import shlex
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stack_env() -> dict[str, str]:
    """Addresses and credentials of the running servers, from ``$CLINIC_STATE/stack.env``."""
    folder = os.environ.get("CLINIC_STATE") or str(Path(__file__).parents[1] / ".state")
    path = Path(folder, "stack.env")
    if not path.exists():
        pytest.fail(f"{path} is not there: start the servers with `make up`", pytrace=False)
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
