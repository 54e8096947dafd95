"""Tables of the command line: on a screen, in a pipe, and never cut."""

import os
import pty
import sys

import pytest
from clinic.tables import print_table, readable_size

NAME = "clinica-full-20261124T020000Z-" + 60 * "a" + ".age"
ROWS = [
    ("stored", NAME, {"url": "https://drive.example/1", "size": 3}),
    ("failed", None, "[/no]\nx"),
]
COLUMNS = ("state", "name", "detail")


def on_a_screen(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    master, slave = pty.openpty()
    monkeypatch.setenv("COLUMNS", str(width))
    with os.fdopen(slave, "w") as screen, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", screen)
        print_table(COLUMNS, ROWS)
        screen.flush()
        text = os.read(master, 65536).decode()
    os.close(master)
    return text.splitlines()


def test_in_a_pipe_a_row_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "state\tname\tdetail",
        f"stored\t{NAME}\turl: https://drive.example/1, size: 3",
        "failed\t\t[/no] x",
    ]


def test_a_wide_screen_shows_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    head, rule, first, second = on_a_screen(monkeypatch, 200)
    assert head.split() == list(COLUMNS)
    assert set(rule) == {"-", " "}
    assert first.index(NAME) == head.index("name")
    assert second.index("[/no] x") == head.index("detail")


def test_a_narrow_screen_shows_every_value_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    assert on_a_screen(monkeypatch, 80) == [
        "state   stored",
        f"name    {NAME}",
        "detail  url: https://drive.example/1, size: 3",
        "",
        "state   failed",
        "name",
        "detail  [/no] x",
        "",
    ]


@pytest.mark.parametrize(
    ("size_bytes", "said"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (12_897_123, "12.3 MiB"),
        (5 * 1024**3, "5.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_a_size_is_readable(size_bytes: int, said: str) -> None:
    assert readable_size(size_bytes) == said
