"""PDFs: Odoo's reports are printed by a program of another Debian, with its own libraries."""

import subprocess
from io import BytesIO

from pypdf import PdfReader
from support.stacks import CHECKOUT

BOX = CHECKOUT / "stack" / "box"
SENTENCE = "Señora Muñoz: ¿años? 1.234,50 €, vía índice «añadió» pingüino"


def printed(page: str) -> PdfReader:
    done = subprocess.run(
        [str(BOX), "wkhtmltopdf", "--quiet", "-", "-"],
        input=page.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    assert done.stdout.startswith(b"%PDF-")
    return PdfReader(BytesIO(done.stdout))


def test_spanish_text_comes_out_as_text() -> None:
    page = f'<html><head><meta charset="utf-8"></head><body><p>{SENTENCE}</p></body></html>'
    text = printed(page).pages[0].extract_text()
    assert " ".join(text.split()) == SENTENCE


def test_the_letters_are_in_the_file() -> None:
    page = (
        '<html><head><meta charset="utf-8"></head><body style="font-family: DejaVu Sans">'
        f"<p>{SENTENCE}</p></body></html>"
    )
    resources = printed(page).pages[0]["/Resources"]
    fonts = [font.get_object() for font in resources["/Font"].values()]  # type: ignore[index]
    assert fonts
    for font in fonts:
        (descendant,) = font["/DescendantFonts"]
        assert "DejaVu" in str(descendant.get_object()["/BaseFont"])
        assert "/FontFile2" in descendant.get_object()["/FontDescriptor"]
