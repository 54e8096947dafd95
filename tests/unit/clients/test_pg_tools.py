"""Programs of PostgreSQL that hang."""

import pytest
from clinic.clients.pg_tools import piped
from clinic.errors import TransientError


def test_a_program_that_is_read_from_and_hangs_is_ended() -> None:
    with (
        pytest.raises(TransientError, match="Reading it: sleep was ended by signal 9"),
        piped("Reading it", ["/bin/sleep", "250"], {}, timeout_s=0.1) as read,
    ):
        assert read(1) == b""
