"""One gateway for all tests of this folder."""

from collections.abc import Iterator

import pytest
from integration.gateway.rig import (
    Gateway,
    Upstream,
    free_port,
    make_certificate,
    render,
    start,
    wait_until_it_answers,
)


@pytest.fixture(scope="package")
def gateway(tmp_path_factory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    certificate = make_certificate(folder)
    names = ("odoo", "odoo-evented", "airflow", "keycloak", "rabbitmq", "inventory-api")
    upstreams = {name: Upstream(name) for name in names}
    out, port, log = folder / "envoy", free_port(), folder / "envoy.log"
    rendered = render(out, port, certificate, upstreams)
    assert rendered.returncode == 0, rendered.stderr
    gateway = Gateway(out, port, upstreams, certificate, log, start(out, log))
    try:
        wait_until_it_answers(gateway)
        yield gateway
    finally:
        gateway.process.terminate()
        gateway.process.wait(20)
        for upstream in upstreams.values():
            upstream.stop()
