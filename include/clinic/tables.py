"""Rows for a person's screen or for a pipe; nothing is ever cut."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

_GAP = "  "


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows with the names of their columns.

    In a pipe: a line a row, with tabs between, so that ``cut`` and ``awk`` read it. On a terminal:
    aligned; where that is wider than the terminal, each value on a line of its own, so that a name
    or an address stays in one piece and can be copied.
    """
    cells = [[_one_line(value) for value in row] for row in rows]
    if not sys.stdout.isatty():
        lines = ["\t".join(row) for row in (columns, *cells)]
    else:
        lines = _for_a_screen(columns, cells, shutil.get_terminal_size().columns)
    typer.echo("\n".join(lines))


def readable_size(size_bytes: int) -> str:
    """Say how large something is: ``12.3 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    size, unit = size_bytes / 1024, "KiB"
    for larger in ("MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.1f} {unit}"


def _one_line(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        named: Mapping[Any, Any] = value
        value = ", ".join(f"{name}: {_one_line(held)}" for name, held in named.items())
    return " ".join(str(value).split())


def _for_a_screen(columns: Sequence[str], rows: list[list[str]], width: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    if sum(widths) + len(_GAP) * (len(widths) - 1) <= width:
        return [
            _GAP.join(map(str.ljust, row, widths)).rstrip()
            for row in (columns, ["-" * each for each in widths], *rows)
        ]
    label = max(map(len, columns))
    lines = []
    for row in rows:
        lines += [
            f"{name:<{label}}{_GAP}{cell}".rstrip() for name, cell in zip(columns, row, strict=True)
        ]
        lines.append("")
    return lines
