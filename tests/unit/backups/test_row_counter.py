import random

import pytest
from clinic.backups.source import OdooFacts, RowCounter, compare_rows
from clinic.errors import TransientError
from hypothesis import given
from hypothesis import strategies as st

DUMP = b"""\
--
-- PostgreSQL database dump
--
\\restrict abc
CREATE FUNCTION public.x() AS 'COPY public.not_a_table (a) FROM nowhere;';

COPY public.ir_config_parameter (id, key, value) FROM stdin;
1\tdatabase.uuid\tf00d
2\tother\tx\\ny
\\.


COPY public.empty (id) FROM stdin;
\\.

COPY public.no_columns  FROM stdin;


\\.

COPY public."With Space" (id, "a b") FROM stdin;
1\t\\N
\\.

COPY public.ir_module_module (name, state, latest_version) FROM stdin;
base\tinstalled\t19.0.1.3
sale\tuninstalled\t\\N
\\.

COPY public.ir_attachment (id, store_fname) FROM stdin;
1\tab/abcd
2\t\\N
3\tab/abcd
\\.

ALTER TABLE x;

--
-- PostgreSQL database dump complete
--

"""
TABLES = {
    "public.ir_config_parameter": 2,
    "public.empty": 0,
    "public.no_columns": 2,
    'public."With Space"': 1,
    "public.ir_module_module": 2,
    "public.ir_attachment": 3,
}


@given(st.integers(1, 300), st.booleans())
def test_rows_are_counted_wherever_the_text_is_cut(size: int, listens: bool) -> None:
    facts = OdooFacts()
    counter = RowCounter(facts.listeners if listens else None)
    for begin in range(0, len(DUMP), size):
        counter.feed(DUMP[begin : begin + size])
    counter.finish()
    assert counter.tables == TABLES
    if listens:
        assert facts.database_uuid == "f00d"
        assert facts.modules == {"base": "19.0.1.3"}
        assert facts.files == {"ab/abcd"}


@given(st.integers(0, DUMP.index(b"dump complete")))
def test_a_dump_that_is_cut_off_anywhere_is_found(end: int) -> None:
    counter = RowCounter()
    counter.feed(DUMP[:end])
    with pytest.raises(TransientError, match="cut off"):
        counter.finish()


def test_a_large_table_is_counted_in_pieces() -> None:
    rng = random.Random(1)
    lines = [b"%d\t%s" % (number, b"x" * rng.randrange(300)) for number in range(20_000)]
    text = b"COPY public.large (id, text) FROM stdin;\n" + b"\n".join(lines) + b"\n\\.\n"
    text += DUMP[-50:]
    counter = RowCounter()
    while text:
        size = rng.randrange(1, 70_000)
        counter.feed(text[:size])
        text = text[size:]
    counter.finish()
    assert counter.tables == {"public.large": 20_000}


@pytest.mark.parametrize("dumped", [{"a": 1}, {"a": 1, "b": 3}, {"a": 1, "b": 2, "c": 0}])
def test_a_table_too_few_too_many_or_with_other_rows_is_found(dumped: dict[str, int]) -> None:
    compare_rows({"a": 1, "b": 2}, {"a": 1, "b": 2})
    with pytest.raises(TransientError, match="1 tables have other numbers of rows"):
        compare_rows({"a": 1, "b": 2}, dumped)
