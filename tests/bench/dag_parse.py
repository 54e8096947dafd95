"""How long Airflow takes to parse the DAG folder. Writes build/bench/dag_parse.json.

Each round is a process of its own, as in Airflow's DAG processor. `import_s` is what importing
Airflow costs before any file is read; `parse_s` is what our files add to it.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROUNDS = 5

ROUND = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
started = time.perf_counter()
from airflow.dag_processing.dagbag import DagBag
imported = time.perf_counter()
bag = DagBag(dag_folder=sys.argv[1])
parsed = time.perf_counter()
assert bag.dags and not bag.import_errors, bag.import_errors
print(json.dumps({"import_s": imported - started, "parse_s": parsed - imported,
                  "dags": len(bag.dags)}))
"""


def main() -> None:
    """Parse the folder in fresh processes and keep the medians."""
    rounds = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", ROUND, str(ROOT / "dags")],
                capture_output=True, text=True, check=True, timeout=120,
            ).stdout.splitlines()[-1]
        )
        for _ in range(ROUNDS)
    ]  # fmt: skip
    figures = {
        "dags": rounds[0]["dags"],
        "rounds": ROUNDS,
        **{
            name: round(statistics.median(one[name] for one in rounds), 3)
            for name in ("import_s", "parse_s")
        },
    }
    target = ROOT / "build" / "bench" / "dag_parse.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
