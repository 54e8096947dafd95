"""Cursors, cells of spreadsheets, and what a search looks for."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory_api import paging, sheets
from inventory_api.problems import Problem
from inventory_api.routes.parameters import like

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=50)


@given(text=texts, number=st.integers(0, 2**62))
def test_a_cursor_comes_back_as_it_was(text, number):
    assert paging.decode(paging.encode(text, number), str, int) == (text, number)


@given(cursor=st.text(max_size=60))
def test_whatever_else_is_sent_as_a_cursor_is_a_problem_and_no_crash(cursor):
    try:
        paging.decode(cursor, str, int)
    except Problem as problem:
        assert problem.status == 422  # noqa: PT017


@pytest.mark.parametrize(
    "cursor",
    [
        paging.encode(1, "a"),
        paging.encode("a"),
        paging.encode("\0", 1),
        paging.encode("a", -1),
        paging.encode("a", 2**70),
        "WzEs",
        "ñ",
        "",
    ],
)
def test_another_lists_cursor_is_refused(cursor):
    with pytest.raises(Problem, match="no cursor of this list"):
        paging.decode(cursor, str, int)


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1", "=HYPERLINK(1)", "\n=1"]
)
def test_a_name_that_a_spreadsheet_would_run_is_quoted_in_csv(name):
    text = b"".join(sheets.csv_lines(["name"], [{"name": name}])).decode("utf-8-sig")
    (_, (cell,)) = csv.reader(io.StringIO(text, newline=""))
    assert cell == f"'{name}"


def test_numbers_stay_numbers_in_csv():
    lines = b"".join(sheets.csv_lines(["n", "i"], [{"n": Decimal("-5.50"), "i": -3}]))
    assert lines.decode("utf-8-sig") == "n,i\r\n-5.5,-3\r\n"


@pytest.mark.parametrize(
    ("q", "pattern"),
    [
        (None, None),
        ("  ", None),
        ("ibu 600", "%ibu%600%"),
        ("50%_", r"%50\%\_%"),
        ("a\\", r"%a\\%"),
    ],
)
def test_a_search_takes_its_words_as_they_are(q, pattern):
    assert like(q) == pattern
