"""The ``q`` parameter of files.list. What the grammar does not have is a 400, never "matches all".

Source: https://developers.google.com/workspace/drive/api/guides/ref-search-terms
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from drive_emulator.errors import invalid

Predicate = Callable[[Mapping[str, Any]], bool]

_TOKEN = re.compile(
    r"\s*(?:'(?P<string>(?:\\['\\]|[^'\\])*)'|(?P<sign><=|>=|!=|[()=<>{}])|(?P<word>[A-Za-z]\w*))"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def compile_query(text: str, root_id: str) -> Predicate:
    """Return what decides whether a file matches.

    Args:
        text: The parameter.
        root_id: What ``'root' in parents`` means for the caller.

    Raises:
        DriveError: 400.
    """
    parser = _Parser(_tokens(text), root_id)
    found = parser.either()
    if parser.tokens:
        raise invalid("Invalid Value")
    return found


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at, text = [], 0, text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match or not match.lastgroup:
            raise invalid("Invalid Value")
        value = match[match.lastgroup]
        if match.lastgroup == "string":
            value = re.sub(r"\\(.)", r"\1", value)
        found.append((match.lastgroup, value))
        at = match.end()
    return found


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]], root_id: str) -> None:
        self.tokens = tokens
        self._root_id = root_id

    def _take(self, kind: str, *values: str) -> str:
        if not self.tokens or self.tokens[0][0] != kind:
            raise invalid("Invalid Value")
        value = self.tokens.pop(0)[1]
        if values and value not in values:
            raise invalid("Invalid Value")
        return value

    def _next_is(self, kind: str, value: str) -> bool:
        if self.tokens[:1] == [(kind, value)]:
            self.tokens.pop(0)
            return True
        return False

    def either(self) -> Predicate:
        parts = [self.both()]
        while self._next_is("word", "or"):
            parts.append(self.both())
        return lambda file: any(part(file) for part in parts)

    def both(self) -> Predicate:
        parts = [self.term()]
        while self._next_is("word", "and"):
            parts.append(self.term())
        return lambda file: all(part(file) for part in parts)

    def term(self) -> Predicate:
        if self._next_is("word", "not"):
            inner = self.term()
            return lambda file: not inner(file)
        if self._next_is("sign", "("):
            inner = self.either()
            self._take("sign", ")")
            return inner
        if self.tokens[:1] and self.tokens[0][0] == "string":
            value = self._take("string")
            self._take("word", "in")
            self._take("word", "parents")
            parent = self._root_id if value == "root" else value
            return lambda file: parent in file["parents"]
        return self._comparison(self._take("word"))

    def _comparison(self, name: str) -> Predicate:
        match name:
            case "name" | "mimeType":
                return self._text(name)
            case "trashed" | "starred":
                sign = self._take("sign", "=", "!=")
                wanted = (self._take("word", "true", "false") == "true") == (sign == "=")
                return lambda file: bool(file[name]) == wanted
            case "modifiedTime" | "createdTime":
                compare = _COMPARE[self._take("sign", *_COMPARE)]
                when = _instant(self._take("string"))
                return lambda file: compare(_instant(file[name]), when)
            case "appProperties" | "properties":
                return self._property(name)
        raise invalid("Invalid Value")

    def _text(self, name: str) -> Predicate:
        if self._next_is("word", "contains"):
            wanted = self._take("string").lower()
            if name == "name":  # Drive finds words by their beginnings
                return lambda file: (
                    any(
                        word.startswith(wanted)
                        for word in re.split(r"[\s_.-]+", file[name].lower())
                    )
                    or file[name].lower().startswith(wanted)
                )
            return lambda file: file[name].startswith(wanted)
        sign = self._take("sign", "=", "!=")
        value = self._take("string")
        return lambda file: (file[name] == value) == (sign == "=")

    def _property(self, name: str) -> Predicate:
        self._take("word", "has")
        self._take("sign", "{")
        self._take("word", "key")
        self._take("sign", "=")
        key = self._take("string")
        self._take("word", "and")
        self._take("word", "value")
        self._take("sign", "=")
        value = self._take("string")
        self._take("sign", "}")
        return lambda file: file.get(name, {}).get(key) == value


def _instant(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise invalid("Invalid Value") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
