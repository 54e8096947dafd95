"""Shortens and masks what a message may say of an error."""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 400

_FRAME: Final = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+)')

# Each pattern, and what stands in its place. Rather too much is masked than too little.
_MASKS: Final = (
    (re.compile(r"\b([a-z][a-z0-9+.-]*://)[^\s/@]+@", re.I), r"\1***@"),
    (re.compile(r"([?&][^\s=&]{1,40}=)[^\s&'\")]+"), r"\1***"),
    (re.compile(r"\b(whsec_|AGE-SECRET-KEY-|ya29\.|GOCSPX-|1//)[\w+/=.-]+"), r"\1***"),
    (re.compile(r"\b(bearer|basic)(\s+)[\w+/=.~-]{8,}", re.I), r"\1\2***"),
    # Not "token endpoint": a word of letters alone is the sentence's next one.
    (re.compile(r"\b(token|apikey)(\s+)(?=\S*[\d_+/=~])[\w+/=.~-]{8,}", re.I), r"\1\2***"),
    (
        re.compile(r"\b(\w*(?:passw|secret|token|api_?key|contrase|pwd)\w*['\"]?\s*[:=]\s*)"
                   r"(?:'[^']*'|\"[^\"]*\"|[^\s,;]+)", re.I),
        r"\1***",
    ),
    (re.compile(r"-----BEGIN [^-]+-----.*", re.S), "***"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), "***"),
    (re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"), "***@***"),
    (re.compile(r"\b(?:\d{8}|[XYZxyz]\d{7})[ -]?[A-Za-z]\b"), "***"),  # DNI and NIE
    (re.compile(r"(?<![\w.:-])(?:\+\d{2} ?)?[6-9]\d{2}(?: ?\d{2,3}){2,3}(?![\w.:-])"), "***"),
    (re.compile(r"\b\d{9,}\b"), "***"),  # numbers of telephones, cards and insured people
    (re.compile(r"\b[\w+/=-]{40,}"), "***"),  # keys: longer than any word, and than any UUID
)  # fmt: skip


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return the text in one line, masked, and not longer than that.

    >>> shortened("GET https://ana:s3cret@odoo.example/x?api_key=abc: HTTP 500")
    'GET https://***@odoo.example/x?api_key=*** HTTP 500'
    """
    text = text[: 20 * longest]  # so that no text, however long, keeps the patterns busy
    for pattern, shown in _MASKS:
        text = pattern.sub(shown, text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def error_in(trace: str, name: str) -> str:
    """Return what a traceback ends with: type, whole message, and where it was.

    >>> error_in("SyntaxError: invalid syntax", "a.py")
    'SyntaxError: invalid syntax'

    Args:
        trace: As Python writes it; one without frames is the error alone.
        name: Of the file that could not be read; where it is named is where to look first.
    """
    lines = trace.strip().splitlines()
    frames = [(number, at) for number, line in enumerate(lines) if (at := _FRAME.match(line))]
    after = lines[frames[-1][0] + 1 :] if frames else lines
    # Lines of source are indented; the message may have lines of any kind.
    skipped = next((number for number, line in enumerate(after) if not line.startswith(" ")), 0)
    said = shortened("\n".join(after[skipped:]))
    if not frames:
        return said
    own = [at for _, at in frames if at["file"].endswith(name)] or [frames[-1][1]]
    return f"{own[-1]['file'].rpartition('/')[2]}:{own[-1]['line']}: {said}"
