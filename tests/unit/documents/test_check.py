"""A file in place of the document it should be."""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from clinic.documents.check import check_file
from clinic.documents.fate import TooCostlyError
from clinic.documents.message import DocumentMessage, parse
from clinic.documents.pdf import PdfOpener
from clinic.errors import ParkError
from support.draining import message, pdf


def described(content: bytes) -> DocumentMessage:
    return parse("invoice.created", json.dumps(message(content)).encode())


def spooled(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "spooled"
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def pdfs() -> Iterator[PdfOpener]:
    opener = PdfOpener()
    yield opener
    opener.close()


def locked(content: bytes) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(content))
    writer.encrypt("secret", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_that_is_what_was_announced_passes(tmp_path: Path, pdfs: PdfOpener) -> None:
    content = pdf("one")
    check_file(spooled(tmp_path, content), described(content), pdfs)


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        pytest.param(b"<html></html>", "wrong_type", "an HTML page", id="HTML"),
        pytest.param(b"\xef\xbb\xbf<?xml version='1.0'?>", "wrong_type", "an HTML page", id="BOM"),
        pytest.param(b"<p>" + pdf("one"), "wrong_type", "begins with", id="HTML over a PDF"),
        pytest.param(b"x", "wrong_type", "begins with", id="something"),
        pytest.param(pdf("one")[:-20], "broken_pdf", "cut off", id="cut off"),
        pytest.param(b"%PDF-1.7\n%%EOF", "broken_pdf", "does not open", id="hollow"),
        pytest.param(locked(pdf("one")), "broken_pdf", "password", id="locked"),
    ],
)
def test_what_is_no_pdf_is_parked(
    tmp_path: Path, pdfs: PdfOpener, content: bytes, reason: str, said: str
) -> None:
    with pytest.raises(ParkError, match=said) as raised:
        check_file(spooled(tmp_path, content), described(content), pdfs)
    assert raised.value.reason == reason


def test_a_swapped_byte_is_found(tmp_path: Path, pdfs: PdfOpener) -> None:
    content = bytearray(pdf("one"))
    document = described(bytes(content))
    content[len(content) // 2] ^= 1
    assert hashlib.sha256(content).hexdigest() != document.metadata.sha256
    with pytest.raises(ParkError) as raised:
        check_file(spooled(tmp_path, bytes(content)), document, pdfs)
    assert raised.value.reason == "wrong_hash"


def fifo(tmp_path: Path) -> Path:
    """A file that a reader waits for, for ever."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_file_that_keeps_its_reader_busy_is_left_and_the_next_is_read(tmp_path: Path) -> None:
    opener = PdfOpener(open_s=0.3)
    began = time.monotonic()
    with pytest.raises(TooCostlyError, match="longer than 0 s"):
        opener.problem_of(fifo(tmp_path))
    assert time.monotonic() - began < 60
    assert opener.problem_of(spooled(tmp_path, pdf("one"))) == ""
    opener.close()


def test_a_file_that_takes_all_memory_ends_only_its_reader(tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.write(pdf("one"))
        file.truncate(3_000_000_000)  # a hole: it takes memory to read, and no disk
    opener = PdfOpener(memory_bytes=400_000_000)
    with pytest.raises(TooCostlyError, match="too much memory"):
        opener.problem_of(huge)
    assert opener.problem_of(spooled(tmp_path, pdf("one"))) == ""
    opener.close()


def test_who_reads_a_pdf_knows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://airflow:secret@broker/")
    opener = PdfOpener()
    opener.problem_of(spooled(tmp_path, pdf("one")))
    child = opener._idle.get_nowait()
    assert b"secret" not in Path(f"/proc/{child._process.pid}/environ").read_bytes()
    child.end()
