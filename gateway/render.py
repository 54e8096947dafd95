"""Write Envoy's configuration for one environment, natively or in a container.

Envoy's files know no variables, so `templates/` is rendered with Jinja2. Every file is written
beside its place and then renamed: Envoy takes up a change on the rename, and only when its listener
is valid. Because `envoy --mode validate` does not read the files that the bootstrap only names,
`--validate` puts them into one bootstrap first, and nothing is replaced when Envoy refuses it.

    python gateway/render.py --out DIR --domain clinica.localhost --port 18200 \
        --certificate server.crt --private-key server.key \
        --odoo 127.0.0.1:18207 --odoo-evented 127.0.0.1:18208 --airflow 127.0.0.1:18211 \
        --keycloak 127.0.0.1:18209 --rabbitmq 127.0.0.1:18204 --inventory-api 127.0.0.1:18212 \
        --validate envoy
    cd DIR && envoy --config-path bootstrap.yaml --disable-hot-restart

https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/overview/examples
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml

HERE = Path(__file__).resolve().parent
FILES = (
    "bootstrap.yaml",
    "clusters.yaml",
    "certificate.yaml",
    "login.yaml",
    "cookies.yaml",
    "listeners.yaml",
)
UPSTREAMS = ("odoo", "odoo_evented", "airflow", "keycloak", "rabbitmq", "inventory_api")
SECRETS = {"login": "KEYCLOAK_GATEWAY_SECRET", "cookies": "GATEWAY_HMAC_SECRET"}
"""Name in the configuration -> name in the environment: an argument would show in `ps`."""
VALIDATE_TIMEOUT_S = 60


class GatewayError(Exception):
    """The configuration cannot be used. The message says why."""


@dataclass(frozen=True)
class Address:
    """Where a system listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read ``host:port``.

        Raises:
            ValueError: It is not that.
        """
        host, separator, port = text.rpartition(":")
        if not (host and separator and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is not host:port")
        return cls(host, int(port))


def render(
    out: Path,
    *,
    domain: str,
    realm: str,
    bind: str,
    port: int,
    public_port: int,
    certificate: Path,
    private_key: Path,
    upstreams: dict[str, Address],
    secrets: dict[str, str],
) -> dict[str, str]:
    """Render every file.

    Args:
        out: The folder the files will lie in; they name one another by it.
        domain: Base domain; each system is a host name below it.
        realm: The one Keycloak realm that is let through.
        bind: Address to listen on.
        port: Port to listen on.
        public_port: Port that people type; another one than `port` behind a port mapping.
        certificate: PEM chain.
        private_key: PEM key.
        upstreams: Where each of `UPSTREAMS` listens.
        secrets: A value for each of `SECRETS`.

    Returns:
        File name -> text.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # YAML; what goes into the pages is a domain and a port
    )
    context: dict[str, Any] = {"domain": domain, "public_port": public_port}
    pages = {
        page.name: environment.get_template(f"pages/{page.name}").render(context)
        for page in sorted((HERE / "pages").glob("*.html"))
    }
    context |= {
        "out": str(out),
        "realm": realm,
        "bind": bind,
        "port": port,
        "certificate": str(certificate),
        "certificate_directory": str(certificate.parent),
        "private_key": str(private_key),
        "upstreams": upstreams,
        "secrets": secrets,
        "pages": pages,
    }
    return {
        name: environment.get_template(f"templates/{name}.j2").render(context) for name in FILES
    }


def validate(files: dict[str, str], envoy: str) -> None:
    """Let Envoy itself read the rendered files.

    Raises:
        GatewayError: Envoy refuses them, or does not run; the message holds its words.
    """
    bootstrap = yaml.safe_load(files["bootstrap.yaml"])
    del bootstrap["dynamic_resources"]
    bootstrap["static_resources"] = {
        "listeners": _resources(files["listeners.yaml"]),
        "clusters": _resources(files["clusters.yaml"]),
        "secrets": [
            resource
            for name in ("certificate", *SECRETS)
            for resource in _resources(files[f"{name}.yaml"])
        ],
    }
    for chain in bootstrap["static_resources"]["listeners"][0]["filter_chains"]:
        context = chain["transport_socket"]["typed_config"]["common_tls_context"]
        for secret in context["tls_certificate_sds_secret_configs"]:
            del secret["sds_config"]  # found among the static secrets instead
        for http in chain["filters"][0]["typed_config"]["http_filters"]:
            config = http["typed_config"].get("config", {})
            for secret in ("token_secret", "hmac_secret"):
                config.get("credentials", {}).get(secret, {}).pop("sds_config", None)
    with tempfile.TemporaryDirectory(prefix="clinic-gateway-") as folder:
        path = Path(folder, "all.yaml")
        path.write_text(yaml.safe_dump(bootstrap, sort_keys=False), encoding="utf-8")
        command = [envoy, "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
        try:
            result = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=VALIDATE_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise GatewayError(f"Checking the gateway's configuration: {envoy}: {e}") from e
    if result.returncode:
        raise GatewayError(
            "Checking the gateway's configuration: Envoy refuses it, so nothing was replaced.\n"
            + (result.stderr or result.stdout).strip()
        )


def write(files: dict[str, str], out: Path) -> list[str]:
    """Put the files that differ in place by a rename, the listener last; answer their names."""
    out.mkdir(parents=True, exist_ok=True)
    changed = []
    for name in FILES:
        target = out / name
        if target.exists() and target.read_text(encoding="utf-8") == files[name]:
            continue
        beside = out / f"{name}.new"
        mode = 0o600 if name.removesuffix(".yaml") in SECRETS else 0o644
        beside.unlink(missing_ok=True)
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(files[name])
        os.replace(beside, target)
        changed.append(name)
    return changed


def _resources(text: str) -> list[dict[str, Any]]:
    """A file of resources without their type, as a bootstrap holds them."""
    return [
        {key: value for key, value in resource.items() if key != "@type"}
        for resource in yaml.safe_load(text)["resources"]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the configuration")
    parser.add_argument("--domain", required=True, help="base domain, such as clinica.localhost")
    parser.add_argument("--realm", default="clinica-realm", help="the realm that is let through")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, required=True, help="port to listen on")
    parser.add_argument("--public-port", type=int, help="port people type, if it is another one")
    parser.add_argument("--certificate", type=Path, required=True, help="PEM chain")
    parser.add_argument("--private-key", type=Path, required=True, help="PEM key")
    for name in UPSTREAMS:
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=Address.parse, required=True, metavar="HOST:PORT"
        )
    parser.add_argument("--validate", metavar="ENVOY", help="let this Envoy read the files first")
    options = parser.parse_args(arguments)
    if missing := [name for name in SECRETS.values() if not os.environ.get(name)]:
        print(f"gateway: {', '.join(missing)}: not in the environment", file=sys.stderr)
        return 1
    files = render(
        options.out.resolve(),
        domain=options.domain,
        realm=options.realm,
        bind=options.bind,
        port=options.port,
        public_port=options.public_port or options.port,
        certificate=options.certificate.resolve(),
        private_key=options.private_key.resolve(),
        upstreams={name: getattr(options, name) for name in UPSTREAMS},
        secrets={name: os.environ[variable] for name, variable in SECRETS.items()},
    )
    try:
        if options.validate:
            validate(files, options.validate)
        changed = write(files, options.out)
    except (GatewayError, OSError) as e:
        print(e, file=sys.stderr)
        return 1
    print(f"gateway: {', '.join(changed) if changed else 'nothing to change'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
