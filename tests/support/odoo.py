"""A real Odoo of a test's own: database, processes and API keys. Others may kill it.

    from support.odoo import odoo_cluster, odoo_server  # noqa: F401  in a conftest.py

gives the fixtures. The database is a copy of the one that $ODOO_DB_URL (stack.env) names, so that
modules, languages and demo data are the stack's. The running stack is never touched.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from support.postgres import PostgresCluster, copy_database
from support.processes import free_port, run, wait_until
from support.stack_env import ROOT, needed

PRISTINE = "pristine"
READER, ADMIN, OUTSIDER = "clinic_feed", "admin", "outsider"
BOOKER = "clinic_movements"

# Run by `odoo shell` in the pristine database: an API key for each of four users.
_MAKE_KEYS = """
import json, os
env["res.lang"]._activate_lang("en_US")
outsider = env["res.users"].create({
    "name": "Outsider", "login": "outsider",
    "group_ids": [(6, 0, [env.ref("base.group_user").id, env.ref("stock.group_stock_manager").id])],
})
keys = {}
reader, booker = env.ref("clinic_change_feed.user_feed"), env.ref("clinic_movements.user_movements")
for user in (reader, booker, env.ref("base.user_admin"), outsider):
    user.lang = "en_US"  # the tests read messages
    user_env = env["res.users.apikeys"].with_user(user).sudo()
    keys[user.login] = user_env._generate("rpc", "test", None)
env.cr.commit()
with open(os.environ["CLINIC_KEYS"], "w") as stream:
    json.dump(keys, stream)
"""


class OdooCluster(PostgresCluster):
    """A PostgreSQL cluster with a pristine Odoo database to copy, and the API keys in it.

    Attributes:
        keys: API key by login: `clinic_feed` (reader), `clinic_movements` (books), `admin`,
            `outsider` (runs the stock, no reader).
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        """Make and start the cluster and fill it; takes about 20 s.

        Args:
            folder: for everything it writes.
            settings: PostgreSQL settings.
        """
        super().__init__(folder, **settings)
        self.folder = folder
        self.keys: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self.start()
        with self.connect("postgres") as connection:
            connection.execute(
                psycopg.sql.SQL("CREATE ROLE odoo LOGIN CREATEDB PASSWORD {}").format(self.password)
            )
        copy_database(needed("ODOO_DB_URL"), self, PRISTINE, folder)
        keys = folder / "keys.json"
        odoo = OdooServer(self, PRISTINE, folder / "pristine")
        run(
            *odoo.command("shell"), "--no-http", "--workers=0",
            input=_MAKE_KEYS, env={**odoo.environment, "CLINIC_KEYS": str(keys)},
        )  # fmt: skip
        self.keys = json.loads(keys.read_text())
        keys.unlink()

    def new_database(self) -> str:
        """Return the name of a new copy of the pristine database."""
        name = f"odoo_{next(self._numbers)}"
        self.create_database(name, PRISTINE)
        return name


class OdooServer:
    """Odoo's processes on one database: two workers, the evented one, no scheduler.

    Attributes:
        database: its database's name.
        keys: API key by login; those of a copied database are in the copy too.
        url: of the workers; with workers=0, of everything.
        evented_url: of the evented process, where streams are.
    """

    def __init__(
        self, cluster: PostgresCluster, database: str, folder: Path, workers: int = 2
    ) -> None:
        """Write its configuration; `start` starts it.

        Args:
            cluster: where its database is.
            database: name.
            folder: for its configuration, files and log.
            workers: 0 for one process with threads.
        """
        self.cluster, self.database, self.workers = cluster, database, workers
        self.keys = cluster.keys if isinstance(cluster, OdooCluster) else {}
        port, evented_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.evented_url = f"http://127.0.0.1:{evented_port if workers else port}"
        self.log = folder / "odoo.log"
        folder.mkdir(parents=True, exist_ok=True)
        self._conf = folder / "odoo.conf"
        self._conf.touch(mode=0o600)
        self._conf.write_text(
            "\n".join(
                [
                    "[options]",
                    "db_host = 127.0.0.1",
                    f"db_port = {cluster.port}",
                    "db_user = odoo",
                    f"db_password = {cluster.password}",
                    f"addons_path = {ROOT / 'odoo-addons'}",
                    f"data_dir = {folder / 'data'}",
                    "http_interface = 127.0.0.1",
                    f"http_port = {port}",
                    f"gevent_port = {evented_port}",
                    f"workers = {workers}",
                    "max_cron_threads = 0",
                    "list_db = False",
                    "",
                ]
            )
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(timeout=60, trust_env=False)

    @property
    def process_id(self) -> int:
        """The process that started all others."""
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """The environment Odoo runs in: ours without what would change its Python."""
        return {name: v for name, v in os.environ.items() if not name.startswith(("PYTHON", "PG"))}

    def command(self, *words: str) -> list[str]:
        """Return an Odoo command line on this database, with a subcommand if one is named."""
        program = shutil.which("odoo", path="/usr/bin:/usr/local/bin") or shutil.which("odoo")
        if program is None:
            raise RuntimeError("odoo is not installed: run the tests in the box (`make test`)")
        return [program, *words, "--config", str(self._conf), "--database", self.database]

    def start(self) -> None:
        """Start all processes and wait until they answer."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command(), "--db-filter", f"^{self.database}$"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every port answers."""
        for url in {self.url, self.evented_url}:
            wait_until(lambda url=url: self._answers(url), f"{url} answers (log: {self.log})", 120)

    def stop(self) -> None:
        """Stop in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            finally:
                self.kill()

    def kill(self) -> None:
        """Let all its processes die at once (`kill -9`)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    def evented_process(self) -> psutil.Process:
        """Return the process that serves the streams."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        if not self.workers:
            return server
        for child in server.children():
            if "gevent" in child.cmdline():
                return child
        raise LookupError("no evented process now")

    def call(self, model: str, method: str, key: str = READER, **params: Any) -> Any:
        """Call a method by JSON-2 and return its result.

        Args:
            model: technical name.
            method: public method.
            key: login of the user whose API key is sent.
            params: the method's arguments, and `ids`, `context`.

        Raises:
            httpx.HTTPStatusError: Odoo answered with an error; its message is in the exception's.
        """
        answer = self.post(model, method, key, **params)
        if answer.is_error:
            raise httpx.HTTPStatusError(
                f"{model}.{method}: HTTP {answer.status_code} {answer.text[:300]}",
                request=answer.request,
                response=answer,
            )
        return answer.json()

    def post(self, model: str, method: str, key: str = READER, **params: Any) -> httpx.Response:
        """Call a method by JSON-2 and return the answer, whatever it is."""
        return self.http.post(
            f"{self.url}/json/2/{model}/{method}", json=params, headers=self.headers(key)
        )

    def headers(self, key: str = READER) -> dict[str, str]:
        """Return the headers of a request with a user's API key (or a key that is none)."""
        secret = self.keys.get(key, key)
        return {"Authorization": f"bearer {secret}", "X-Odoo-Database": self.database}

    def pass_a_minute(self, job: str = "cron_publish") -> None:
        """Let a scheduled job be due whose interval is not over, and its scheduler look.

        Odoo's scheduler looks once a minute, and whenever it is notified; a job that is at work is
        left alone.

        Args:
            job: its name, of whichever addons have one of this name.
        """
        self.sql(
            """
            UPDATE ir_cron SET nextcall = now() AT TIME ZONE 'UTC' WHERE id IN (
                SELECT id FROM ir_cron WHERE id IN (
                    SELECT res_id FROM ir_model_data WHERE model = 'ir.cron' AND name = %s
                ) FOR UPDATE SKIP LOCKED
            )
            """,
            job,
        )
        with self.cluster.connect("postgres", "odoo") as connection:
            connection.execute("SELECT pg_notify('cron_trigger', %s)", [self.database])

    def wait_for_minutes(self, true: Callable[[], object], what: str, timeout_s: float) -> None:
        """Wait until something holds that a scheduled job brings about, a second a minute."""

        def look() -> object:
            self.pass_a_minute()
            return true()

        wait_until(look, what, timeout_s, every_s=1)

    @contextlib.contextmanager
    def stream(
        self, cursor: str | None, limit: int = 1000, key: str = READER, read_s: float = 30
    ) -> Iterator[Iterator[dict[str, Any]]]:
        """Open a stream and give its pages, as they come.

        Args:
            cursor: where to begin.
            limit: changes a page.
            key: login of the user whose API key is sent.
            read_s: how long to wait for a page.
        """
        with (
            httpx.Client(timeout=httpx.Timeout(10, read=read_s), trust_env=False) as client,
            client.stream(
                "GET",
                f"{self.evented_url}/clinic/changes/stream",
                params={"limit": limit, **({"cursor": cursor} if cursor else {})},
                headers=self.headers(key),
            ) as answer,
        ):
            if answer.status_code != 200:
                answer.read()
                answer.raise_for_status()
            yield (json.loads(line) for line in answer.iter_lines())

    def sql(self, statement: str, *params: Any) -> list[tuple[Any, ...]]:
        """Run one statement in the database, committed, and return its rows."""
        with self.cluster.connect(self.database, "odoo") as connection:
            cursor = connection.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def _answers(self, url: str) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"Odoo ended:\n{self.log.read_text()[-3000:]}")
        try:
            return httpx.get(f"{url}/web/health", timeout=5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def odoo_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OdooCluster]:
    """A PostgreSQL cluster with a pristine Odoo database, for the whole session."""
    cluster = OdooCluster(tmp_path_factory.mktemp("odoo"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def odoo_server(odoo_cluster: OdooCluster) -> Iterator[OdooServer]:
    """A running Odoo on a database of the module's own."""
    database = odoo_cluster.new_database()
    server = OdooServer(odoo_cluster, database, odoo_cluster.folder / database)
    server.start()
    yield server
    server.stop()
    server.http.close()
    odoo_cluster.drop_database(database)
