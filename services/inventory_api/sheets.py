"""Reports as files that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import IO, Any, Final

import xlsxwriter

from inventory_api.models import plain

CSV_TYPE: Final = "text/csv; charset=utf-8"
XLSX_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
CHUNK_BYTES: Final = 65_536
IN_MEMORY_BYTES: Final = 2_000_000


def guarded(value: object) -> str:
    """Return a cell of a CSV file; a text that a spreadsheet would run as a formula is quoted.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    text = str(value)
    is_formula = text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith(
        ("\t", "\r", "\n")
    )
    return f"'{text}" if is_formula and not isinstance(value, int) else text


def csv_lines(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield a CSV file (RFC 4180), with the mark by which Excel knows UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    text.write("\ufeff")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([guarded(row[column]) for column in columns])
        if text.tell() > CHUNK_BYTES:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def xlsx_file(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> IO[bytes]:
    """Write an XLSX file, on disk when it is large; texts are texts, whatever they begin with."""
    # The caller reads and closes it.
    file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115
    with xlsxwriter.Workbook(file, {"constant_memory": True, "in_memory": False}) as book:
        sheet = book.add_worksheet("Movimientos")
        sheet.freeze_panes(1, 0)
        for column, name in enumerate(columns):
            sheet.write_string(0, column, name)
        for line, row in enumerate(rows, 1):
            for column, name in enumerate(columns):
                value = row[name]
                if isinstance(value, Decimal | int):
                    sheet.write_number(line, column, float(value))
                elif value is not None:
                    sheet.write_string(line, column, str(value)[:32_767])
    file.seek(0)
    return file


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file and close it."""
    with file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
