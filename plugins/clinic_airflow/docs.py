"""Writes docs/reference/dags.md from the DAGs' own docstrings.

``python -m clinic_airflow.docs`` writes it; with ``--check`` it only says whether it is current.
The files are read, not run: what a DAG says of itself must not depend on a server.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference" / "dags.md"

HEAD = """\
# DAGs

<!-- Generated from dags/*.py by `python -m clinic_airflow.docs`: edit the docstrings there. -->

"""


def render(folder: Path = ROOT / "dags") -> str:
    """Return the page: a table of all DAGs, then each DAG's docstring.

    Raises:
        FileNotFoundError: There is no DAG in ``folder``.
        ValueError: A DAG has no docstring.
    """
    files = sorted(folder.glob("*.py"))
    if not files:
        raise FileNotFoundError(f"no DAG under {folder}")
    rows, sections = [], []
    for file in files:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        text = ast.get_docstring(tree)
        if not text or not text.startswith("# "):
            raise ValueError(f"{file.name} has no docstring that begins with a title")
        title, _, body = text.partition("\n")
        summary = body.strip().split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")
        rows.append(f"| [`{file.stem}`](#{file.stem}) | {_schedule(tree)} | {summary} |")
        body = body.strip().replace("docs/runbooks/", "../runbooks/")
        body = body.replace(
            f"`../runbooks/{file.stem}.md`", f"[the runbook](../runbooks/{file.stem}.md)"
        )
        sections.append(f"## {file.stem}\n\n**{title.removeprefix('# ')}.** {body}\n")
    table = "| DAG | Schedule (UTC) | What it does |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"
    return HEAD + table + "\n".join(sections)


def _schedule(tree: ast.Module) -> str:
    """Return the schedule as the ``@dag`` decorator writes it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "schedule":
            schedule = ast.unparse(node.value).strip("'")
            return "by hand" if schedule == "None" else f"`{schedule}`"
    return "by hand"


def main() -> int:
    """Write or check the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether it is current")
    parser.add_argument("--to", type=Path, default=REFERENCE, help=argparse.SUPPRESS)
    options = parser.parse_args()
    page = render()
    if options.check:
        if options.to.exists() and options.to.read_text(encoding="utf-8") == page:
            return 0
        sys.stderr.write(
            f"{options.to} is older than the DAGs: run `python -m clinic_airflow.docs`\n"
        )
        return 1
    options.to.parent.mkdir(parents=True, exist_ok=True)
    options.to.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
