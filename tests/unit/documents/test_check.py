"""A file in place of the document it should be."""

import hashlib
import io
import json
from pathlib import Path

import pypdf
import pytest
from clinic.documents import check as module
from clinic.documents.check import check_file
from clinic.documents.message import DocumentMessage, parse
from clinic.errors import ParkError
from support.draining import message, pdf


def described(content: bytes) -> DocumentMessage:
    return parse("invoice.created", json.dumps(message(content)).encode())


def spooled(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "spooled"
    path.write_bytes(content)
    return path


def locked(content: bytes) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(content))
    writer.encrypt("secret", algorithm="AES-256")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_a_pdf_that_is_what_was_announced_passes(tmp_path: Path) -> None:
    content = pdf("one")
    check_file(spooled(tmp_path, content), described(content))


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
def test_what_is_no_pdf_is_parked(tmp_path: Path, content: bytes, reason: str, said: str) -> None:
    with pytest.raises(ParkError, match=said) as raised:
        check_file(spooled(tmp_path, content), described(content))
    assert raised.value.reason == reason


def test_a_swapped_byte_is_found(tmp_path: Path) -> None:
    content = bytearray(pdf("one"))
    document = described(bytes(content))
    content[len(content) // 2] ^= 1
    assert hashlib.sha256(content).hexdigest() != document.metadata.sha256
    with pytest.raises(ParkError) as raised:
        check_file(spooled(tmp_path, bytes(content)), document)
    assert raised.value.reason == "wrong_hash"


def test_a_fault_of_the_machine_is_not_the_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(module.pypdf, "PdfReader", fail)
    content = pdf("one")
    with pytest.raises(MemoryError):
        check_file(spooled(tmp_path, content), described(content))
