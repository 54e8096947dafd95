"""PDFs: Odoo's reports are printed by a program of another Debian, with its own libraries."""

import base64
import subprocess
from io import BytesIO
from pathlib import Path

from pypdf import PdfReader
from support.stacks import CHECKOUT

BOX = CHECKOUT / "stack" / "box"
OTHER_FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSerif.ttf")
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


def embedded_fonts(document: PdfReader) -> list[str]:
    """The names of the fonts whose letters are in the file."""
    found = []
    resources = document.pages[0]["/Resources"]
    for font in resources["/Font"].values():  # type: ignore[index]
        (descendant,) = font.get_object()["/DescendantFonts"]
        assert "/FontFile2" in descendant.get_object()["/FontDescriptor"]
        found.append(str(descendant.get_object()["/BaseFont"]))
    return found


def test_spanish_text_comes_out_as_text() -> None:
    page = f'<html><head><meta charset="utf-8"></head><body><p>{SENTENCE}</p></body></html>'
    text = printed(page).pages[0].extract_text()
    assert " ".join(text.split()) == SENTENCE


def test_text_stays_text_where_a_page_brings_its_own_font() -> None:
    own = base64.b64encode(OTHER_FONT.read_bytes()).decode()
    face = f"@font-face {{ font-family: Own; src: url(data:font/ttf;base64,{own}) }}"
    page = (
        f'<html><head><meta charset="utf-8"><style>{face}</style></head>'
        f'<body style="font-family: Own"><p>{SENTENCE}</p></body></html>'
    )
    document = printed(page)
    assert " ".join(document.pages[0].extract_text().split()) == SENTENCE
    assert embedded_fonts(document) == ["/DejaVuSans"]
