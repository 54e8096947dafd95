"""Does a PDF open? Asked of a child process, which is ended when it takes too much."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from clinic.documents.fate import TooCostlyError

OPEN_S: Final = 20.0
MEMORY_BYTES: Final = 1_000_000_000
_START_S: Final = 60.0  # importing the parser on a busy machine


class PdfOpener:
    """Opens PDFs, each call in a child of its own; children are kept for the next.

    Args:
        open_s: The longest that opening one file may take.
        memory_bytes: The most memory that it may take.
    """

    def __init__(self, open_s: float = OPEN_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._open_s = open_s
        self._memory_bytes = memory_bytes
        self._idle: SimpleQueue[_Child] = SimpleQueue()

    def problem_of(self, path: Path) -> str:
        """Return what keeps a PDF from being read, as "It …" goes on; empty if nothing does.

        Raises:
            TooCostlyError: It took too long or too much memory, and its child was ended.
        """
        try:
            child = self._idle.get_nowait()
        except Empty:
            child = _Child(self._memory_bytes)
        try:
            problem = child.ask(path, self._open_s)
        except BaseException:
            child.end()
            raise
        self._idle.put(child)
        return problem

    def close(self) -> None:
        """End the children."""
        with contextlib.suppress(Empty):
            while True:
                self._idle.get_nowait().end()


class _Child:
    def __init__(self, memory_bytes: int) -> None:
        program = Path(__file__).with_name("pdf_child.py")
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(program), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a hostile file would write our log
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
        try:
            self._read(_START_S)
        except BaseException:
            self.end()
            raise

    def ask(self, path: Path, longest_s: float) -> str:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # reading says the same
        return self._read(longest_s)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def _read(self, longest_s: float) -> str:
        """Return the child's next line."""
        assert self._process.stdout
        ends_at = time.monotonic() + longest_s
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, ends_at - time.monotonic())):
                    raise TooCostlyError(
                        f"Opening its PDF took longer than {longest_s:.0f} s and was ended. Is the "
                        "machine overloaded, or the file made to keep a reader busy?"
                    )
                part = os.read(self._process.stdout.fileno(), 65536)
                if not part:
                    raise TooCostlyError(
                        "Opening its PDF ended the process that did it: it takes too much memory, "
                        "or the machine has none left."
                    )
                line += part
        return str(json.loads(line))
