"""What the repository declares and running servers hold: a schema and a realm.

Both are applied by the commands that an administrator would use, with the values of stack.env.
"""

import os

from clinic_stack import environment, postgres
from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.credentials import Credentials
from clinic_stack.files import fingerprint, tree_fingerprint
from clinic_stack.progress import Progress


def _clinic(config: Config, words: Credentials, *arguments: str, log_name: str) -> None:
    run(
        config.venv / "bin" / "python",
        "-m",
        "clinic.cli",
        *arguments,
        log=config.state / "log" / log_name,
        environment=environment.values(config, words)
        | {
            "PYTHONPATH": str(config.checkout / "include"),
            "PATH": os.environ["PATH"],
            "REQUESTS_CA_BUNDLE": str(config.ca_bundle),
        },
        cwd=config.checkout,
    )


def migrate_shared_database(config: Config, words: Credentials, progress: Progress) -> None:
    """Set up the roles by sql/roles.sql, and apply the migrations that are missing."""
    sql = config.checkout / "sql"
    code = config.checkout / "include" / "clinic" / "shared_db_commands.py"
    wanted = fingerprint(tree_fingerprint([sql, code]), config.venv)
    mark = config.state / "run" / "shared-database.applied"
    if mark.exists() and mark.read_text() == wanted:
        return
    with progress.step("The shared database's schema"):
        variables = "".join(
            f"\\set {role}_password '{words[f'database_clinica_{role}']}'\n"
            for role in ("owner", "sync", "api", "readonly")
        )
        postgres.live_server(config).sql(variables + f"\\i {sql / 'roles.sql'}\n")
        _clinic(config, words, "db", "migrate", log_name="shared-database.log")
        mark.write_text(wanted)


def apply_keycloak(config: Config, words: Credentials, progress: Progress) -> None:
    """Bring the realm to what keycloak/ declares, if that or an address in it has changed."""
    paths = [config.checkout / "keycloak", config.checkout / "include" / "clinic" / "identity"]
    wanted = fingerprint(tree_fingerprint(paths), config.first_port, config.domain)
    mark = config.state / "run" / "keycloak.applied"
    if mark.exists() and mark.read_text() == wanted:
        return
    with progress.step("Keycloak's realm"):
        _clinic(config, words, "keycloak", "apply", log_name="keycloak-apply.log")
        mark.write_text(wanted)
