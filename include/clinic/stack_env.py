"""The addresses and credentials of the running servers, as ``make up`` writes them down."""

from __future__ import annotations

import shlex
from pathlib import Path


def read_stack_env(state: Path) -> dict[str, str]:
    """Return the KEY=VALUE pairs of a state folder's ``stack.env``; none where there is no file.

    Args:
        state: The folder that ``$CLINIC_STATE`` names.
    """
    path = state / "stack.env"
    if not path.exists():
        return {}
    pairs = (
        line.partition("=")
        for line in path.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    return {name: "".join(shlex.split(quoted)) for name, _, quoted in pairs}
