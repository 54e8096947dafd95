"""The query parameters of a call: each method knows its own, and refuses the rest."""

from __future__ import annotations

from starlette.requests import Request

from drive_emulator.errors import invalid

ANY_CALL = frozenset({"alt", "fields", "prettyPrint", "key", "quotaUser"})


class Parameters:
    """The parameters of one request.

    Args:
        request: The request.
        known: What this method takes besides what every call does.

    Raises:
        DriveError: 400, for one it does not know, or that is given twice.
    """

    def __init__(self, request: Request, *known: str) -> None:
        pairs = request.query_params.multi_items()
        for name, _ in pairs:
            if name not in ANY_CALL and name not in known:
                raise invalid(f'Unknown query parameter "{name}"')
        self._values = dict(pairs)
        if len(self._values) != len(pairs):
            raise invalid("A query parameter is given twice")
        if self.text("alt", "json") not in {"json", "media"}:
            raise invalid("Invalid value for alt")

    def text(self, name: str, default: str = "") -> str:
        """Return a text."""
        return self._values.get(name, default)

    def flag(self, name: str) -> bool:
        """Return a boolean, false by default."""
        value = self._values.get(name, "false")
        if value not in {"true", "false"}:
            raise invalid(f"Invalid value for {name}")
        return value == "true"

    def number(self, name: str, default: int, lowest: int, highest: int) -> int:
        """Return a number in a range."""
        value = self._values.get(name, str(default))
        if not value.isdecimal() or not lowest <= int(value) <= highest:
            raise invalid(f"Invalid value for {name}: {lowest} to {highest}")
        return int(value)
