"""The addresses of the running servers: $CLINIC_STATE/stack.env, or the environment by hand."""

import os
from functools import cache
from pathlib import Path

from clinic.stack_env import read_stack_env

ROOT = Path(__file__).parents[2]


@cache
def stack_env() -> dict[str, str]:
    """Return the stack's KEY=VALUE pairs; the environment's own values come first."""
    values = read_stack_env(Path(os.environ.get("CLINIC_STATE") or ROOT / ".state"))
    return values | {name: value for name, value in os.environ.items() if value}


def needed(name: str) -> str:
    """Return one value, or say what to do."""
    try:
        return stack_env()[name]
    except KeyError:
        raise RuntimeError(
            f"{name} is neither in $CLINIC_STATE/stack.env nor in the environment: run `make up`"
        ) from None
