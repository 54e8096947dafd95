"""The filled databases: made once into the cache, copied for each new state folder.

Two layers: `base` depends on versions only and takes minutes; `full` adds this repository's Odoo
addons and takes seconds, so a changed addon does not cost the whole.
"""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from clinic_stack import airflow, keycloak, odoo, postgres
from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.fetch import describe
from clinic_stack.files import fingerprint, tree_fingerprint, write_if_changed
from clinic_stack.locks import locked
from clinic_stack.progress import Progress, together

# Files whose change makes other databases than before.
INPUTS = ("databases.py", "postgres.py", "odoo.py", "keycloak.py", "../odoo/language.py")
SNAPSHOTS_KEPT = 3


def snapshot(config: Config, progress: Progress) -> None:
    """Make the cached cluster and file store for this checkout, if they are not there."""
    base, full = _wanted(config)
    with locked(_lock(config), alone=True):
        # Nobody else is at work here, so what is half made will never be finished.
        for path in config.cache.glob("databases-*.new"):
            shutil.rmtree(path, ignore_errors=True)
        if not base.is_dir():
            with progress.step(
                "Databases", "Odoo with Spanish and its modules, Airflow, Keycloak: once"
            ):
                _make(base, lambda new: _fill(config, new, progress))
        if not full.is_dir():
            addons = ", ".join(odoo.own_addons(config.checkout))
            with progress.step("Databases, with this repository's addons", addons):
                _make(full, lambda new: _add_addons(config, base, new))
        for path in (base, full):
            path.touch()
        _forget_old(config.cache)


def _wanted(config: Config) -> tuple[Path, Path]:
    """Where this checkout's two layers lie in the cache; one folder when it has no addons."""
    own = Path(__file__).parent
    key = fingerprint(describe(config), *((own / name).read_text() for name in INPUTS))
    base = config.cache / f"databases-base-{key}"
    addons = odoo.own_addons(config.checkout)
    if not addons:
        return base, base
    key = fingerprint(base.name, tree_fingerprint(addons.values()))
    return base, config.cache / f"databases-full-{key}"


def _lock(config: Config) -> Path:
    """Held alone by who makes or removes snapshots, together by those who copy one."""
    return config.cache / "databases.lock"


def _make(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder beside `target` and rename it, so that a half-made one is never used."""
    new = target.with_name(target.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    fill(new)
    new.rename(target)


def _fill(config: Config, new: Path, progress: Progress) -> None:
    log = config.cache / "log" / "databases.log"
    cluster = new / "postgres"
    postgres.initdb(cluster, log)
    port, *keycloak_ports = free_ports(3)
    with postgres.temporary_server(cluster, port, log) as server:
        postgres.create_roles_and_databases(server)

        def fill_odoo() -> None:
            with progress.step("  Odoo's database"):
                conf = _temporary_conf(config, new, server)
                own_log = log.with_name("databases-odoo.log")
                odoo.install(conf, odoo.MODULES, own_log, f"--load-language={odoo.LANGUAGE}")
                script = (config.stack / "odoo" / "language.py").read_text()
                odoo.shell(conf, script, {"language": odoo.LANGUAGE}, own_log)
                odoo.disown(server)

        def fill_airflow() -> None:
            with progress.step("  Airflow's database"):
                sockets = server.socket_directory
                url = f"postgresql+psycopg2://airflow@/airflow?host={sockets}&port={port}"
                airflow.migrate(config, url, log.with_name("databases-airflow.log"))

        def fill_keycloak() -> None:
            with progress.step("  Keycloak's database"):
                ports = (keycloak_ports[0], keycloak_ports[1])
                keycloak.create_schema(
                    config, server, ports, log.with_name("databases-keycloak.log")
                )

        together(fill_odoo, fill_keycloak, fill_airflow)
        run("vacuumdb", "--all", "--analyze", "--quiet", log=log, environment=server.environment)


def _add_addons(config: Config, base: Path, new: Path) -> None:
    log = config.cache / "log" / "databases-addons.log"
    _copy(base, new)
    addons = odoo.own_addons(config.checkout)
    with postgres.temporary_server(new / "postgres", free_ports(1)[0], log) as server:
        odoo.install(_temporary_conf(config, new, server), addons, log)
        odoo.disown(server)


def _temporary_conf(config: Config, new: Path, server: postgres.Server) -> Path:
    """An odoo.conf in the temporary server's own folder, which goes with it."""
    text = odoo.configuration(config.checkout, new / "odoo", server.socket_directory, server.port)
    path = server.socket_directory / "odoo.conf"
    write_if_changed(path, text, 0o600)
    return path


def _copy(source: Path, target: Path) -> None:
    for name in ("postgres", "odoo"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        log = target / "copy.log"
        run("cp", "-a", "--reflink=auto", "-T", source / name, target / name, log=log)
        log.unlink()


def initialise(config: Config, progress: Progress) -> None:
    """Fill a new state folder from the cached databases. A half-filled one is filled anew."""
    if (config.state / "initialised").exists():
        return
    while not _copied(config, progress):
        snapshot(config, progress)


def _copied(config: Config, progress: Progress) -> bool:
    """Copy this checkout's snapshot into the state, if there is one."""
    _, source = _wanted(config)
    with locked(_lock(config), alone=False):
        if not source.is_dir():
            return False
        with progress.step("A copy of the databases"):
            _replace(config, source)
    return True


def _replace(config: Config, source: Path) -> None:
    """Put the data of `source` in the place of the state's own."""
    for name in ("postgres", "odoo", "airflow", "rabbitmq"):
        shutil.rmtree(config.state / name, ignore_errors=True)
    _copy(source, config.state)
    known = {
        name: tree_fingerprint([path]) for name, path in odoo.own_addons(config.checkout).items()
    }
    odoo.remember_addons(config, known)
    write_if_changed(config.state / "airflow" / "migrated", config.venv.name)
    (config.state / "initialised").write_text(f"{source.name}\n")


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nothing listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _forget_old(cache: Path) -> None:
    """Keep the snapshots used last; each is some 250 MB."""
    for kind in ("base", "full"):
        found = sorted(
            cache.glob(f"databases-{kind}-*[0-9a-f]"), key=lambda path: path.stat().st_mtime
        )
        for path in found[:-SNAPSHOTS_KEPT]:
            shutil.rmtree(path, ignore_errors=True)
