"""Backups: whose key opens this installation's archives, and what Airflow is told of it.

The key pair stands in for the administrator's: who keeps real data keeps the private key elsewhere,
puts its public half into the Variable, and deletes this file.
"""

import json
import os
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config, StackError
from clinic_stack.files import write_if_changed

VARIABLE = "clinic_backup_settings"

# The form of the file is age-keygen's, https://github.com/FiloSottile/age#readme.
_NEW_PAIR = (
    "import pyrage; pair = pyrage.x25519.Identity.generate(); "
    "print(f'# public key: {pair.to_public()}\\n{pair}')"
)


def identity_file(config: Config) -> Path:
    """Where the private key lies."""
    return config.state / "backup-identity.txt"


def prepare(config: Config) -> None:
    """Make the key pair, once: a new one would not open what the old one was used for."""
    file = identity_file(config)
    if file.exists():
        return
    pair = run(
        *(config.venv / "bin" / "python", "-c", _NEW_PAIR),
        log=config.state / "log" / "airflow-setup.log",
        environment={"PATH": os.environ["PATH"]},
        log_output=False,
    )
    write_if_changed(file, pair, 0o600)


def variables(config: Config) -> dict[str, str]:
    """The Variables that Airflow starts with; one that a person has set stays as it is.

    Raises:
        StackError: The key's file does not say its public half.
    """
    for line in identity_file(config).read_text().splitlines():
        comment, _, recipient = line.partition("public key: ")
        if comment == "# " and recipient:
            return {VARIABLE: json.dumps({"recipients": [recipient]})}
    raise StackError(
        f"{identity_file(config)} has no line '# public key: age1…'. Put it there, or delete the "
        "file to get a new pair: what was backed up for the old one then stays closed."
    )
