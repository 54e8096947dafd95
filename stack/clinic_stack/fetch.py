"""What is fetched into the cache beside the private Debian: Python packages and Keycloak.

Each result has a folder named after what it was made from, so another version never overwrites one
in use. A mark written last tells a whole result from one whose making was interrupted.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config, StackError
from clinic_stack.files import fingerprint
from clinic_stack.progress import Progress

KEYCLOAK_VERSION = "26.7.3"
KEYCLOAK_SHA256 = "77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47"
KEYCLOAK_BUILD = ("--db=postgres", "--health-enabled=true", "--metrics-enabled=true")
COPY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"

COMPLETE = ".complete"


def python_packages(config: Config, progress: Progress) -> None:
    """Install requirements-dev.txt, hashes checked and bytecode compiled, into the cache's venv."""
    if (config.venv / COMPLETE).exists():
        for used in (config.venv, _uv_home(config)):  # `make lock` runs uv
            mark_used(used)
        return
    log = config.cache / "log" / "python.log"
    with progress.step(
        "Python packages", "640 MB: Airflow, Google's libraries, Envoy and what the tests need"
    ):
        uv = _uv(config, log)
        shutil.rmtree(config.venv, ignore_errors=True)
        environment = _registry_settings(uv.with_name("pip"), log) | {
            "UV_CACHE_DIR": str(config.cache / "uv")
        }
        run(
            uv,
            "venv",
            "--python",
            "/usr/bin/python3",
            config.venv,
            log=log,
            environment=environment,
        )
        run(
            uv,
            "pip",
            "install",
            "--python",
            config.venv / "bin" / "python",
            "--require-hashes",
            "--compile-bytecode",
            "--requirements",
            config.checkout / "requirements-dev.txt",
            log=log,
            environment=environment,
            timeout_s=1800,
        )
        (config.venv / COMPLETE).touch()


def _uv(config: Config, log: Path) -> Path:
    """Uv in a small venv of its own, version and hash pinned in stack/uv.txt."""
    requirements, home = config.stack / "uv.txt", _uv_home(config)
    if not (home / COMPLETE).exists():
        shutil.rmtree(home, ignore_errors=True)
        run("/usr/bin/python3", "-m", "venv", home, log=log)
        run(home / "bin" / "pip", "install", "--require-hashes", "-r", requirements, log=log)
        (home / COMPLETE).touch()
    return home / "bin" / "uv"


def _uv_home(config: Config) -> Path:
    return config.cache / f"uv-{fingerprint((config.stack / 'uv.txt').read_text())}"


def mark_used(folder: Path) -> None:
    """Keep a folder of the cache from being removed as unused, if it is there."""
    if folder.exists():
        folder.touch()


def _registry_settings(pip: Path, log: Path) -> dict[str, str]:
    """Hand pip's own settings (a mirror, extra folders) on to uv, which does not read them."""
    uv = {}
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "trusted-host": "UV_INSECURE_HOST",
    }
    # An index's address may hold its password.
    listed = run(pip, "config", "list", log=log, log_output=False)
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = names.get(key.rpartition(".")[2])
        if name and name not in os.environ:
            words = value.strip().strip("'\"").replace("\\n", " ").split()
            uv[name] = ("," if name == "UV_FIND_LINKS" else " ").join(words)
    return uv


def keycloak_home(config: Config) -> Path:
    """The folder of the built Keycloak."""
    key = fingerprint(KEYCLOAK_VERSION, KEYCLOAK_SHA256, KEYCLOAK_BUILD)
    return config.cache / f"keycloak-{KEYCLOAK_VERSION}-{key}"


def keycloak(config: Config, progress: Progress) -> None:
    """Fetch Keycloak by the machine's own Maven settings, and build it for PostgreSQL."""
    home = keycloak_home(config)
    if home.is_dir():
        mark_used(home)
        return
    log = config.cache / "log" / "keycloak.log"
    new = home.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    with progress.step(f"Keycloak {KEYCLOAK_VERSION}", "177 MB"):
        run(
            "mvn",
            "-q",
            "-B",
            "-ntp",
            f"-Dmaven.repo.local={new / 'm2'}",
            COPY_PLUGIN,
            f"-Dartifact=org.keycloak:keycloak-quarkus-dist:{KEYCLOAK_VERSION}:tar.gz",
            f"-DoutputDirectory={new}",
            log=log,
            environment={"MAVEN_OPTS": _java_trust(new, log), "MAVEN_ARGS": ""},
            cwd=new,
        )
        archive = new / f"keycloak-quarkus-dist-{KEYCLOAK_VERSION}.tar.gz"
        found = hashlib.file_digest(archive.open("rb"), "sha256").hexdigest()
        if found != KEYCLOAK_SHA256:
            raise StackError(
                f"Keycloak's archive has SHA-256 {found} and {KEYCLOAK_SHA256} is expected; "
                "it was changed on its way, so nothing of it was run."
            )
        run("tar", "-xzf", archive, "--strip-components=1", "-C", new, log=log)
        archive.unlink()
        shutil.rmtree(new / "m2")
    with progress.step("Keycloak, built for PostgreSQL"):
        run(new / "bin" / "kc.sh", "build", *KEYCLOAK_BUILD, log=log)
        new.rename(home)


def _java_trust(directory: Path, log: Path) -> str:
    """Java options for a trust store made of the certificates this machine trusts."""
    store, password = directory / "trust.p12", "changeit"  # holds public certificates only
    run(
        "openssl",
        "pkcs12",
        "-export",
        "-nokeys",
        "-jdktrust",
        "anyExtendedKeyUsage",
        "-in",
        os.environ["SSL_CERT_FILE"],
        "-passout",
        f"pass:{password}",
        "-out",
        store,
        log=log,
    )
    options = {"trustStore": store, "trustStoreType": "PKCS12", "trustStorePassword": password}
    return (
        " ".join(f"-Djavax.net.ssl.{name}={value}" for name, value in options.items())
        + _java_proxy()
    )


def _java_proxy() -> str:
    """Java options for the proxy that HTTPS_PROXY and HTTP_PROXY name."""
    options = ""
    for scheme in ("http", "https"):
        url = os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY")
        if url:
            host, _, port = (
                url.rpartition("@")[2].removeprefix("http://").rstrip("/").partition(":")
            )
            options += f" -D{scheme}.proxyHost={host} -D{scheme}.proxyPort={port or 3128}"
    return options


def describe(config: Config) -> str:
    """What the cached databases depend on, as text."""
    return json.dumps([config.root.name, config.venv.name, keycloak_home(config).name])
