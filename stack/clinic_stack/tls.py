"""The stack's certificate authority and the gateway's certificate.

The authority may only vouch for the stack's own names (a name constraint, RFC 5280 section
4.2.1.10), so a person who trusts it in their browser trusts it with nothing else.
"""

import subprocess
from pathlib import Path

from clinic_stack.commands import run
from clinic_stack.config import Config
from clinic_stack.files import write_if_changed

RENEW_BEFORE_S = 30 * 24 * 3600

AUTHORITY = """\
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = Clinic stack, this machine only
[extensions]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, @names
[names]
permitted;DNS.0 = {domain}
permitted;DNS.1 = localhost
permitted;IP.0 = 127.0.0.0/255.0.0.0
"""

SERVER = """\
[req]
prompt = no
distinguished_name = name
[name]
CN = {domain}
[extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:{domain}, DNS:*.{domain}, DNS:localhost, IP:127.0.0.1
"""


def prepare(config: Config) -> None:
    """Make the authority and the certificate, or a new certificate when this one ends soon."""
    directory = config.state / "tls"
    log = config.state / "log" / "tls.log"
    directory.mkdir(parents=True, exist_ok=True)
    mark, authority = directory / "ca.cnf", AUTHORITY.format(domain=config.domain)
    if not mark.exists() or mark.read_text() != authority or not (directory / "ca.crt").exists():
        wanted = directory / "ca-wanted.cnf"
        write_if_changed(wanted, authority)
        _key(directory / "ca.key", log)
        run(
            "openssl",
            "req",
            "-x509",
            "-config",
            wanted,
            "-key",
            directory / "ca.key",
            "-days",
            "3650",
            "-out",
            directory / "ca.crt",
            log=log,
        )
        (directory / "server.crt").unlink(missing_ok=True)
        wanted.rename(mark)  # last: until then it is all made anew
    if not _lasts(directory / "server.crt"):
        write_if_changed(directory / "server.cnf", SERVER.format(domain=config.domain))
        _key(directory / "server.key", log)
        run(
            "openssl",
            "req",
            "-new",
            "-config",
            directory / "server.cnf",
            "-key",
            directory / "server.key",
            "-out",
            directory / "server.csr",
            log=log,
        )
        run(
            "openssl",
            "x509",
            "-req",
            "-in",
            directory / "server.csr",
            "-days",
            "397",
            "-CA",
            directory / "ca.crt",
            "-CAkey",
            directory / "ca.key",
            "-extfile",
            directory / "server.cnf",
            "-extensions",
            "extensions",
            "-out",
            directory / "server.crt",
            log=log,
        )
    system = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    write_if_changed(config.ca_bundle, system + (directory / "ca.crt").read_text())


def _key(path: Path, log: Path) -> None:
    path.unlink(missing_ok=True)
    run(
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        path,
        log=log,
    )
    path.chmod(0o600)


def _lasts(certificate: Path) -> bool:
    """Whether there is a certificate that does not end soon."""
    command = [
        "openssl",
        "x509",
        "-checkend",
        str(RENEW_BEFORE_S),
        "-noout",
        "-in",
        str(certificate),
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
