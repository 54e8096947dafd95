"""Opens PDFs in a process of its own: a line with a path in, a line with what is wrong out.

A hostile file can keep a parser busy for hours or have it take all memory. This process may be
ended, gets no secret by its environment, and takes no more memory than it is told to. It is run as
a file, by ``python -I``, and imports nothing of the clinic.
"""

import json
import resource
import signal
import sys

import pypdf

_ALONE_S = 60
"""After this, whoever asked has given up or is gone: the process ends, whatever the parser does."""


def problem_of(path: str) -> str:
    """Return what keeps a PDF from being read; empty if nothing does."""
    try:
        with pypdf.PdfReader(path) as reader:
            if reader.is_encrypted:
                return "needs a password to open"
            return "" if len(reader.pages) else "has no page"
    except (OSError, MemoryError):  # the machine's fault, or the limit: who asked decides
        raise
    except Exception as error:  # noqa: BLE001 - a broken file makes pypdf raise nearly anything
        return f"does not open: {str(error)[:200]}"


def main() -> None:
    """Answer until nobody asks any more."""
    limit_bytes = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        signal.alarm(_ALONE_S)
        print(json.dumps(problem_of(json.loads(line))), flush=True)
        signal.alarm(0)


if __name__ == "__main__":
    main()
