"""Put each measured figure beside its goal. Reads build/bench/*.json, writes verdict.json there."""

import json
from pathlib import Path
from typing import Any

from clinic.tables import print_table

BENCH = Path(__file__).parents[2] / "build" / "bench"

# (what, file, keys down to the figure, the most that it may be)
GOALS: list[tuple[str, str, tuple[str, ...], float]] = [
    ("warm `make up`, s", "stack", ("warm_up_s",), 60),
    ("`make up` when all runs, s", "stack", ("up_again_s",), 3),
    ("10/s, commit to row, p50 ms", "inventory", ("sync", "latency", "10/s", "p50_ms"), 25),
    ("10/s, commit to row, p99 ms", "inventory", ("sync", "latency", "10/s", "p99_ms"), 100),
    ("50/s, commit to row, p50 ms", "inventory", ("sync", "latency", "50/s", "p50_ms"), 25),
    ("50/s, commit to row, p99 ms", "inventory", ("sync", "latency", "50/s", "p99_ms"), 100),
    ("gap between two runs, ms", "inventory", ("sync_by_dag", "gap", "max_ms"), 1000),
    ("cost on a done move, ratio", "feed", ("move", "ratio"), 1.05),
    ("parsing our DAG files, s", "dag_parse", ("parse_s",), 0.5),
    ("posting ten invoices, ratio", "documents_posting", ("posting", "ratio"), 1.05),
    ("Celery's documents/s to the drain's", "documents", ("celery_to_drain",), 1),
    ("documents lost under kill -9", "documents", ("killed", "lost"), 0),
    ("documents stored twice", "documents", ("killed", "stored_twice"), 0),
    ("documents told twice", "documents", ("killed", "told_twice"), 0),
    ("backup beside the script, ratio", "backups", ("ratio", "median"), 1.10),
    ("memory of a backup, MiB", "backups", ("backup", "peak_rss_mib"), 200),
]


def figure(file: str, keys: tuple[str, ...]) -> float | None:
    """Return one figure, or None where it was not measured."""
    path = BENCH / f"{file}.json"
    value: Any = json.loads(path.read_text()) if path.exists() else {}
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def main() -> None:
    """Print the table, and keep it."""
    verdicts, rows = [], []
    for what, file, keys, goal in GOALS:
        measured = figure(file, keys)
        met = None if measured is None else measured <= goal
        verdicts.append({"what": what, "measured": measured, "goal": goal, "met": met})
        said = {None: "not measured", True: "yes", False: "NO"}[met]
        rows.append((what, measured, f"<= {goal:g}", said))
    (BENCH / "verdict.json").write_text(json.dumps(verdicts, indent=2) + "\n")
    print_table(("what", "measured", "goal", "met"), rows)


if __name__ == "__main__":
    main()
