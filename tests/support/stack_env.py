"""The addresses of the running servers: $CLINIC_STATE/stack.env, or the environment by hand."""

import os
import shlex
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def stack_env() -> dict[str, str]:
    """Return the stack's KEY=VALUE pairs; the environment's own values come first."""
    values: dict[str, str] = {}
    path = Path(os.environ.get("CLINIC_STATE", ROOT / ".state")) / "stack.env"
    if path.exists():
        for line in path.read_text().splitlines():
            name, separator, value = line.partition("=")
            if separator and not name.startswith("#"):
                values[name.strip()] = "".join(shlex.split(value))
    return values | {name: value for name, value in os.environ.items() if value}


def needed(name: str) -> str:
    """Return one value, or say what to do."""
    try:
        return stack_env()[name]
    except KeyError:
        raise RuntimeError(
            f"{name} is neither in $CLINIC_STATE/stack.env nor in the environment: run `make up`"
        ) from None
