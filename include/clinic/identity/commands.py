"""``clinic keycloak``: the realm from its file, and the administrator's password."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from clinic.clients.keycloak import KeycloakRealmAdmin
from clinic.errors import ClinicError, PermanentError
from clinic.identity import apply as applying
from clinic.identity import realm as realms

app = typer.Typer(help="Keycloak: people, groups, and what they may do.", no_args_is_help=True)

RealmFile = Annotated[
    Path,
    typer.Option("--file", help="The realm file.", exists=True, dir_okay=False),
]
WithoutDemo = Annotated[
    bool,
    typer.Option("--without-demo-accounts", help="Leave the accounts named demo-… out."),
]
DEFAULT_FILE = Path("keycloak/clinica-realm.yaml")


@app.command()
def apply(
    file: RealmFile = DEFAULT_FILE,
    without_demo_accounts: WithoutDemo = False,
    console_url: Annotated[
        str,
        typer.Option(
            envvar="KEYCLOAK_CONSOLE_URL",
            help="Where administrators open the console. The gateway does not let it through, so "
            "this is Keycloak's own address.",
        ),
    ] = "",
) -> None:
    """Make the realm what the file says. Run it as often as you like.

    Reads KEYCLOAK_URL, KEYCLOAK_ADMIN, KEYCLOAK_ADMIN_PASSWORD, CA_FILE and the values that the
    file names. Nobody's password, groups or sessions are touched.
    """
    with _said_clearly():
        want = _wanted(file, without_demo_accounts)
        admin = _administrator()
        changes = applying.apply(want, admin)
        console = _set_console(admin, console_url) if console_url else False
        for change in changes:
            typer.echo(f"  {change}")
        if console:
            typer.echo("  update realm master (attributes.frontendUrl)")
        if not changes and not console:
            typer.echo(f"{want.name}: nothing to change")
        else:
            typer.echo(f"{want.name}: {len(changes) + console} changes")


@app.command()
def check(file: RealmFile = DEFAULT_FILE, without_demo_accounts: WithoutDemo = False) -> None:
    """Say what `apply` would change, change nothing, and end in 1 if there is anything."""
    with _said_clearly():
        want = _wanted(file, without_demo_accounts)
        changes = realms.plan(want, applying.current(want, _administrator()))
        for change in changes:
            typer.echo(f"  would {change}")
        typer.echo(f"{want.name}: {len(changes) or 'no'} differences")
        if changes:
            raise typer.Exit(1)


@app.command()
def placeholders(file: RealmFile = DEFAULT_FILE) -> None:
    """List the values that the file takes from the environment."""
    with _said_clearly():
        for name in sorted(realms.placeholders(realms.parse(file.read_text(encoding="utf-8")))):
            typer.echo(name)


@app.command()
def set_admin_password() -> None:
    """Give the administrator the password KEYCLOAK_ADMIN_PASSWORD.

    Logs in with KEYCLOAK_ADMIN_OLD_PASSWORD. When the new one is in force already, nothing is
    changed.
    """
    with _said_clearly():
        env = _environment(
            "KEYCLOAK_URL",
            "KEYCLOAK_ADMIN",
            "KEYCLOAK_ADMIN_PASSWORD",
            "KEYCLOAK_ADMIN_OLD_PASSWORD",
        )
        try:
            _administrator()
        except PermanentError:  # refused: the old one must still be in force
            pass
        else:
            typer.echo("the administrator's password: nothing to change")
            return
        admin = KeycloakRealmAdmin(
            env["KEYCLOAK_URL"],
            env["KEYCLOAK_ADMIN"],
            env["KEYCLOAK_ADMIN_OLD_PASSWORD"],
            os.environ.get("CA_FILE"),
        )
        admin.set_own_password(env["KEYCLOAK_ADMIN_PASSWORD"])
        typer.echo("the administrator's password: changed")


class _said_clearly:
    """A ClinicError ends the command in one sentence and exit code 1, without a traceback."""

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Turn the error into a sentence."""
        if isinstance(error, ClinicError):
            typer.secho(str(error), fg=typer.colors.RED, err=True)
            raise typer.Exit(1) from error


def _environment(*names: str) -> dict[str, str]:
    """The named variables.

    Raises:
        PermanentError: Some are missing or empty; the message names all of them.
    """
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise PermanentError(
            f"Talking to Keycloak: no value for {', '.join(missing)}. "
            "Set them in the environment (stack.env has them)."
        )
    return {name: os.environ[name] for name in names}


def _administrator() -> KeycloakRealmAdmin:
    env = _environment("KEYCLOAK_URL", "KEYCLOAK_ADMIN", "KEYCLOAK_ADMIN_PASSWORD")
    return KeycloakRealmAdmin(
        env["KEYCLOAK_URL"],
        env["KEYCLOAK_ADMIN"],
        env["KEYCLOAK_ADMIN_PASSWORD"],
        os.environ.get("CA_FILE"),
    )


def _wanted(file: Path, without_demo_accounts: bool) -> realms.Realm:
    parsed = realms.parse(file.read_text(encoding="utf-8"))
    if without_demo_accounts:
        parsed = realms.without_demo_accounts(parsed)
    return realms.state(realms.substitute(parsed, os.environ))


def _set_console(admin: KeycloakRealmAdmin, url: str) -> bool:
    """Let realm master live at `url`, its console's login included; True if that was a change.

    Keycloak's public address is the gateway's, and the gateway closes realm master to the outside.
    """
    settings = {"attributes": {"frontendUrl": url}}
    present = admin.export("master", [], []) or {}
    if not realms.differences(settings, present):
        return False
    admin.update_realm("master", settings)
    return True
