"""What all tests share: where the running stack is."""

import pytest
from support.stack_env import needed
from support.stack_env import stack_env as read_stack_env


@pytest.fixture(scope="session")
def stack_env() -> dict[str, str]:
    """Addresses and credentials of the running servers, from ``$CLINIC_STATE/stack.env``."""
    needed("GATEWAY_URL")  # says what to do where nothing runs
    return read_stack_env()
